//! The null device: returns descriptors and copies nothing. What the generator can do against it is its own limit.
//!
//! It joins pods in pairs without any socket: what one sends, the other receives. Like any device it reads every
//! descriptor and writes every used entry; it touches no buffer, so that the frames that "arrive" are those that the
//! load has put into the receive buffers beforehand, and their order means nothing. A variant for comparison copies
//! every frame once, which is the floor for any switch with these rings; and frames can be lost on purpose.

mod device;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use vhost::features::Features;

use self::device::Device;
use crate::clock::{pin, ticks};
use crate::pod::{Pod, PodConfig, PodError};

/// What the device does with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NullConfig {
    /// Copies every frame once, as a switch does that does nothing else.
    pub copy: bool,
    /// Loses one frame in so many; 0: none.
    pub lose_one_in: u32,
}

/// What the device has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NullReport {
    /// Frames passed on, both ways.
    pub frames: u64,
    /// Frames lost on purpose.
    pub lost: u64,
    /// Share of its time in visits that found nothing to do.
    pub idle: f64,
}

/// The device, a thread.
#[derive(Debug)]
pub struct NullDevice {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<NullReport>>,
}

/// Two pods that no switch connects, for a [`NullDevice`].
///
/// # Errors
/// If there is no memory.
pub fn pair(config: &PodConfig) -> Result<[Pod; 2], PodError> {
    // What a switch would offer that does little.
    let features = config.features & Features::OFFERED;
    Ok([Pod::detached(config, features)?, Pod::detached(config, features)?])
}

impl NullDevice {
    /// Starts the device on a CPU, if one is given. Neighbours in `pods` are joined; of an odd number the last is alone.
    #[must_use]
    pub fn start(pods: &mut [Pod], config: NullConfig, cpu: Option<u32>) -> Self {
        let joined = pods.chunks_exact_mut(2).filter_map(|two| {
            let [one, other] = two else { return None };
            Some((Device::new(one.queues()?), Device::new(other.queues()?)))
        });
        let mut joined: Vec<_> = joined.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            cpu.map_or(Ok(()), pin)?;
            Ok(serve(&mut joined, config, &stopped))
        });
        Self { stop, thread }
    }

    /// Stops the device.
    ///
    /// # Errors
    /// If its thread could not be pinned.
    pub fn stop(self) -> std::io::Result<NullReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    }
}

fn serve(pairs: &mut [(Device, Device)], config: NullConfig, stop: &AtomicBool) -> NullReport {
    let mut report = NullReport::default();
    let start = ticks();
    let (mut last, mut idle) = (start, 0);
    while !stop.load(Ordering::Relaxed) {
        let before = report.frames + report.lost;
        for (one, other) in &mut *pairs {
            device::pass(one, other, config, &mut report);
            device::pass(other, one, config, &mut report);
        }
        let now = ticks();
        if report.frames + report.lost == before {
            idle += now - last;
        }
        last = now;
    }
    report.idle = idle as f64 / (last - start).max(1) as f64;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_passed_and_lost_as_told() {
        let config = PodConfig { huge: false, ring: 64, receive_buffer: 128 + 256, ..PodConfig::new("") };
        let mut pods = pair(&config).unwrap();
        let config = NullConfig { copy: true, lose_one_in: 4 };
        let device = NullDevice::start(&mut pods, config, None);
        let mut lens = Vec::new();
        let long: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
        pods[0].queues().unwrap().send.send_burst(32, |slot| {
            slot.write(&long);
            1000
        });
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while lens.len() < 24 && std::time::Instant::now() < end {
            pods[1].queues().unwrap().receive.receive_burst::<true, _>(32, |frame| {
                lens.push((frame.len(), frame.buffers(), frame.get::<8>()));
            });
        }
        let word = u64::from_le_bytes(long[8..16].try_into().unwrap());
        assert_eq!(lens, vec![(1000, 4, word); 24]);
        let report = device.stop().unwrap();
        assert_eq!((report.frames, report.lost), (24, 8));
        assert_eq!(pods[0].queues().unwrap().send.reap(), 32);
    }
}
