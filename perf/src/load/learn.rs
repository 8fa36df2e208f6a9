//! Before a load: every destination address sends, so that a learning switch knows where it is.

use std::time::Duration;

use super::Load;
use crate::clock::{Clock, ticks};
use crate::pod::Pod;
use crate::traffic::{LEARN_MAGIC, compose};

const BURST: u16 = 32;
/// From one burst to the next: a million frames a second, which a switch that learns slowly can bear.
const INTERVAL: Duration = Duration::from_micros(32);
/// A frame is lost where the switch is not ready yet, so each address sends as often.
const PASSES: u32 = 2;
/// Nothing came for so long: the frames have drained.
const QUIET: Duration = Duration::from_millis(5);
const DRAIN: Duration = Duration::from_millis(500);

/// Sends a frame from every destination address of every stream, backwards, and forgets what arrives.
pub(super) fn learn(pods: &mut [Pod], load: &Load<'_>) {
    let clock = Clock::calibrated();
    let (interval, patience) = (clock.in_ticks(INTERVAL), clock.in_ticks(DRAIN));
    for _ in 0..PASSES {
        for stream in &load.streams {
            let (macs, to) = (stream.spec.destinations, stream.spec.sources.first);
            let (mut done, mut last) = (0, ticks());
            while done < macs.count {
                let frames = BURST.min((macs.count - done).min(BURST.into()) as u16);
                let mut next = done;
                let sent = pods[stream.to].queues().map_or(0, |queues| {
                    queues.send.send_burst(frames, |slot| {
                        slot.head(&compose(macs.first.plus(next), to, 0, 64, LEARN_MAGIC));
                        next += 1;
                        64
                    })
                });
                done += u32::from(sent);
                if sent > 0 {
                    last = ticks();
                }
                while ticks() - last < interval {
                    discard(pods);
                }
                if sent == 0 {
                    discard(pods);
                    if ticks() - last > patience {
                        break;
                    }
                }
            }
        }
    }
    let (quiet, start) = (clock.in_ticks(QUIET), ticks());
    let mut last = start;
    while ticks() - last < quiet && ticks() - start < patience {
        if discard(pods) {
            last = ticks();
        }
    }
}

/// Takes whatever has come. True if something had.
fn discard(pods: &mut [Pod]) -> bool {
    let mut some = false;
    for queues in pods.iter_mut().filter_map(Pod::queues) {
        some |= queues.receive.receive_burst::<false, _>(64, |_| {}) > 0;
        queues.send.reap();
    }
    some
}
