use arrayvec::ArrayVec;
use proptest::prelude::*;

use super::*;

fn region() -> impl Strategy<Value = MemRegion> {
    any::<[u64; 4]>().prop_map(|[guest, len, frontend, mmap_offset]| MemRegion {
        guest,
        len,
        frontend,
        mmap_offset,
    })
}

fn state() -> impl Strategy<Value = VringState> {
    any::<(u32, u32)>().prop_map(|(index, num)| VringState { index, num })
}

fn descriptor() -> impl Strategy<Value = VringFd> {
    any::<(u8, bool)>().prop_map(|(index, has_fd)| VringFd { index, has_fd })
}

fn message() -> impl Strategy<Value = Message> {
    let bare = proptest::sample::select(vec![
        Message::GetFeatures,
        Message::SetOwner,
        Message::ResetOwner,
        Message::SetLogFd,
        Message::GetProtocolFeatures,
        Message::GetQueueNum,
        Message::ResetDevice,
        Message::GetMaxMemSlots,
        Message::GetStatus,
    ]);
    let table = proptest::collection::vec(region(), 0..=MAX_TABLE_REGIONS);
    let addr = any::<(u32, bool, [u64; 4])>().prop_map(|(index, log, w)| {
        let flags = u32::from(log);
        Message::SetVringAddr(VringAddr { index, flags, desc: w[0], used: w[1], avail: w[2], log: w[3] })
    });
    let enable = any::<(u32, bool)>()
        .prop_map(|(index, on)| Message::SetVringEnable(VringState { index, num: on.into() }));
    prop_oneof![
        bare,
        any::<u64>().prop_map(Message::SetFeatures),
        any::<u64>().prop_map(Message::SetProtocolFeatures),
        any::<u64>().prop_map(Message::NetSetMtu),
        any::<u64>().prop_map(Message::SetStatus),
        any::<[u8; 6]>().prop_map(Message::SendRarp),
        table.prop_map(|regions| Message::SetMemTable(regions.into_iter().collect())),
        region().prop_map(Message::AddMemReg),
        region().prop_map(Message::RemMemReg),
        state().prop_map(Message::SetVringNum),
        state().prop_map(Message::SetVringBase),
        state().prop_map(Message::GetVringBase),
        descriptor().prop_map(Message::SetVringKick),
        descriptor().prop_map(Message::SetVringCall),
        descriptor().prop_map(Message::SetVringErr),
        addr,
        enable,
    ]
}

fn split(bytes: &[u8]) -> ([u8; HEADER_LEN], &[u8]) {
    (bytes[..HEADER_LEN].try_into().unwrap(), &bytes[HEADER_LEN..])
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed_again(message in message(), need_reply: bool) {
        let bytes = message.encode(need_reply);
        let (header, payload) = split(&bytes);
        let header = Header::parse_request(&header).unwrap();
        prop_assert_eq!(header.size as usize, payload.len());
        prop_assert_eq!(header.need_reply(), need_reply);
        prop_assert_eq!(header.request, message.request() as u32);
        prop_assert_eq!(Message::parse(&header, payload), Ok(message));
    }

    #[test]
    fn replies_come_back(request in proptest::sample::select(Request::ALL), number: u64, ring in state()) {
        let body = if request == Request::GetVringBase { ReplyBody::Vring(ring) } else { ReplyBody::Number(number) };
        let reply = Reply { request: request as u32, body };
        let bytes = reply.encode();
        prop_assert_eq!(bytes.len(), Reply::LEN);
        let (header, payload) = split(&bytes);
        let header = Header::parse_reply(&header).unwrap();
        prop_assert_eq!(header.flags, 5);
        prop_assert_eq!(Reply::parse(&header, payload), Ok(reply));
    }

    #[test]
    fn no_bytes_panic(
        header: [u8; HEADER_LEN],
        request in 0u32..64,
        payload in proptest::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD + 8),
    ) {
        if let Ok(header) = Header::parse_request(&header) {
            prop_assert!(header.size as usize <= MAX_PAYLOAD);
            let _ = Message::parse(&header, &payload);
        }
        let _ = Header::parse_reply(&header);
        let header = Header::request(request, true, payload.len());
        // What is accepted is what would be sent: nothing is dropped or cut on the way in.
        if let Ok(message) = Message::parse(&header, &payload)
            && !matches!(
                message,
                Message::SendRarp(_)
                    | Message::AddMemReg(_)
                    | Message::RemMemReg(_)
                    | Message::SetMemTable(_)
                    | Message::SetLogFd
            )
        {
            prop_assert_eq!(&message.encode(true)[HEADER_LEN..], &payload[..]);
        }
        let _ = Reply::parse(&header, &payload);
    }
}

#[test]
fn sizes_one_off_are_refused() {
    for &request in Request::ALL {
        for size in 0..=MAX_PAYLOAD {
            let header = Header::request(request as u32, false, size);
            match Message::parse(&header, &vec![0; size]) {
                Ok(Message::SetLogFd) => {}
                Ok(message) => assert_eq!(message.encode(false).len(), HEADER_LEN + size, "{request:?}"),
                Err(MessageError::Size { got, expected, .. }) => {
                    assert_eq!(got, size);
                    assert_ne!(expected, size, "{request:?}");
                }
                Err(MessageError::NotOffered(r)) => assert_eq!(r, request),
                Err(other) => panic!("{request:?} with {size} zero bytes: {other}"),
            }
        }
    }
}

#[test]
fn header_is_checked() {
    let with = |flags: u32, size: u32| Header { request: 1, flags, size }.to_bytes();
    assert_eq!(Header::parse_request(&with(0, 0)), Err(MessageError::Version(0)));
    assert_eq!(Header::parse_request(&with(2, 0)), Err(MessageError::Version(2)));
    assert_eq!(Header::parse_request(&with(5, 0)), Err(MessageError::Direction(5)));
    assert_eq!(
        Header::parse_request(&with(1, u32::MAX)),
        Err(MessageError::TooLong { request: 1, size: u32::MAX })
    );
    assert!(Header::parse_request(&with(1, MAX_PAYLOAD as u32)).is_ok());
    assert_eq!(Header::parse_reply(&with(0xd, 8)), Err(MessageError::Direction(0xd)));
}

#[test]
fn values_that_are_never_valid() {
    let parse = |request: Request, payload: &[u8]| {
        Message::parse(&Header::request(request as u32, false, payload.len()), payload)
    };
    // An index of 16 bits or more in an eight-bit field must not be cut down to a valid one.
    let index = 0x1_0001u64.to_ne_bytes();
    assert!(matches!(parse(Request::SetVringKick, &index), Err(MessageError::Value { value: 0x1_0001, .. })));
    let mut addr = [0; 40];
    addr[4..8].copy_from_slice(&2u32.to_ne_bytes());
    assert!(matches!(parse(Request::SetVringAddr, &addr), Err(MessageError::Value { field: "flags", .. })));
    let mut table = [0; 8 + 9 * 32 - 32];
    table[..4].copy_from_slice(&9u32.to_ne_bytes());
    assert!(matches!(parse(Request::SetMemTable, &table), Err(MessageError::Value { value: 9, .. })));
    table[..4].copy_from_slice(&7u32.to_ne_bytes());
    assert!(matches!(parse(Request::SetMemTable, &table), Err(MessageError::Size { .. })));
    let mut enable = [0; 8];
    enable[4] = 2;
    assert!(matches!(parse(Request::SetVringEnable, &enable), Err(MessageError::Value { .. })));
    assert_eq!(Message::parse(&Header::request(200, false, 0), &[]), Err(MessageError::Unknown(200)));
    assert_eq!(Message::parse(&Header::request(1 << 31, false, 0), &[]), Err(MessageError::Unknown(1 << 31)));
}

#[test]
fn a_rarp_carries_its_mac_in_sending_order() {
    let mac = [2, 3, 4, 5, 6, 7];
    let bytes = Message::SendRarp(mac).encode(false);
    assert_eq!(bytes[HEADER_LEN..HEADER_LEN + 6], mac);
}

#[test]
fn descriptors_are_counted_from_the_message() {
    let region = MemRegion { guest: 0, len: 0, frontend: 0, mmap_offset: 0 };
    let table: ArrayVec<_, MAX_TABLE_REGIONS> = [region; 3].into_iter().collect();
    assert_eq!(Message::SetMemTable(table).descriptors(), (3, 3));
    assert_eq!(Message::SetVringKick(VringFd { index: 0, has_fd: false }).descriptors(), (0, 0));
    assert_eq!(Message::SetVringCall(VringFd { index: 0, has_fd: true }).descriptors(), (1, 1));
    assert_eq!(Message::RemMemReg(region).descriptors(), (0, 1));
    assert_eq!(Message::GetFeatures.descriptors(), (0, 0));
}
