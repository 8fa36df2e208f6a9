use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

impl Fdb {
    /// Where its entries and their ages lie.
    pub(crate) fn place(&self) -> std::ops::Range<usize> {
        let range = self.buckets.as_ptr_range();
        range.start as usize..range.end as usize
    }
}

fn mac(n: u64) -> u64 {
    0x02 | n << 8
}

#[test]
fn learned_addresses_move_and_age() {
    let fdb = Fdb::new(1024, 100, 0xDEAD_BEEF_1234_5678);
    assert_eq!(fdb.lookup(mac(1)), None);
    assert_eq!(fdb.learn(mac(1), Dest(3), 10), Entered::Ok);
    assert_eq!(fdb.lookup(mac(1)), Some(Dest(3)));
    assert_eq!(fdb.learn(mac(1), Dest(4), 11), Entered::Ok);
    assert_eq!(fdb.lookup(mac(1)), Some(Dest(4)));
    fdb.expire(311, 300);
    assert_eq!(fdb.lookup(mac(1)), Some(Dest(4)));
    fdb.expire(312, 300);
    assert_eq!(fdb.lookup(mac(1)), None);
}

#[test]
fn declared_and_adopted_addresses_cannot_be_moved() {
    let fdb = Fdb::new(1024, 100, 99);
    assert_eq!(fdb.learn(mac(1), Dest(1), 1), Entered::Ok);
    assert_eq!(fdb.adopt(mac(1), Dest(2)), Entered::InUse, "a learned address is not up for adoption");
    assert_eq!(fdb.declare(MacAddr::from_word(mac(1)), Dest(5)), Entered::Ok);
    assert_eq!(fdb.learn(mac(1), Dest(1), 2), Entered::InUse);
    assert_eq!(fdb.lookup(mac(1)), Some(Dest(5)));
    assert_eq!(fdb.adopt(mac(2), Dest(6)), Entered::Ok);
    assert_eq!(fdb.learn(mac(2), Dest(1), 2), Entered::InUse);
    fdb.expire(10_000, 300);
    assert_eq!(fdb.entries().len(), 2);
    fdb.flush(Dest(6));
    assert_eq!(fdb.lookup(mac(2)), None);
}

#[test]
fn a_port_that_floods_addresses_hurts_only_itself() {
    let fdb = Fdb::new(8192, 512, 0x5555_AAAA_1234_4321);
    for n in 0..300 {
        assert_eq!(fdb.learn(mac(1 << 32 | n), Dest(2), 1), Entered::Ok);
    }
    let refused = (0..1_000_000).filter(|n| fdb.learn(mac(*n), Dest(1), 1) == Entered::Full).count();
    assert_eq!(refused, 1_000_000 - 512);
    for n in 0..300 {
        assert_eq!(fdb.lookup(mac(1 << 32 | n)), Some(Dest(2)));
    }
}

#[test]
fn the_table_holds_what_it_says() {
    let fdb = Fdb::new(8192, u32::MAX, 0x9E37_79B9_7F4A_7C15);
    let held = (0..8192).filter(|n| fdb.learn(mac(*n), Dest(1), 1) == Entered::Ok).count();
    assert!(held >= 8100, "{held} of 8192");
}

#[test]
fn a_declared_address_finds_a_place_in_a_full_table() {
    let fdb = Fdb::new(8, u32::MAX, 77);
    for n in 0..200 {
        fdb.learn(mac(n), Dest(1), 1);
    }
    assert_eq!(fdb.declare(MacAddr::from_word(mac(999)), Dest(2)), Entered::Ok);
    assert_eq!(fdb.lookup(mac(999)), Some(Dest(2)));
}

#[derive(Clone, Debug)]
enum Step {
    Learn(u8, u8),
    Declare(u8, u8),
    Forget(u8),
    Flush(u8),
    Later(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..40, 0u8..6).prop_map(|(m, d)| Step::Learn(m, d)),
        1 => (0u8..40, 0u8..6).prop_map(|(m, d)| Step::Declare(m, d)),
        1 => (0u8..40).prop_map(Step::Forget),
        1 => (0u8..6).prop_map(Step::Flush),
        1 => (1u8..100).prop_map(Step::Later),
    ]
}

proptest! {
    /// Against a plain map, in a table with room to spare.
    #[test]
    fn agrees_with_a_plain_map(steps in proptest::collection::vec(step(), 1..200), key: u64) {
        let fdb = Fdb::new(1024, 1000, key);
        let mut model: HashMap<u64, (u8, bool, u32)> = HashMap::new();
        let mut now = 0u32;
        for step in steps {
            match step {
                Step::Learn(m, d) => {
                    let refused = model.get(&mac(m.into())).is_some_and(|e| e.1 && e.0 != d);
                    let entered = fdb.learn(mac(m.into()), Dest(d.into()), now);
                    prop_assert_eq!(entered == Entered::InUse, refused);
                    if !refused {
                        let e = model.entry(mac(m.into())).or_insert((d, false, now));
                        if !e.1 { *e = (d, false, now); }
                    }
                }
                Step::Declare(m, d) => {
                    fdb.declare(MacAddr::from_word(mac(m.into())), Dest(d.into()));
                    model.insert(mac(m.into()), (d, true, 0));
                }
                Step::Forget(m) => {
                    fdb.forget(mac(m.into()));
                    model.remove(&mac(m.into()));
                }
                Step::Flush(d) => {
                    fdb.flush(Dest(d.into()));
                    model.retain(|_, e| e.0 != d);
                }
                Step::Later(s) => {
                    now += u32::from(s);
                    fdb.expire(now, 120);
                    model.retain(|_, e| e.1 || now - e.2 <= 120);
                }
            }
            for m in 0..40u64 {
                let want = model.get(&mac(m)).map(|e| Dest(e.0.into()));
                prop_assert_eq!(fdb.lookup(mac(m)), want);
            }
        }
    }
}
