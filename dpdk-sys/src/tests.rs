use std::ffi::CStr;

use super::*;

#[test]
fn the_bound_mbuf_has_the_size_the_compiler_gave_it() {
    assert_eq!(size_of::<rte_mbuf>(), SHIM_MBUF_SIZE);
    assert_eq!(size_of::<rte_mbuf>(), 128, "two cache lines, in every DPDK so far");
}

#[test]
fn the_library_that_runs_is_new_enough() {
    // SAFETY: returns a static string.
    let version = unsafe { CStr::from_ptr(rte_version()) }.to_str().unwrap();
    let (year, month) = version
        .trim_start_matches("DPDK ")
        .split_once('.')
        .map(|(year, rest)| (year.parse::<u32>().unwrap(), rest[..2].parse::<u32>().unwrap()))
        .unwrap();
    assert!((year, month) >= (22, 11), "{version}");
}

#[test]
fn fields_of_an_mbuf_lie_inside_it_and_apart() {
    let fields = [
        (SHIM_MBUF_BUF_ADDR, 8),
        (SHIM_MBUF_DATA_OFF, 2),
        (SHIM_MBUF_REFCNT, 2),
        (SHIM_MBUF_NB_SEGS, 2),
        (SHIM_MBUF_PORT, 2),
        (SHIM_MBUF_OL_FLAGS, 8),
        (SHIM_MBUF_PKT_LEN, 4),
        (SHIM_MBUF_DATA_LEN, 2),
        (SHIM_MBUF_BUF_LEN, 2),
        (SHIM_MBUF_NEXT, 8),
    ];
    let mut taken = [false; 128];
    for (offset, size) in fields {
        assert_eq!(offset % size, 0);
        for byte in &mut taken[offset..offset + size] {
            assert!(!*byte, "two fields share byte {offset}");
            *byte = true;
        }
    }
}

#[test]
fn a_frame_takes_its_mbuf_its_room_and_the_pool_header() {
    // SAFETY: pure arithmetic.
    let bytes = unsafe { shim_mbuf_pool_bytes_per_frame(2048 + 128) };
    assert!((2048 + 128 + 128..2048 + 128 + 128 + 256).contains(&bytes), "{bytes}");
}
