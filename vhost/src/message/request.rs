//! What a frontend asks: request numbers and typed messages.

use arrayvec::ArrayVec;

use super::payload::{Bytes, Cursor, REGION_LEN, put};
use super::{
    HEADER_LEN, Header, MAX_PAYLOAD, MAX_TABLE_REGIONS, MemRegion, MessageError, VringAddr, VringFd,
    VringState,
};

macro_rules! requests {
    ($($name:ident = $code:literal,)*) => {
        /// Request numbers of the specification ("Front-end message types"), those included that we refuse.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "the names are the specification's")]
        pub enum Request { $($name = $code,)* }

        impl Request {
            /// Every request there is.
            pub const ALL: &[Request] = &[$(Request::$name,)*];

            /// The request of a number.
            #[must_use]
            pub const fn from_code(code: u32) -> Option<Request> {
                match code { $($code => Some(Request::$name),)* _ => None }
            }
        }
    };
}

requests! {
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    ResetOwner = 4,
    SetMemTable = 5,
    SetLogBase = 6,
    SetLogFd = 7,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    SetVringErr = 14,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    SendRarp = 19,
    NetSetMtu = 20,
    SetBackendReqFd = 21,
    IotlbMsg = 22,
    SetVringEndian = 23,
    GetConfig = 24,
    SetConfig = 25,
    CreateCryptoSession = 26,
    CloseCryptoSession = 27,
    PostcopyAdvise = 28,
    PostcopyListen = 29,
    PostcopyEnd = 30,
    GetInflightFd = 31,
    SetInflightFd = 32,
    GpuSetSocket = 33,
    ResetDevice = 34,
    VringKick = 35,
    GetMaxMemSlots = 36,
    AddMemReg = 37,
    RemMemReg = 38,
    SetStatus = 39,
    GetStatus = 40,
    GetSharedObject = 41,
    SetDeviceStateFd = 42,
    CheckDeviceState = 43,
    GetShmemConfig = 44,
}

impl Request {
    /// True if the request has a reply of its own, and so is never acknowledged besides.
    #[must_use]
    pub const fn has_reply(self) -> bool {
        matches!(
            self,
            Request::GetFeatures
                | Request::SetLogBase
                | Request::GetVringBase
                | Request::GetProtocolFeatures
                | Request::GetQueueNum
                | Request::GetConfig
                | Request::CreateCryptoSession
                | Request::PostcopyAdvise
                | Request::PostcopyEnd
                | Request::GetInflightFd
                | Request::GetMaxMemSlots
                | Request::GetStatus
                | Request::GetSharedObject
                | Request::SetDeviceStateFd
                | Request::CheckDeviceState
                | Request::GetShmemConfig
        )
    }
}

/// A request with its payload, checked as far as it can be without knowing the session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one message exists at a time, on the stack")]
pub enum Message {
    /// Which virtio features are offered?
    GetFeatures,
    /// These virtio features are used.
    SetFeatures(u64),
    /// The frontend declares itself (no meaning left; must not be required).
    SetOwner,
    /// Deprecated; taken and ignored.
    ResetOwner,
    /// The whole memory table; a descriptor comes with each region.
    SetMemTable(ArrayVec<MemRegion, MAX_TABLE_REGIONS>),
    /// A descriptor that must never be written to.
    SetLogFd,
    /// Size of a ring.
    SetVringNum(VringState),
    /// Addresses of a ring.
    SetVringAddr(VringAddr),
    /// Where to go on in a ring.
    SetVringBase(VringState),
    /// Stop a ring and say where it stands.
    GetVringBase(VringState),
    /// The ring is to start; the guest's kicks come here.
    SetVringKick(VringFd),
    /// Where the guest wants to be notified.
    SetVringCall(VringFd),
    /// Where the guest wants to hear of errors.
    SetVringErr(VringFd),
    /// Which protocol features are offered?
    GetProtocolFeatures,
    /// These protocol features are used.
    SetProtocolFeatures(u64),
    /// How many queue pairs are there?
    GetQueueNum,
    /// Enable or disable a ring.
    SetVringEnable(VringState),
    /// Send a RARP with this source MAC.
    SendRarp([u8; 6]),
    /// The guest's MTU.
    NetSetMtu(u64),
    /// Back to the initial state, the connection stays.
    ResetDevice,
    /// How many memory regions may there be?
    GetMaxMemSlots,
    /// One more region; its descriptor comes with it.
    AddMemReg(MemRegion),
    /// One region less.
    RemMemReg(MemRegion),
    /// The guest's device status.
    SetStatus(u64),
    /// The device status that was set.
    GetStatus,
}

impl Message {
    /// Types a request.
    ///
    /// # Errors
    /// [`MessageError::Unknown`] and [`MessageError::NotOffered`], which a session may answer and survive, and
    /// those that say that payload or value are wrong.
    pub fn parse(header: &Header, payload: &[u8]) -> Result<Message, MessageError> {
        let request = Request::from_code(header.request).ok_or(MessageError::Unknown(header.request))?;
        let sized = |expected: usize| {
            if payload.len() == expected {
                Ok(Cursor(payload))
            } else {
                Err(MessageError::Size { request, got: payload.len(), expected })
            }
        };
        let bare = |message: Message| sized(0).map(|_| message);
        let number = || sized(8).map(|mut c| c.u64());
        let state = || sized(VringState::LEN).map(VringState::read);
        let descriptor = || sized(8).and_then(|c| VringFd::read(request, c));
        Ok(match request {
            Request::GetFeatures => bare(Message::GetFeatures)?,
            Request::SetFeatures => Message::SetFeatures(number()?),
            Request::SetOwner => bare(Message::SetOwner)?,
            Request::ResetOwner => bare(Message::ResetOwner)?,
            Request::SetMemTable => Message::SetMemTable(table(payload)?),
            // Some frontends send a number along, some do not: neither is looked at.
            Request::SetLogFd => Message::SetLogFd,
            Request::SetVringNum => Message::SetVringNum(state()?),
            Request::SetVringAddr => Message::SetVringAddr(sized(VringAddr::LEN).and_then(VringAddr::read)?),
            Request::SetVringBase => Message::SetVringBase(state()?),
            Request::GetVringBase => Message::GetVringBase(state()?),
            Request::SetVringKick => Message::SetVringKick(descriptor()?),
            Request::SetVringCall => Message::SetVringCall(descriptor()?),
            Request::SetVringErr => Message::SetVringErr(descriptor()?),
            Request::GetProtocolFeatures => bare(Message::GetProtocolFeatures)?,
            Request::SetProtocolFeatures => Message::SetProtocolFeatures(number()?),
            Request::GetQueueNum => bare(Message::GetQueueNum)?,
            Request::SetVringEnable => Message::SetVringEnable(enable(state()?)?),
            Request::SendRarp => Message::SendRarp(mac(number()?)),
            Request::NetSetMtu => Message::NetSetMtu(number()?),
            Request::ResetDevice => bare(Message::ResetDevice)?,
            Request::GetMaxMemSlots => bare(Message::GetMaxMemSlots)?,
            Request::AddMemReg => Message::AddMemReg(single(sized(8 + REGION_LEN)?)),
            Request::RemMemReg => Message::RemMemReg(single(sized(8 + REGION_LEN)?)),
            Request::SetStatus => Message::SetStatus(number()?),
            Request::GetStatus => bare(Message::GetStatus)?,
            Request::SetLogBase
            | Request::SetBackendReqFd
            | Request::IotlbMsg
            | Request::SetVringEndian
            | Request::GetConfig
            | Request::SetConfig
            | Request::CreateCryptoSession
            | Request::CloseCryptoSession
            | Request::PostcopyAdvise
            | Request::PostcopyListen
            | Request::PostcopyEnd
            | Request::GetInflightFd
            | Request::SetInflightFd
            | Request::GpuSetSocket
            | Request::VringKick
            | Request::GetSharedObject
            | Request::SetDeviceStateFd
            | Request::CheckDeviceState
            | Request::GetShmemConfig => return Err(MessageError::NotOffered(request)),
        })
    }

    /// The request it carries.
    #[must_use]
    pub fn request(&self) -> Request {
        match self {
            Message::GetFeatures => Request::GetFeatures,
            Message::SetFeatures(_) => Request::SetFeatures,
            Message::SetOwner => Request::SetOwner,
            Message::ResetOwner => Request::ResetOwner,
            Message::SetMemTable(_) => Request::SetMemTable,
            Message::SetLogFd => Request::SetLogFd,
            Message::SetVringNum(_) => Request::SetVringNum,
            Message::SetVringAddr(_) => Request::SetVringAddr,
            Message::SetVringBase(_) => Request::SetVringBase,
            Message::GetVringBase(_) => Request::GetVringBase,
            Message::SetVringKick(_) => Request::SetVringKick,
            Message::SetVringCall(_) => Request::SetVringCall,
            Message::SetVringErr(_) => Request::SetVringErr,
            Message::GetProtocolFeatures => Request::GetProtocolFeatures,
            Message::SetProtocolFeatures(_) => Request::SetProtocolFeatures,
            Message::GetQueueNum => Request::GetQueueNum,
            Message::SetVringEnable(_) => Request::SetVringEnable,
            Message::SendRarp(_) => Request::SendRarp,
            Message::NetSetMtu(_) => Request::NetSetMtu,
            Message::ResetDevice => Request::ResetDevice,
            Message::GetMaxMemSlots => Request::GetMaxMemSlots,
            Message::AddMemReg(_) => Request::AddMemReg,
            Message::RemMemReg(_) => Request::RemMemReg,
            Message::SetStatus(_) => Request::SetStatus,
            Message::GetStatus => Request::GetStatus,
        }
    }

    /// Fewest and most descriptors that may come with it.
    #[must_use]
    pub fn descriptors(&self) -> (usize, usize) {
        match self {
            Message::SetMemTable(regions) => (regions.len(), regions.len()),
            Message::SetVringKick(v) | Message::SetVringCall(v) | Message::SetVringErr(v) => {
                (usize::from(v.has_fd), usize::from(v.has_fd))
            }
            Message::AddMemReg(_) => (1, 1),
            // One stray descriptor is allowed by the specification, and closed.
            Message::RemMemReg(_) | Message::SetLogFd => (0, 1),
            _ => (0, 0),
        }
    }

    /// The whole message as a frontend sends it.
    #[must_use]
    pub fn encode(&self, need_reply: bool) -> ArrayVec<u8, { HEADER_LEN + MAX_PAYLOAD }> {
        let mut payload = Bytes::new();
        match self {
            Message::SetMemTable(regions) => {
                put(&mut payload, &(regions.len() as u32).to_ne_bytes());
                put(&mut payload, &[0; 4]);
                regions.iter().for_each(|r| r.write(&mut payload));
            }
            Message::AddMemReg(region) | Message::RemMemReg(region) => {
                put(&mut payload, &[0; 8]);
                region.write(&mut payload);
            }
            Message::SetFeatures(n)
            | Message::SetProtocolFeatures(n)
            | Message::NetSetMtu(n)
            | Message::SetStatus(n) => put(&mut payload, &n.to_ne_bytes()),
            Message::SendRarp(mac) => {
                put(&mut payload, mac);
                put(&mut payload, &[0; 2]);
            }
            Message::SetVringNum(s)
            | Message::SetVringBase(s)
            | Message::GetVringBase(s)
            | Message::SetVringEnable(s) => s.write(&mut payload),
            Message::SetVringAddr(a) => a.write(&mut payload),
            Message::SetVringKick(v) | Message::SetVringCall(v) | Message::SetVringErr(v) => {
                v.write(&mut payload);
            }
            Message::GetFeatures
            | Message::SetOwner
            | Message::ResetOwner
            | Message::SetLogFd
            | Message::GetProtocolFeatures
            | Message::GetQueueNum
            | Message::ResetDevice
            | Message::GetMaxMemSlots
            | Message::GetStatus => {}
        }
        let header = Header::request(self.request() as u32, need_reply, payload.len());
        let mut bytes = ArrayVec::new();
        bytes.extend(header.to_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// The first six bytes of the payload are the MAC, in the order in which they are sent.
fn mac(number: u64) -> [u8; 6] {
    let b = number.to_ne_bytes();
    [b[0], b[1], b[2], b[3], b[4], b[5]]
}

fn enable(state: VringState) -> Result<VringState, MessageError> {
    if state.num > 1 {
        let value = u64::from(state.num);
        return Err(MessageError::Value { request: Request::SetVringEnable, field: "num", value });
    }
    Ok(state)
}

fn single(mut cursor: Cursor<'_>) -> MemRegion {
    cursor.u64(); // padding
    MemRegion::read(&mut cursor)
}

fn table(payload: &[u8]) -> Result<ArrayVec<MemRegion, MAX_TABLE_REGIONS>, MessageError> {
    let request = Request::SetMemTable;
    if payload.len() < 8 {
        return Err(MessageError::Size { request, got: payload.len(), expected: 8 });
    }
    let mut cursor = Cursor(payload);
    let count = cursor.u32();
    if count as usize > MAX_TABLE_REGIONS {
        return Err(MessageError::Value { request, field: "number of regions", value: u64::from(count) });
    }
    let expected = 8 + count as usize * REGION_LEN;
    if payload.len() != expected {
        return Err(MessageError::Size { request, got: payload.len(), expected });
    }
    cursor.u32(); // padding
    Ok((0..count).map(|_| MemRegion::read(&mut cursor)).collect())
}
