//! A switch with pods connected to it, ready for a load.
//!
//! [`Bed::open`] creates the sockets, starts the switch and returns when every port is served. Called by the thread
//! that measures.

use std::time::Duration;

use super::MethodError;
use crate::load::{Load, Stream};
use crate::peers::{Cpus, Layout, Peer, PortPlan, Switch};
use crate::pod::{Mode, Pod, PodConfig};
use crate::traffic::{HeadTable, Mac, Size, TrafficSpec};

/// What the ports of a bed are like.
#[derive(Clone, Debug)]
pub struct BedPlan {
    /// How many.
    pub ports: usize,
    /// The network of a port, by its number.
    pub network: fn(usize) -> usize,
    /// Which of them may send from any address; they declare none.
    pub trusted: fn(usize) -> bool,
    /// Entries of each ring.
    pub ring: u16,
    /// Bytes of the longest frame.
    pub longest_frame: u16,
    /// Pods have their memory in hugepages.
    pub huge: bool,
}

impl BedPlan {
    /// Secured ports in pairs, each pair in a network of its own; rings as testpmd has them.
    #[must_use]
    pub fn pairs(ports: usize) -> Self {
        Self {
            ports,
            network: |port| port / 2,
            trusted: |_| false,
            ring: 1024,
            longest_frame: 9000,
            huge: true,
        }
    }

    /// All ports in one network.
    #[must_use]
    pub fn in_one_network(self) -> Self {
        Self { network: |_| 0, ..self }
    }

    /// Other ring sizes, and no room for frames beyond `longest`: for many ports at once.
    #[must_use]
    pub fn small(self, ring: u16, longest: u16) -> Self {
        Self { ring, longest_frame: longest, ..self }
    }

    fn pod(&self, plan: &PortPlan) -> PodConfig {
        PodConfig {
            mode: plan.mode,
            ring: self.ring,
            frame_room: u32::from(self.longest_frame),
            huge: self.huge,
            timeout: Duration::from_secs(20),
            ..PodConfig::new(&plan.socket)
        }
    }
}

/// The address of a port, by its number.
#[must_use]
pub fn mac(port: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, 1]).plus(u32::try_from(port).expect("there are not so many ports"))
}

/// A running switch and its pods.
pub struct Bed {
    /// The pods, in the order of the plan.
    pub pods: Vec<Pod>,
    /// The switch.
    pub switch: Box<dyn Switch>,
    /// Where the sockets are. Goes last.
    _directory: tempfile::TempDir,
}

impl Bed {
    /// Starts the switch and connects the pods.
    ///
    /// # Errors
    /// Whatever keeps them from it.
    pub fn open(peer: &dyn Peer, plan: &BedPlan, cpus: &Cpus) -> Result<Self, MethodError> {
        let directory = tempfile::Builder::new().prefix("podswitch-pods.").tempdir();
        let directory =
            directory.map_err(|source| MethodError::Directory { path: std::env::temp_dir(), source })?;
        let port = |number: usize| {
            let trusted = (plan.trusted)(number);
            PortPlan {
                socket: directory.path().join(format!("{number}.sock")),
                mode: Mode::Server,
                network: (plan.network)(number),
                mac: (!trusted).then(|| mac(number)),
                trusted,
            }
        };
        let wish = Layout { ports: (0..plan.ports).map(port).collect(), longest_frame: plan.longest_frame };
        let layout = peer.layout(&wish)?;
        let is_server = |plan: &&PortPlan| plan.mode == Mode::Server;
        let mut listening = Vec::new();
        for port in layout.ports.iter().filter(is_server) {
            listening.push(Pod::listen(&plan.pod(port))?);
        }
        let mut switch = peer.start(&layout, cpus)?;
        let mut listening = listening.into_iter();
        let mut pods = Vec::new();
        for port in &layout.ports {
            let mut pod = match port.mode {
                Mode::Server => listening.next().expect("each port of this mode has a pod that listens"),
                Mode::Client => Pod::connect(&plan.pod(port))?,
            };
            if port.mode == Mode::Server {
                pod.accept()?;
            }
            pods.push(pod);
        }
        switch.ready()?;
        Ok(Self { pods, switch, _directory: directory })
    }
}

/// Tables of heads for pairs of ports that send to each other: one for each port, towards its partner.
#[derive(Debug)]
pub struct PairTables(Vec<HeadTable>);

impl PairTables {
    /// For `ports` ports (an even number), all with frames of `size`. With many ports the tables are shorter.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn new(ports: usize, size: Size) -> Result<Self, MethodError> {
        let table = |from: usize| {
            let spec = TrafficSpec { size, ..TrafficSpec::new(mac(from), mac(from ^ 1)) };
            if ports <= 4 { HeadTable::new(&spec) } else { HeadTable::with_entries(&spec, 1024) }
        };
        Ok(Self((0..ports).map(table).collect::<Result<_, _>>()?))
    }

    /// Both ways between the ports of each pair.
    #[must_use]
    pub fn streams(&self) -> Vec<Stream<'_>> {
        let both = self.0.iter().enumerate();
        both.map(|(from, heads)| Stream { from, to: from ^ 1, heads, spec: heads.spec() }).collect()
    }

    /// A closed loop of [`PairTables::streams`].
    #[must_use]
    pub fn load(&self) -> Load<'_> {
        Load::new(self.streams())
    }
}
