use super::*;

struct CopyCase<'a> {
    dst: &'a mut [u8],
    src: &'a [u8],
}

impl LevelTask for CopyCase<'_> {
    type Output = ();
    fn run<L: Level>(self) {
        assert_eq!(self.dst.len(), self.src.len());
        // SAFETY: both are slices of this length and distinct.
        unsafe { L::copy(self.dst.as_mut_ptr(), self.src.as_ptr(), self.src.len()) };
        L::done();
    }
}

#[test]
fn every_level_copies_every_length_at_every_alignment_and_nothing_else() {
    let src: Vec<u8> = (0..1200u32).map(|i| (i * 7 + i / 251) as u8).collect();
    for &level in CopyLevel::all() {
        if CopyLevel::all().iter().position(|l| *l == level)
            > CopyLevel::all().iter().position(|l| *l == CopyLevel::supported())
        {
            continue;
        }
        for len in (0..300).chain([511, 512, 513, 1000, 1024]) {
            for (a, b) in [(0, 0), (1, 0), (0, 1), (3, 7), (32, 33), (63, 5)] {
                let mut dst = vec![0xEE; len + 128];
                dispatch(level, CopyCase { dst: &mut dst[b..b + len], src: &src[a..a + len] });
                assert_eq!(&dst[b..b + len], &src[a..a + len], "{level:?} {len} {a} {b}");
                assert!(
                    dst[..b].iter().chain(&dst[b + len..]).all(|x| *x == 0xEE),
                    "{level:?} {len} wrote outside"
                );
            }
        }
    }
}

#[test]
fn fields_are_little_endian() {
    let mut bytes = [0u64; 2];
    let at = HostAddr(bytes.as_mut_ptr() as usize);
    // SAFETY: `bytes` is aligned to eight and long enough.
    unsafe {
        store_u16_release(at.add(2), 0x1234);
        store_u32(at.add(4), 0xA1B2_C3D4);
        assert_eq!(load_u16(at.add(2)), 0x1234);
        assert_eq!(load_u64(at), 0xA1B2_C3D4_1234_0000);
    }
}

#[repr(align(64))]
struct Line([u64; 8]);

struct EqualCase<'a>(&'a Line, u64);

impl LevelTask for EqualCase<'_> {
    type Output = u32;
    fn run<L: Level>(self) -> u32 {
        // SAFETY: the line is aligned and readable.
        let equal = unsafe { L::equal(self.0.0.as_ptr(), self.1) };
        L::done();
        equal
    }
}

#[test]
fn every_level_finds_equal_words() {
    let supported = CopyLevel::all().iter().position(|l| *l == CopyLevel::supported()).unwrap();
    for &level in &CopyLevel::all()[..=supported] {
        for bits in 0..=255u32 {
            let wanted = 0x8000_1234_5678_9ABC;
            let line =
                Line(std::array::from_fn(
                    |i| if bits >> i & 1 == 1 { wanted } else { wanted ^ 1 << (i * 9) },
                ));
            assert_eq!(dispatch(level, EqualCase(&line, wanted)), bits, "{level:?}");
        }
    }
}
