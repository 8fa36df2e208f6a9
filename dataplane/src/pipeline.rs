//! The stages between receiving and sending. Each works on a whole burst, reads heads only, and writes a
//! decision for each frame: [`admit`](Stage::admit), then [`forward`](Stage::forward). Sending is [`crate::emit`].

use vhost::guest::Level;
use vhost::ring::BURST;

use crate::burst::{Burst, DROPPED, Ethernet, FLOOD, UNDECIDED};
use crate::counters::PortTally;
use crate::drops::DropReason;
use crate::fdb::{Dest, Entered};
use crate::ids::MacAddr;
use crate::security::{ETHERNET, MacRule, Verdict};
use crate::snapshot::{NetworkEntry, PortEntry, Snapshot};

/// 01:80:c2:00:00:00 to 0f: pause, LACP, LLDP, spanning tree (IEEE 802.1Q §8.6.3), as a word without its last digit.
const RESERVED: u64 = 0x0000_00C2_8001;
const RESERVED_MASK: u64 = 0xF0FF_FFFF_FFFF;

/// What the stages know about the port that a burst came from.
pub(crate) struct Stage<'a> {
    pub port: &'a PortEntry,
    pub slot: u16,
    pub network: &'a NetworkEntry,
    pub tally: &'a PortTally,
    /// Seconds since start, for ages of learned addresses.
    pub now: u32,
}

impl<'a> Stage<'a> {
    /// The stages for frames from the port in `slot`; `None` if the snapshot does not hold it (any more).
    #[inline(always)]
    pub(crate) fn new(snapshot: &'a Snapshot, slot: u16, worker: usize, now: u32) -> Option<Self> {
        let port = snapshot.port(slot)?;
        let network = snapshot.network(port.network)?;
        Some(Self { port, slot, network, tally: port.shared.tallies.of(worker), now })
    }

    #[inline(always)]
    fn drop_frame(&self, burst: &mut Burst, i: usize, reason: DropReason) {
        burst.out[i] = DROPPED;
        self.tally.drop_frames(reason, 1);
    }

    /// Drops what the port may not send, and learns where addresses are.
    #[inline(always)]
    pub(crate) fn admit<L: Level>(&self, burst: &mut Burst) {
        if !self.port.admin_up {
            for i in 0..burst.count() {
                self.drop_frame(burst, i, DropReason::AdminDown);
            }
            return;
        }
        match self.port.admission.mac {
            MacRule::Own(mac) => self.admit_own::<L>(burst, mac),
            MacRule::Adopt => self.admit_own::<L>(burst, self.port.shared.adopted()),
            MacRule::Any => self.admit_any::<L>(burst),
        }
    }

    /// Whether the frame has a length that can be right.
    #[inline(always)]
    fn length_is_right(&self, len: u32) -> bool {
        len >= ETHERNET as u32 && len <= self.port.max_frame
    }

    /// Drops a frame whose length cannot be right.
    #[cold]
    fn drop_length(&self, burst: &mut Burst, i: usize) {
        let reason = match burst.frame_len(i) {
            0 => DropReason::BadChain,
            len if len < ETHERNET as u32 => DropReason::Runt,
            _ => DropReason::TooLong,
        };
        self.drop_frame(burst, i, reason);
    }

    /// A port with one MAC address; `own` is 0 if it has none yet.
    #[inline(always)]
    fn admit_own<L: Level>(&self, burst: &mut Burst, mut own: u64) {
        let common = self.port.admission.common();
        let mut last = 0;
        for i in 0..burst.count() {
            if !self.length_is_right(burst.frame_len(i)) {
                self.drop_length(burst, i);
                continue;
            }
            let ethernet = burst.ethernet(i);
            burst.dst[i] = ethernet.dst;
            if ethernet.dst != last {
                last = ethernet.dst;
                self.network.fdb.prefetch(last);
            }
            if ethernet.src != own {
                match self.foreign_source(ethernet.src, own) {
                    Ok(adopted) => own = adopted,
                    Err(reason) => {
                        self.drop_frame(burst, i, reason);
                        continue;
                    }
                }
            }
            if ethernet.dst & RESERVED_MASK == RESERVED {
                self.drop_frame(burst, i, DropReason::ReservedMulticast);
            } else if ethernet.kind != common
                && self.port.admission.looks_into(ethernet.kind)
                && let Some(reason) = self.look_into::<L>(burst, i, own)
            {
                self.drop_frame(burst, i, reason);
            }
        }
    }

    /// A source that is not the port's own: its first one is adopted, anything else is refused.
    #[cold]
    fn foreign_source(&self, src: u64, own: u64) -> Result<u64, DropReason> {
        if src == 0 || Ethernet::is_group(src) {
            return Err(DropReason::SourceMacInvalid);
        }
        if own != 0 {
            return Err(DropReason::MacSpoofed);
        }
        match self.network.fdb.adopt(src, self.port.dest) {
            Entered::InUse => return Err(DropReason::MacInUse),
            Entered::Full => return Err(DropReason::MacTableFull),
            Entered::Ok => {}
        }
        let adopted = self.port.shared.adopt(src);
        if adopted != src {
            // Another worker adopted another address of the same port at the same moment.
            self.network.fdb.forget(src);
            return Err(DropReason::MacSpoofed);
        }
        Ok(adopted)
    }

    /// Checks what a frame says about its sender, extending its head once if that is needed.
    #[cold]
    fn look_into<L: Level>(&self, burst: &mut Burst, i: usize, own: u64) -> Option<DropReason> {
        let mac = MacAddr::from_word(own);
        loop {
            match self.port.admission.check(burst.head(i), burst.frame_len(i) as usize, mac) {
                Verdict::Pass => return None,
                Verdict::Drop(reason) => return Some(reason),
                Verdict::Deeper if burst.extend::<L>(i) => {}
                Verdict::Deeper => return Some(DropReason::HeadersTooDeep),
            }
        }
    }

    /// A trusted port: every source is learned.
    fn admit_any<L: Level>(&self, burst: &mut Burst) {
        let fdb = &self.network.fdb;
        let (mut src, mut dst) = (0, 0);
        let mut sources = [0; BURST];
        for (i, source) in sources.iter_mut().enumerate().take(burst.count()) {
            let ethernet = burst.ethernet(i);
            burst.dst[i] = ethernet.dst;
            *source = ethernet.src;
            if ethernet.dst != dst {
                dst = ethernet.dst;
                fdb.prefetch(dst);
            }
            if ethernet.src != src {
                src = ethernet.src;
                fdb.prefetch(src);
            }
        }
        let mut last = 0;
        for (i, &src) in sources.iter().enumerate().take(burst.count()) {
            if !self.length_is_right(burst.frame_len(i)) {
                self.drop_length(burst, i);
                continue;
            }
            if burst.dst[i] & RESERVED_MASK == RESERVED {
                self.drop_frame(burst, i, DropReason::ReservedMulticast);
            } else if src == last || (src != 0 && fdb.refresh::<L>(src, self.port.dest, self.now)) {
                last = src;
            } else {
                last = self.learn(burst, i, src, last);
            }
        }
        L::done();
    }

    /// Learns a source that does not stand where it is looked for first. Returns the source that was last in order.
    #[inline(never)]
    fn learn(&self, burst: &mut Burst, i: usize, src: u64, last: u64) -> u64 {
        if src == 0 || Ethernet::is_group(src) {
            self.drop_frame(burst, i, DropReason::SourceMacInvalid);
            return last;
        }
        // A full table or share only means that frames to the address are flooded.
        if self.network.fdb.learn(src, self.port.dest, self.now) == Entered::InUse {
            self.drop_frame(burst, i, DropReason::MacInUse);
            return last;
        }
        src
    }

    /// Finds the port that each frame goes to.
    #[inline(always)]
    pub(crate) fn forward(&self, burst: &mut Burst) {
        let fdb = &self.network.fdb;
        // Traffic comes in runs: the address before is the best guess for the next.
        let (mut known, mut place) = (0, FLOOD);
        for i in 0..burst.count() {
            if burst.out[i] != UNDECIDED {
                continue;
            }
            let dst = burst.dst[i];
            if dst != known {
                known = dst;
                place = self.place(dst, fdb.lookup(dst));
            }
            burst.out[i] = place;
            if place == DROPPED {
                self.tally.drop_frames(DropReason::Hairpin, 1);
            }
        }
    }

    #[inline(always)]
    fn place(&self, dst: u64, found: Option<Dest>) -> u16 {
        if Ethernet::is_group(dst) {
            return FLOOD;
        }
        match found.and_then(|dest| self.network.slot(dest)) {
            Some(slot) if slot == self.slot => DROPPED,
            Some(slot) => slot,
            None => FLOOD,
        }
    }
}
