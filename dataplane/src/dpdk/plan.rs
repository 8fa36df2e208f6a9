//! How a port's buffers are laid out: a pure function of what was asked for and what the device can.

use dpdk_sys as sys;

use super::devargs::Devargs;
use super::pool::{CACHE, DATA_ROOM, DATA_ROOM_MAX};
use super::{DpdkError, DpdkPortConfig};

/// Ethernet header and two VLAN tags.
const FRAME_OVERHEAD: u32 = 14 + 2 * 4;
/// Mbufs beyond the rings and caches: frames that workers hold or other ports still send.
const FRAMES_IN_FLIGHT: u32 = 512;

/// How large buffers are, how many, and how a frame lies in them.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) queues: u16,
    pub(super) rx_ring: u16,
    pub(super) tx_ring: u16,
    pub(super) data_room: u32,
    pub(super) frames: u32,
    pub(super) rx_scatter: bool,
}

impl Plan {
    pub(super) fn new(
        devargs: &Devargs,
        info: &sys::shim_dev_info,
        config: &DpdkPortConfig,
        queues: u16,
    ) -> Result<Self, DpdkError> {
        let af_packet = devargs.is_af_packet();
        let frame = u32::from(config.mtu.unwrap_or(1500)) + FRAME_OVERHEAD;
        let scatter = info.rx_scatter != 0;
        let wanted = if af_packet {
            devargs.af_packet_room()
        } else if frame > DATA_ROOM && !scatter && info.min_rx_bufsize != 0 {
            frame
        } else {
            info.min_rx_bufsize
        };
        let data_room = wanted.max(DATA_ROOM).next_multiple_of(64);
        if data_room > DATA_ROOM_MAX.next_multiple_of(64) {
            return Err(DpdkError::Mtu {
                device: devargs.name().to_owned(),
                asked: config.mtu.unwrap_or(u16::MAX),
                least: info.min_mtu,
                most: u16::try_from(DATA_ROOM_MAX - FRAME_OVERHEAD).unwrap_or(u16::MAX),
                cause: None,
            });
        }
        let rx_ring = clamp(config.rx_ring, info.rx_desc_min, info.rx_desc_max);
        let tx_ring = clamp(config.tx_ring, info.tx_desc_min, info.tx_desc_max);
        // This driver copies between buffers and the kernel's ring within the call: it holds none.
        let ring = if af_packet { 0 } else { u32::from(rx_ring) + u32::from(tx_ring) };
        let frames = config
            .pool_frames
            .unwrap_or_else(|| u32::from(queues) * (ring + 2 * CACHE) + FRAMES_IN_FLIGHT)
            .max(2 * CACHE);
        Ok(Self { queues, rx_ring, tx_ring, data_room, frames, rx_scatter: scatter && frame > data_room })
    }
}

/// Brings `value` into a driver's range, where 0 as the upper end says that there is none.
fn clamp(value: u16, least: u16, most: u16) -> u16 {
    let most = if most == 0 { u16::MAX } else { most };
    value.max(1).min(most).max(least.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_brought_into_the_devices_range() {
        assert_eq!(clamp(512, 64, 4096), 512);
        assert_eq!((clamp(512, 1024, 4096), clamp(512, 0, 256)), (1024, 256));
        assert_eq!(clamp(0, 0, 0), 1, "no range given");
    }

    #[test]
    fn buffers_hold_a_frame_where_the_device_cannot_split_it() {
        let mut info = sys::shim_dev_info::default();
        let config = DpdkPortConfig { mtu: Some(9000), ..DpdkPortConfig::default() };
        let device = Devargs::parse("0000:03:00.0").unwrap();
        info.min_rx_bufsize = 1024;
        let plan = Plan::new(&device, &info, &config, 1).unwrap();
        assert!(plan.data_room >= 9022 && !plan.rx_scatter, "{plan:?}");
        info.rx_scatter = 1;
        let plan = Plan::new(&device, &info, &config, 2).unwrap();
        assert_eq!((plan.data_room, plan.rx_scatter), (2048, true));
        assert_eq!(plan.frames, 2 * (512 + 512 + 256) + 512);
    }
}
