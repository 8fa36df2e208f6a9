//! A port is deleted and its place taken by one in another network, under traffic, 1,000 times: no frame reaches
//! the wrong tenant.

use std::time::Duration;

use proto::v1::{
    PortAddRequest, PortDeleteRequest, PortGetRequest, PortSpec as Wanted, SocketMode, VhostUser,
    port_spec::Device,
};

use crate::support::capture::Tail;
use crate::support::frame::{BROADCAST, Marks, Stream, mac};
use crate::support::lab::Lab;
use crate::support::pod::{Behind, Mode, Pod, PodSpec};
use crate::support::rpc::Rpc;
use crate::support::switch::{Setup, Switch};
use crate::support::wait;

const TIMES: usize = 1_000;
/// The address that both victims use, each in its network.
const VICTIM: u8 = 9;

struct Tenant {
    network: &'static str,
    tenant: u32,
    victim: PodSpec,
    _sender: Pod,
    receiver: Pod,
    recorded: Tail,
    frames: u64,
}

impl Tenant {
    fn new(lab: &Lab, switch: &Switch, network: &'static str, number: u8) -> Self {
        switch.cli().ok(&["network", "add", network]);
        // Unicast to the victim and broadcast, marked with the tenant, without end.
        let stream = Stream { destination: mac(VICTIM), ..Stream::between(number, VICTIM) };
        let mut frames = stream.frames(31, 60);
        frames.push(Stream { destination: BROADCAST, ..stream }.frame(0, 31, 60));
        let mut sender = PodSpec::new(lab, &format!("{network}-sender"), number, Behind::Endless(frames));
        sender.ring = 256;
        sender.gives_way = true;
        switch.plug(&sender, network, &["--mac", &sender.mac]);
        let mut running = Pod::launch(&sender);
        running.ready();
        running.start();
        let mut victim = PodSpec::new(lab, &format!("{network}-victim"), VICTIM, Behind::Captures);
        victim.mode = Mode::Server;
        // It starts without the switch, and waits.
        let receiver = Pod::launch(&victim);
        wait::until("the victim's socket", || victim.socket.exists().then_some(()));
        let recorded = Tail::new(victim.incoming(0));
        Self { network, tenant: number.into(), victim, _sender: running, receiver, recorded, frames: 0 }
    }

    fn wanted(&self) -> Wanted {
        let path = self.victim.socket.display().to_string();
        let device = VhostUser { path, mode: SocketMode::Server.into(), ..VhostUser::default() };
        Wanted {
            name: self.victim.name.clone(),
            network: self.network.into(),
            device: Some(Device::VhostUser(device)),
            queues: 1,
            mac: self.victim.mac.clone(),
            ..Wanted::default()
        }
    }

    /// Waits until the port runs and the victim receives.
    fn receives(&mut self, rpc: &Rpc, deadline: Duration) -> Option<()> {
        wait::attempt(deadline, || {
            let request = PortGetRequest { name: self.victim.name.clone() };
            let status = rpc.wait(rpc.ports().get(request)).unwrap().into_inner().status?;
            status.queues.iter().all(|queue| queue.rx_running && queue.tx_running).then_some(())
        })?;
        // What is left of an earlier life is not this life's traffic.
        self.inspect();
        wait::attempt(deadline, || (self.inspect() > 0).then_some(()))
    }

    /// Kills the victim and starts it again.
    fn start_again(&mut self) {
        self.receiver.kill();
        let _ = std::fs::remove_file(&self.victim.socket);
        self.receiver = Pod::launch(&self.victim);
        self.recorded = Tail::new(self.victim.incoming(0));
        self.receiver.ready();
    }

    /// Looks at every frame that the victim has received since the last look.
    fn inspect(&mut self) -> u64 {
        let (mut count, network, tenant) = (0, self.network, self.tenant);
        self.recorded.each(|frame| {
            let marks =
                Marks::of(frame).unwrap_or_else(|| panic!("{network}: a frame of nobody: {frame:02x?}"));
            assert_eq!(marks.tenant, tenant, "{network} received a frame of another tenant: {marks:?}");
            count += 1;
        });
        self.recorded.forget();
        self.frames += count;
        count
    }
}

#[test]
fn a_place_reused_in_another_network_never_leaks() {
    let Some(lab) = Lab::open() else { return };
    let switch = Switch::start(&lab, Setup::new(&lab, 2));
    let mut tenants = [Tenant::new(&lab, &switch, "red", 1), Tenant::new(&lab, &switch, "blue", 2)];
    // Both victims are met once, so that they run before the changes begin.
    let rpc = Rpc::connect(&switch.api());
    for tenant in &mut tenants {
        rpc.wait(rpc.ports().add(PortAddRequest { spec: Some(tenant.wanted()) })).unwrap();
        tenant.receiver.ready();
        tenant.receives(&rpc, wait::PATIENCE).expect("the victim receives");
        delete(&rpc, tenant);
    }
    let mut started_again = 0;
    for time in 0..TIMES {
        let tenant = &mut tenants[time % 2];
        rpc.wait(rpc.ports().add(PortAddRequest { spec: Some(tenant.wanted()) })).unwrap();
        // Each life carries traffic before it ends in the middle of it.
        if tenant.receives(&rpc, Duration::from_secs(5)).is_none() {
            // An application that missed its connection is started again, as its owner would do.
            tenant.start_again();
            started_again += 1;
            let again = tenant.receives(&rpc, wait::PATIENCE);
            assert!(again.is_some(), "started again, it does not receive: {}", tenant.receiver.text());
        }
        delete(&rpc, tenant);
    }
    std::thread::sleep(Duration::from_millis(200));
    for tenant in &mut tenants {
        tenant.inspect();
        eprintln!("{}: {} frames, all its own", tenant.network, tenant.frames);
    }
    eprintln!("{TIMES} lives, {started_again} applications started again");
    assert!(started_again <= TIMES / 50, "{started_again} applications had to be started again");
}

fn delete(rpc: &Rpc, tenant: &Tenant) {
    let request = PortDeleteRequest { name: tenant.victim.name.clone() };
    rpc.wait(rpc.ports().delete(request)).unwrap();
}
