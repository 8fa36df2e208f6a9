//! The MAC table of one network: the only thing that workers of different flows write together.
//!
//! A fixed array of buckets, a cache line each. An entry is one atomic word, 48 bits of MAC address and 16 bits that
//! say where it is (a number of the network's own) and whether it may move; beside it is the second in which it was
//! last seen. Whatever decides is in the word, so that no order of writes can take it apart. An address
//! may stand in either of two buckets, chosen by a keyed multiply hash. Workers look up, learn and adopt; declared
//! entries, ageing and flushing belong to one control thread at a time. Nothing is allocated after creation.

use vhost::guest::Level;

use crate::ids::MacAddr;
use crate::report::MacKind;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Entries in a bucket: five words, five ages and four bytes to spare make a cache line.
const WAYS: usize = 5;

/// Ports a network can have: destinations are below it.
pub(crate) const MAX_DESTS: usize = 4096;

const MAC_BITS: u64 = (1 << 48) - 1;

/// Marks of entries that do not age and that no other port can move.
const DECLARED: u64 = 1 << 63;
const ADOPTED: u64 = 1 << 62;
const PINNED: u64 = DECLARED | ADOPTED;

#[derive(Debug)]
#[repr(C, align(64))]
struct Bucket {
    words: [AtomicU64; WAYS],
    ages: [AtomicU32; WAYS],
}

/// The number of a port within a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dest(pub u16);

/// What became of an attempt to enter an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It stands for this port now.
    Ok,
    /// It belongs to another port, which keeps it.
    InUse,
    /// The port's share, or both buckets, are full.
    Full,
}

/// A network's MAC table.
#[derive(Debug)]
pub(crate) struct Fdb {
    buckets: Box<[Bucket]>,
    mask: u64,
    key: u64,
    /// Learned entries of each destination; a worker may be a few ahead, ageing counts anew.
    learned: Box<[AtomicU32]>,
    quota: u32,
}

/// One place for an entry.
#[derive(Clone, Copy)]
struct Slot<'a> {
    word: &'a AtomicU64,
    age: &'a AtomicU32,
}

impl Bucket {
    /// A bit for each word that is `wanted`.
    #[inline(always)]
    #[cfg_attr(not(loom), expect(unsafe_code, reason = "a line is compared at once"))]
    fn equal<L: Level>(&self, wanted: u64) -> u32 {
        const WORDS: u32 = (1 << WAYS) - 1;
        #[cfg(not(loom))]
        // SAFETY: a bucket is a line of 64 bytes, aligned; the words are its first.
        return unsafe { L::equal(std::ptr::from_ref(self).cast(), wanted) } & WORDS;
        #[cfg(loom)]
        {
            let stands = |i: usize| u32::from(self.words[i].load(Ordering::Relaxed) == wanted) << i;
            (0..WAYS).map(stands).sum::<u32>() & WORDS
        }
    }

    /// The entry of `mac`, which is not 0, and its word. All words are compared and none is guessed first: where an address
    /// stands is as good as random, and a wrong guess costs the processor more than the comparisons.
    #[inline(always)]
    fn find(&self, mac: u64) -> Option<(Slot<'_>, u64)> {
        let stands = |word: u64| (word ^ mac) << 16 == 0;
        let mut hits = 0u32;
        for (i, word) in self.words.iter().enumerate() {
            hits |= u32::from(stands(word.load(Ordering::Relaxed))) << i;
        }
        if hits == 0 || mac == 0 {
            return None;
        }
        let i = hits.trailing_zeros() as usize;
        let slot = Slot { word: &self.words[i], age: &self.ages[i] };
        let word = slot.word.load(Ordering::Relaxed);
        // Another worker may have changed it since.
        stands(word).then_some((slot, word))
    }
}

impl Fdb {
    /// A table for about `size` addresses of which one port may learn `quota`; `key` is secret.
    pub(crate) fn new(size: u32, quota: u32, key: u64) -> Self {
        // Two choices of five fill to about 85 % before a place is missing.
        let buckets = (size as usize).div_ceil(4).next_power_of_two();
        let empty = || Bucket {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            ages: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        Self {
            buckets: (0..buckets).map(|_| empty()).collect(),
            mask: buckets as u64 - 1,
            key: key | 1,
            learned: (0..if cfg!(loom) { 4 } else { MAX_DESTS }).map(|_| AtomicU32::new(0)).collect(),
            quota,
        }
    }

    /// The upper bits of the product depend on all bits of its factors.
    #[inline(always)]
    fn hash(&self, mac: u64) -> u64 {
        (mac ^ (self.key >> 16)).wrapping_mul(self.key)
    }

    /// The bucket in which `mac` stands unless that was full.
    #[inline(always)]
    fn first(&self, mac: u64) -> usize {
        ((self.hash(mac) >> 40) & self.mask) as usize
    }

    /// The two buckets in which `mac` may stand.
    #[inline(always)]
    fn pair(&self, mac: u64) -> [&Bucket; 2] {
        let (a, b) = ((self.hash(mac) >> 40) & self.mask, (self.hash(mac) >> 20) & self.mask);
        let b = if a == b { (b + 1) & self.mask } else { b };
        [&self.buckets[a as usize], &self.buckets[b as usize]]
    }

    fn slots(&self, mac: u64) -> impl Iterator<Item = Slot<'_>> {
        let [a, b] = self.pair(mac);
        // With a single bucket both choices are the same: look at it once.
        let second = if std::ptr::eq(a, b) { 0 } else { WAYS };
        (0..WAYS)
            .map(move |i| Slot { word: &a.words[i], age: &a.ages[i] })
            .chain((0..second).map(move |i| Slot { word: &b.words[i], age: &b.ages[i] }))
    }

    /// Brings the first bucket of `mac` near: most addresses stand there, as the second is for those that found it full.
    #[inline(always)]
    pub(crate) fn prefetch(&self, mac: u64) {
        let bucket = std::ptr::from_ref(&self.buckets[self.first(mac)]);
        vhost::guest::prefetch(vhost::address::HostAddr(bucket as usize));
    }

    /// Where `mac` (low 48 bits) is.
    #[inline(always)]
    pub(crate) fn lookup(&self, mac: u64) -> Option<Dest> {
        let (_, word) = self.find(mac)?;
        Some(dest_of(word))
    }

    /// The entry of `mac`, and its word as it was found.
    #[inline(always)]
    fn find(&self, mac: u64) -> Option<(Slot<'_>, u64)> {
        let [a, b] = self.pair(mac);
        a.find(mac).or_else(|| b.find(mac))
    }

    /// Whether `mac` (not 0) is known as learned behind `dest`, where most addresses stand; it was seen `now`. The short way
    /// of [`Fdb::learn`], which has the answer if this says no.
    #[inline(always)]
    pub(crate) fn refresh<L: Level>(&self, mac: u64, dest: Dest, now: u32) -> bool {
        let bucket = &self.buckets[self.first(mac)];
        let wanted = mac | place_of(dest);
        let hits = bucket.equal::<L>(wanted);
        if hits == 0 {
            return false;
        }
        let age = &bucket.ages[hits.trailing_zeros() as usize];
        if age.load(Ordering::Relaxed) != now {
            age.store(now, Ordering::Relaxed);
        }
        true
    }

    /// Learns that `mac` is behind `dest` (a trusted port). Called by workers for each frame of such a port; writes
    /// only if something changed, at most once a second for an address.
    #[inline(never)]
    pub(crate) fn learn(&self, mac: u64, dest: Dest, now: u32) -> Entered {
        if let Some((slot, word)) = self.find(mac) {
            let owner = dest_of(word);
            if owner == dest {
                if word & PINNED == 0 && slot.age.load(Ordering::Relaxed) != now {
                    slot.age.store(now, Ordering::Relaxed);
                }
                return Entered::Ok;
            }
            if word & PINNED != 0 {
                return Entered::InUse;
            }
            // A station moved. Losing the race means that somebody else moved it at the same moment.
            let moved = mac | place_of(dest);
            if slot.word.compare_exchange(word, moved, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                slot.age.store(now, Ordering::Relaxed);
                self.count(owner, false);
                self.count(dest, true);
            }
            return Entered::Ok;
        }
        if self.learned[usize::from(dest.0)].load(Ordering::Relaxed) >= self.quota {
            return Entered::Full;
        }
        let entered = self.insert(mac | place_of(dest), now);
        if entered == Entered::Ok {
            self.count(dest, true);
        }
        entered
    }

    /// Enters the first address that a port without a declared one uses, for as long as its link is up. Refused
    /// if the address stands for another port in any way. Called by workers.
    #[cold]
    pub(crate) fn adopt(&self, mac: u64, dest: Dest) -> Entered {
        match self.lookup(mac) {
            Some(owner) if owner != dest => Entered::InUse,
            Some(_) => Entered::Ok,
            None => {
                let entered = self.insert(mac | place_of(dest) | ADOPTED, 0);
                if entered == Entered::Ok && self.lookup(mac) != Some(dest) {
                    Entered::InUse
                } else {
                    entered
                }
            }
        }
    }

    /// Enters a declared address, in place of whatever stood for it. One control thread at a time.
    pub(crate) fn declare(&self, mac: MacAddr, dest: Dest) -> Entered {
        let mac = mac.to_word();
        self.forget(mac);
        let entry = mac | place_of(dest) | DECLARED;
        if self.insert(entry, 0) == Entered::Ok {
            return Entered::Ok;
        }
        // Both buckets are full: a learned entry makes room and will be learned again elsewhere.
        for slot in self.slots(mac) {
            let word = slot.word.load(Ordering::SeqCst);
            if word & PINNED == 0
                && slot.word.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
                && self.insert(entry, 0) == Entered::Ok
            {
                return Entered::Ok;
            }
        }
        Entered::Full
    }

    /// Removes every entry of `mac`. One control thread at a time.
    pub(crate) fn forget(&self, mac: u64) {
        for slot in self.slots(mac) {
            let word = slot.word.load(Ordering::SeqCst);
            if word & MAC_BITS == mac && word != 0 {
                let _ = slot.word.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst);
            }
        }
    }

    /// Removes everything that points to `dest`. One control thread at a time, when no worker enters for it any more.
    pub(crate) fn flush(&self, dest: Dest) {
        self.for_each(|slot, word| {
            if dest_of(word) == dest {
                let _ = slot.word.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst);
            }
        });
        self.learned[usize::from(dest.0)].store(0, Ordering::Relaxed);
    }

    /// Forgets what was silent for longer than `most` seconds, and counts what each port has. One control thread.
    pub(crate) fn expire(&self, now: u32, most: u32) {
        let mut counts = vec![0u32; self.learned.len()];
        self.for_each(|slot, word| {
            if word & PINNED != 0 {
                return;
            }
            if now.saturating_sub(slot.age.load(Ordering::Relaxed)) > most {
                let _ = slot.word.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst);
            } else {
                counts[usize::from(dest_of(word).0)] += 1;
            }
        });
        for (learned, count) in self.learned.iter().zip(counts) {
            learned.store(count, Ordering::Relaxed);
        }
    }

    /// Every entry: address, destination, how it came in, and when it was last seen (0 if it does not age).
    pub(crate) fn entries(&self) -> Vec<(MacAddr, Dest, MacKind, u32)> {
        let mut all = Vec::new();
        self.for_each(|slot, word| {
            let (kind, seen) = match word & PINNED {
                0 => (MacKind::Learned, slot.age.load(Ordering::Relaxed)),
                ADOPTED => (MacKind::Adopted, 0),
                _ => (MacKind::Declared, 0),
            };
            all.push((MacAddr::from_word(word), dest_of(word), kind, seen));
        });
        all.sort_by_key(|e| e.0);
        all
    }

    fn for_each(&self, mut f: impl FnMut(Slot<'_>, u64)) {
        for bucket in &self.buckets {
            for (word, age) in bucket.words.iter().zip(&bucket.ages) {
                let value = word.load(Ordering::SeqCst);
                if value != 0 {
                    f(Slot { word, age }, value);
                }
            }
        }
    }

    fn count(&self, dest: Dest, up: bool) {
        let learned = &self.learned[usize::from(dest.0)];
        if up {
            learned.fetch_add(1, Ordering::Relaxed);
        } else {
            let _ = learned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }

    /// Enters an address that was not found, and sees to it that it stands only once although another worker may
    /// do the same at the same moment: of two entries the pinned one stays, else the one that stands first.
    #[cold]
    fn insert(&self, entry: u64, now: u32) -> Entered {
        for slot in self.slots(entry & MAC_BITS) {
            if slot.word.compare_exchange(0, entry, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                slot.age.store(now, Ordering::Relaxed);
                self.settle(entry, slot);
                return Entered::Ok;
            }
        }
        Entered::Full
    }

    fn settle(&self, entry: u64, mine: Slot<'_>) {
        let mut passed_mine = false;
        for slot in self.slots(entry & MAC_BITS) {
            if std::ptr::eq(slot.word, mine.word) {
                passed_mine = true;
                continue;
            }
            let other = slot.word.load(Ordering::SeqCst);
            if (other ^ entry) & MAC_BITS != 0 || other == 0 {
                continue;
            }
            let i_stay = match (entry & PINNED != 0, other & PINNED != 0) {
                (true, false) => true,
                (false, true) => false,
                _ => passed_mine,
            };
            if i_stay {
                let _ = slot.word.compare_exchange(other, 0, Ordering::SeqCst, Ordering::SeqCst);
            } else {
                let _ = mine.word.compare_exchange(entry, 0, Ordering::SeqCst, Ordering::SeqCst);
                return;
            }
        }
    }
}

/// A destination, as it stands in a word.
fn place_of(dest: Dest) -> u64 {
    u64::from(dest.0) << 48
}

/// The destination in a word.
#[inline(always)]
fn dest_of(word: u64) -> Dest {
    Dest(((word & !PINNED) >> 48) as u16)
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A table of one bucket keeps the model small.
    fn tiny() -> Fdb {
        Fdb::new(1, 100, 0x1234_5677)
    }

    #[test]
    fn loom_two_workers_learn_the_same_address_once() {
        loom::model(|| {
            let fdb = Arc::new(tiny());
            let other = fdb.clone();
            let worker = thread::spawn(move || other.learn(7, Dest(1), 5));
            fdb.learn(7, Dest(2), 5);
            worker.join().unwrap();
            let found = fdb.entries();
            assert_eq!(found.len(), 1, "{found:?}");
        });
    }

    #[test]
    fn loom_a_declared_address_stays_with_its_port() {
        loom::model(|| {
            let fdb = Arc::new(tiny());
            let other = fdb.clone();
            let worker = thread::spawn(move || other.learn(7, Dest(1), 5));
            assert_eq!(fdb.declare(MacAddr::from_word(7), Dest(2)), Entered::Ok);
            worker.join().unwrap();
            let found = fdb.entries();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].1, found[0].2), (Dest(2), MacKind::Declared));
        });
    }
}
