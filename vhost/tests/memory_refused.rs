//! Memory tables that must be refused, each with the reason that an operator reads, and those that must not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unsafe_code, reason = "tests make descriptors of kinds that the standard library does not know")]

mod support;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use support::{HUGE, PAGE, ask, fallocate, huge, own, peek, plain, poke, region, request};
use vhost::address::{FrontendVirt, GuestPhys};
use vhost::fault::Fault;
use vhost::memory::{GuestMemory, MAX_REGIONS, MapError, MapRequest, Mapper, RegionRequest, leaks};

fn refusal(request: MapRequest) -> MapError {
    let mapper = Mapper::spawn().unwrap();
    match ask(&mapper, request) {
        Ok(table) => panic!("accepted: {:?}", table.regions()),
        Err(error) => error,
    }
}

/// Asserts that a request is refused with a variant, and that its fault is the plain one.
macro_rules! refused {
    ($request:expr, $pattern:pat) => {{
        let error = refusal($request);
        assert!(matches!(error, $pattern), "refused with {error:?}");
        assert_eq!(error.fault(), Fault::MemoryRefused);
    }};
}

#[test]
fn lengths_and_addresses_that_cannot_be() {
    let len = 4 * PAGE;
    refused!(request(vec![region(0, 0, 0, plain(len))]), MapError::Empty { region: 0 });
    refused!(request(vec![region(0, len - 1, 0, plain(len))]), MapError::Unaligned { what: "length", .. });
    refused!(request(vec![region(0, PAGE, 1, plain(len))]), MapError::Unaligned { what: "offset", .. });
    refused!(request(vec![region(8, PAGE, 0, plain(len))]), MapError::Unaligned { .. });
    let top = u64::MAX - PAGE + 1;
    refused!(request(vec![region(top, 2 * PAGE, 0, plain(len))]), MapError::Wraps { .. });
    let frontend_wraps = RegionRequest {
        guest: GuestPhys(0),
        frontend: FrontendVirt(top),
        len: 2 * PAGE,
        mmap_offset: 0,
        fd: plain(len),
    };
    refused!(request(vec![frontend_wraps]), MapError::Wraps { .. });
    refused!(request(vec![region(0, 2 * PAGE, top, plain(len))]), MapError::OffsetOverflow { .. });
    refused!(request(vec![region(0, 1 << 63, 0, plain(len))]), MapError::OffsetOverflow { .. });
    refused!(request(vec![region(0, 1 << 62, 0, plain(len))]), MapError::FileTooSmall { .. });
}

#[test]
fn the_last_page_of_an_address_space_is_a_page_like_others() {
    let table =
        ask(&Mapper::spawn().unwrap(), request(vec![region(u64::MAX - PAGE + 1, PAGE, 0, plain(PAGE))]));
    let table = table.unwrap();
    assert!(table.translate(GuestPhys(u64::MAX), 1).is_some());
    assert!(table.translate(GuestPhys(u64::MAX), 2).is_none());
    assert!(table.translate(GuestPhys(0), 1).is_none());
}

#[test]
fn files_that_are_too_small() {
    for (size, offset, len) in
        [(0, 0, PAGE), (PAGE, 0, 2 * PAGE), (2 * PAGE - 1, 0, 2 * PAGE), (PAGE, PAGE, PAGE)]
    {
        let error = refusal(request(vec![region(0, len, offset, plain(size))]));
        assert!(
            matches!(error, MapError::FileTooSmall { needed, size: s, .. } if needed == offset + len && s == size),
            "{error:?}"
        );
    }
}

#[test]
fn huge_pages_want_multiples_of_their_own_size() {
    let Some(file) = huge(2 * HUGE) else { return };
    let again = || file.try_clone().unwrap();
    refused!(request(vec![region(0, PAGE, 0, again())]), MapError::Unaligned { page: HUGE, .. });
    refused!(request(vec![region(0, HUGE, PAGE, again())]), MapError::Unaligned { page: HUGE, .. });
    assert!(ask(&Mapper::spawn().unwrap(), request(vec![region(0, HUGE, HUGE, again())])).is_ok());
}

#[test]
fn regions_that_overlap() {
    let two = |a: (u64, u64), b: (u64, u64)| {
        let one = |(guest, frontend)| RegionRequest {
            guest: GuestPhys(guest),
            frontend: FrontendVirt(frontend),
            len: 2 * PAGE,
            mmap_offset: 0,
            fd: plain(2 * PAGE),
        };
        request(vec![one(a), one(b)])
    };
    let far = 1 << 30;
    refused!(two((0, 0), (PAGE, far)), MapError::Overlap { space: vhost::memory::Space::Guest, at: PAGE });
    refused!(two((far, PAGE), (0, 0)), MapError::Overlap { space: vhost::memory::Space::Frontend, at: PAGE });
    refused!(two((0, 0), (0, 0)), MapError::Overlap { .. });
    assert!(ask(&Mapper::spawn().unwrap(), two((0, far), (2 * PAGE, 0))).is_ok());
}

#[test]
fn more_than_the_port_may_share() {
    let regions = vec![region(0, 2 * PAGE, 0, plain(2 * PAGE)), region(far(), PAGE, 0, plain(PAGE))];
    let error = refusal(MapRequest { regions, limit_bytes: 2 * PAGE, ..MapRequest::default() });
    assert_eq!(error.fault(), Fault::MemoryLimit);
    let text = error.to_string();
    assert!(text.contains("12288") && text.contains("8192"), "both figures are named: {text}");

    let many = (0..=MAX_REGIONS as u64).map(|n| region(n * PAGE, PAGE, 0, plain(PAGE))).collect();
    let error = refusal(request(many));
    assert_eq!(error.fault(), Fault::MemoryLimit);
    let text = error.to_string();
    assert!(text.contains("510") && text.contains("509"), "{text}");
    let most = (0..MAX_REGIONS as u64).map(|n| region(n * PAGE, PAGE, 0, plain(PAGE))).collect();
    assert_eq!(ask(&Mapper::spawn().unwrap(), request(most)).unwrap().regions().len(), MAX_REGIONS);
}

fn far() -> u64 {
    1 << 40
}

#[test]
fn descriptors_that_are_not_memory() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    File::create(&path).unwrap().set_len(PAGE).unwrap();
    let open = |path: &str| OwnedFd::from(OpenOptions::new().read(true).write(true).open(path).unwrap());
    // SAFETY: both take integers and return a new descriptor.
    let (epoll, timer) = unsafe {
        (
            libc::epoll_create1(libc::EPOLL_CLOEXEC),
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC),
        )
    };
    let (reader, writer) = std::io::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut kinds: Vec<(&str, OwnedFd)> = vec![
        ("/dev/zero", open("/dev/zero")),
        ("/dev/null", open("/dev/null")),
        ("/proc/self/mem", open("/proc/self/mem")),
        ("a directory", File::open(directory.path()).unwrap().into()),
        ("a pipe's end", reader.into()),
        ("a pipe's other end", writer.into()),
        ("a socket", socket.into()),
        ("an eventfd", support::eventfd()),
        ("an epoll", own(epoll)),
        ("a timer", own(timer)),
    ];
    if !on_tmpfs(&path) {
        kinds.push(("a file on a disk", open(path.to_str().unwrap())));
    }
    // SAFETY: takes one integer. Many kernels are built or booted without it.
    let secret = unsafe { libc::syscall(libc::SYS_memfd_secret, 0) };
    if secret >= 0 {
        kinds.push(("secret memory", own(secret as i32)));
    }
    for (kind, fd) in kinds {
        let error = refusal(request(vec![region(0, PAGE, 0, fd)]));
        assert!(matches!(error, MapError::NotMemory { .. }), "{kind}: {error:?}");
    }
}

fn on_tmpfs(path: &std::path::Path) -> bool {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a C string and a structure that the call fills.
    let stat = unsafe {
        let mut stat = std::mem::zeroed::<libc::statfs>();
        assert_eq!(libc::statfs(path.as_ptr(), &raw mut stat), 0);
        stat
    };
    stat.f_type == libc::TMPFS_MAGIC
}

#[test]
fn memory_that_cannot_be_written() {
    let file = plain(PAGE);
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let read_only = File::open(&link).unwrap();
    refused!(request(vec![region(0, PAGE, 0, read_only.into())]), MapError::NotWritable { .. });
    let path_only = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&link).unwrap();
    let error = refusal(request(vec![region(0, PAGE, 0, path_only.into())]));
    assert!(matches!(error, MapError::NotMemory { .. } | MapError::NotWritable { .. }), "{error:?}");

    for seal in [libc::F_SEAL_WRITE, libc::F_SEAL_FUTURE_WRITE] {
        let name = c"sealed";
        // SAFETY: a C string, then integers.
        let sealed =
            own(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) });
        support::resize(&sealed, PAGE);
        // SAFETY: takes integers.
        assert_eq!(unsafe { libc::fcntl(sealed.as_raw_fd(), libc::F_ADD_SEALS, seal) }, 0);
        refused!(request(vec![region(0, PAGE, 0, sealed)]), MapError::Kernel { call: "mmap", .. });
    }
}

#[test]
fn hugetlbfs_files_without_seals_are_memory() {
    let path = format!("/dev/hugepages/podswitch-test-{}", std::process::id());
    let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let Ok(file) = opened else {
        eprintln!("NOT RUN: no hugetlbfs at /dev/hugepages");
        return;
    };
    std::fs::remove_file(&path).unwrap();
    file.set_len(HUGE).unwrap();
    let table = ask(&Mapper::spawn().unwrap(), request(vec![region(0, HUGE, 0, file.into())])).unwrap();
    assert_eq!(table.bytes(), HUGE);
}

#[test]
fn mappings_go_when_the_table_goes_or_never_came() {
    let good = plain(PAGE);
    let table = ask(&Mapper::spawn().unwrap(), request(vec![region(0, PAGE, 0, good.try_clone().unwrap())]));
    assert_eq!(mappings_of(&good), 1, "the test sees mappings");
    drop(table);
    support::eventually("unmapped", || mappings_of(&good) == 0);
    let regions = vec![region(0, PAGE, 0, good.try_clone().unwrap()), region(far(), PAGE, 0, plain(0))];
    assert!(matches!(refusal(request(regions)), MapError::FileTooSmall { region: 1, .. }));
    support::eventually("unmapped", || mappings_of(&good) == 0);
}

/// How many mappings of a file this process has.
fn mappings_of(file: &OwnedFd) -> usize {
    use std::os::unix::fs::MetadataExt;
    let inode = File::from(file.try_clone().unwrap()).metadata().unwrap().ino().to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count()
}

#[test]
fn tables_are_extended_and_reduced_without_mapping_again() {
    let mapper = Mapper::spawn().unwrap();
    let first = ask(&mapper, request(vec![region(0, PAGE, 0, plain(PAGE))])).unwrap();
    poke(first.translate(GuestPhys(5), 1).unwrap(), 42);
    let more = MapRequest { keep: Some(first.clone()), ..request(vec![region(far(), PAGE, 0, plain(PAGE))]) };
    let both = ask(&mapper, more).unwrap();
    assert_eq!(both.translate(GuestPhys(5), 1), first.translate(GuestPhys(5), 1));
    let without = MapRequest {
        keep: Some(both.clone()),
        remove: Some((GuestPhys(0), FrontendVirt(0), PAGE)),
        ..request(vec![])
    };
    let second_only = ask(&mapper, without).unwrap();
    assert_eq!(second_only.regions().len(), 1);
    assert!(second_only.translate(GuestPhys(5), 1).is_none());
    drop(first);
    assert_eq!(peek(both.translate(GuestPhys(5), 1).unwrap()), 42, "still mapped for the table that has it");

    let unknown = MapRequest {
        keep: Some(both.clone()),
        remove: Some((GuestPhys(0), FrontendVirt(0), 2 * PAGE)),
        ..request(vec![])
    };
    refused!(unknown, MapError::NoSuchRegion { .. });
    let twice = MapRequest { keep: Some(both), ..request(vec![region(0, PAGE, 0, plain(PAGE))]) };
    refused!(twice, MapError::Overlap { .. });
}

#[test]
fn limits_count_what_is_kept() {
    let mapper = Mapper::spawn().unwrap();
    let first = ask(&mapper, request(vec![region(0, PAGE, 0, plain(PAGE))])).unwrap();
    let more = MapRequest {
        regions: vec![region(far(), PAGE, 0, plain(PAGE))],
        keep: Some(first),
        limit_bytes: 2 * PAGE - 1,
        ..MapRequest::default()
    };
    assert!(matches!(refusal(more), MapError::Limit { asked, .. } if asked == 2 * PAGE));
}

#[test]
fn memory_of_our_own_is_a_table_like_others() {
    let regions = [(GuestPhys(4 * PAGE), PAGE), (GuestPhys(0), 2 * PAGE)];
    let (table, files) = GuestMemory::from_memfd(&regions).unwrap();
    assert_eq!((files.len(), table.regions().len(), table.bytes()), (2, 2, 3 * PAGE));
    let at = table.translate(GuestPhys(4 * PAGE + 7), 1).unwrap();
    let frontend = FrontendVirt(GuestMemory::FRONTEND_OFFSET + 4 * PAGE + 7);
    assert_eq!(table.translate_frontend(frontend, 1), Some(at));
    poke(at, 3);
    let theirs =
        ask(&Mapper::spawn().unwrap(), request(vec![region(0, PAGE, 0, files[0].try_clone().unwrap())]));
    assert_eq!(
        peek(theirs.unwrap().translate(GuestPhys(7), 1).unwrap()),
        3,
        "the files are in the order given"
    );
    assert!(GuestMemory::from_memfd(&[(GuestPhys(0), PAGE - 1)]).is_err());
}

#[test]
fn the_offset_into_the_file_is_honoured() {
    let file = plain(4 * PAGE);
    fallocate(&file, false, 0, 4 * PAGE);
    let mapper = Mapper::spawn().unwrap();
    let whole = ask(&mapper, request(vec![region(0, 4 * PAGE, 0, file.try_clone().unwrap())])).unwrap();
    let third = ask(&mapper, request(vec![region(0, PAGE, 2 * PAGE, file)])).unwrap();
    poke(whole.translate(GuestPhys(2 * PAGE + 9), 1).unwrap(), 7);
    assert_eq!(peek(third.translate(GuestPhys(9), 1).unwrap()), 7);
}

/// Closing a TCP socket that lingers with unsent data takes as long as it lingers, and must not delay others.
#[test]
fn a_descriptor_that_blocks_in_close_delays_nobody() {
    let lingering = lingering_socket(2);
    let mapper = Mapper::spawn().unwrap();
    let begun = Instant::now();
    let refused = ask(&mapper, request(vec![region(0, PAGE, 0, lingering)]));
    assert!(matches!(refused, Err(MapError::NotMemory { .. })));
    assert!(ask(&mapper, request(vec![region(0, PAGE, 0, plain(PAGE))])).is_ok());
    assert!(begun.elapsed() < Duration::from_millis(500), "took {:?}", begun.elapsed());
    assert!(leaks().closing >= 1, "the close is under way and seen");
    assert_eq!(leaks().given_up, 0);
}

fn lingering_socket(seconds: i32) -> OwnedFd {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // The other end exists and never reads.
    std::mem::forget(listener.accept().unwrap().0);
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 65536]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    let linger = libc::linger { l_onoff: 1, l_linger: seconds };
    // SAFETY: the pointer and the length describe `linger`.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    assert_eq!(set, 0);
    socket.into()
}

#[test]
fn translation_agrees_with_a_plain_search() {
    use proptest::prelude::*;
    let mapper = Mapper::spawn().unwrap();
    for count in [1, 3, 8, 9, 20] {
        let places: Vec<(u64, u64)> = (0..count).map(|n| (n * 16 * PAGE, (1 + n * 7 % 11) * PAGE)).collect();
        let regions = places.iter().map(|&(at, len)| region(at, len, 0, plain(len))).collect();
        let table = ask(&mapper, request(regions)).unwrap();
        proptest!(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() },
            |(at in 0..(count + 1) * 16 * PAGE, len in prop_oneof![0..3u64, 0..20 * PAGE])| {
            let within = table.regions().iter().find(|r| r.guest.0 <= at && at < r.guest.0 + r.len);
            let host = within.map(|r| r.host.add((at - r.guest.0) as usize));
            let left = within.map_or(0, |r| r.guest.0 + r.len - at);
            prop_assert_eq!(table.translate(GuestPhys(at), len), host.filter(|_| len <= left));
            prop_assert_eq!(table.translate_frontend(FrontendVirt(at), len), host.filter(|_| len <= left));
            prop_assert_eq!(table.translate_prefix(GuestPhys(at), len), host.map(|h| (h, len.min(left))));
        });
    }
}
