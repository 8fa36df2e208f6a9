//! ADD: addresses, then the port, then what the pod and the runtime see of it.
//!
//! Whatever fails, nothing stays behind that this call has made: addresses go back to the IPAM plugin, the port is
//! unplugged. What an earlier ADD of the same key made stays, because that container may live.

use std::path::Path;
use std::time::{Duration, Instant};

use proto::paths;
use proto::v1::{
    AttachRequest, Attachment, AttachmentAddress, AttachmentDns, AttachmentRoute, Owner, SocketMode,
};

use super::super::answer::{Answer, addressing};
use super::super::call::{Call, log};
use super::super::client::{Client, Refusal};
use super::super::config::{Config, StubKind};
use super::super::device_info;
use super::super::environment::Arguments;
use super::super::failure::{Code, Failure};
use super::super::namespace::Identity;
use super::super::result::{Addressing, Ip};
use super::super::stub::{self, StubError, StubLink};

/// Time for a last word to the daemon when the deadline has passed.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Plugs an interface in and says what it is.
///
/// # Errors
/// See docs/cni.md for the codes.
pub fn add(call: &Call<'_>) -> Result<Answer, Failure> {
    let arguments = call.environment.arguments()?;
    let config = Config::read(&call.base, &arguments)?;
    let previous = Answer::previous(&call.base.whole)?.unwrap_or_default();
    let namespace = Identity::of(&call.environment)?;
    refuse_foreign_link(call)?;

    let mut steps = Steps { call, config: &config, client: None, mine: Mine::default() };
    match steps.run(&arguments, namespace) {
        Ok(attachment) => Ok(previous.with(&attachment, &call.environment.ifname, call.netns())),
        Err(failure) => {
            steps.undo();
            Err(failure)
        }
    }
}

/// A link of that name which is not ours is somebody's interface.
fn refuse_foreign_link(call: &Call<'_>) -> Result<(), Failure> {
    let ifname = &call.environment.ifname;
    let found = stub::look(Path::new(call.netns()), ifname).map_err(|e| of_stub(&e))?;
    if found.is_some_and(|found| !found.ours) {
        let msg = format!("there is an interface {ifname} in {} already", call.netns());
        return Err(Failure::new(Code::InvalidConfig, msg).with("choose another name for this interface"));
    }
    Ok(())
}

/// What this call has made, and no earlier one.
#[derive(Default)]
struct Mine {
    addresses: bool,
    attachment: bool,
    stub: bool,
}

struct Steps<'a> {
    call: &'a Call<'a>,
    config: &'a Config,
    client: Option<Client>,
    mine: Mine,
}

impl Steps<'_> {
    fn run(&mut self, arguments: &Arguments, namespace: Identity) -> Result<Attachment, Failure> {
        let (call, key) = (self.call, self.call.key());
        let refused = |refusal: Refusal| refusal.into_failure(&self.config.device_resource);
        let mut client = call.client().map_err(refused)?;

        // A deletion that the daemon does not know of yet comes before this.
        let tombstone = call.tombstone();
        if tombstone.is_written() {
            client.detach(&key).map_err(refused)?;
            tombstone.remove().map_err(|e| Failure::new(Code::Io, format!("the tombstone stays: {e}")))?;
        }
        let stored = client.get(&key).map_err(refused)?;

        let started = Instant::now();
        let addressing = match &stored {
            Some(attachment) if call.base.ipam.is_some() => addressing(attachment),
            _ => match call.with_ipam(|ipam| ipam.add()).transpose()? {
                Some(addressing) => {
                    self.mine.addresses = true;
                    addressing
                }
                None => Addressing::default(),
            },
        };
        client.postpone(started.elapsed());

        let request = request(call, self.config, arguments, namespace, &addressing);
        let attached = client.attach(request);
        self.mine.attachment = match &attached {
            Ok(_) => stored.is_none(),
            Err(refusal) => stored.is_none() && refusal.is_uncertain(),
        };
        self.client = Some(client);
        let attachment = attached.map_err(|refusal| refusal.into_failure(&self.config.device_resource))?;
        self.show(&attachment)?;
        Ok(attachment)
    }

    /// What the pod and the runtime find of it.
    fn show(&mut self, attachment: &Attachment) -> Result<(), Failure> {
        let spec = attachment
            .spec
            .as_ref()
            .ok_or_else(|| Failure::new(Code::Io, "podswitchd answered an attachment without its content"))?;
        let (netns, ifname) = (Path::new(self.call.netns()), self.call.environment.ifname.as_str());
        if self.config.stub == StubKind::Tap {
            let alias = format!("{}{}", stub::ALIAS_PREFIX, attachment.port);
            // One of ours with another port's name was left by a container that this namespace had before.
            if stub::look(netns, ifname)
                .map_err(|e| of_stub(&e))?
                .is_some_and(|found| found.ours && found.alias != alias)
            {
                stub::remove(netns, ifname).map_err(|e| of_stub(&e))?;
            }
            let addressing = addressing(attachment);
            let link =
                StubLink { ifname, mac: &spec.mac, mtu: spec.mtu, addressing: &addressing, alias: &alias };
            self.mine.stub = true;
            for skipped in stub::add(netns, &link).map_err(|e| of_stub(&e))? {
                log(format_args!("{ifname}: the route to {} is left out: {}", skipped.dst, skipped.why));
            }
        }
        if let Some(file) = &self.call.base.device_info {
            let mode = SocketMode::try_from(spec.mode).unwrap_or(SocketMode::Server);
            let mode = if mode == SocketMode::Unspecified { SocketMode::Server } else { mode };
            let pod_path = if attachment.pod_path.is_empty() {
                paths::pod_socket(&attachment.directory)
            } else {
                attachment.pod_path.clone()
            };
            device_info::write(Path::new(file), mode.word(), &pod_path).map_err(|e| {
                Failure::new(Code::Io, format!("the device information {file} cannot be written: {e}"))
            })?;
        }
        Ok(())
    }

    /// Takes back what this call has made, and goes on where something cannot be.
    fn undo(&mut self) {
        if self.mine.attachment {
            if self.mine.stub {
                let removed = stub::remove(Path::new(self.call.netns()), &self.call.environment.ifname);
                if let Err(e) = removed {
                    log(format_args!("after a failed ADD the stub link stays: {e}"));
                }
            }
            if let Some(file) = &self.call.base.device_info
                && let Err(e) = device_info::remove(Path::new(file))
            {
                log(format_args!("after a failed ADD {file} stays: {e}"));
            }
            if let Err(failure) = self.detach() {
                log(format_args!("after a failed ADD the attachment may stay: {failure}"));
            }
        }
        if self.mine.addresses
            && let Some(Err(failure)) = self.call.with_ipam(|ipam| ipam.del())
        {
            log(format_args!("after a failed ADD the IPAM plugin's DEL failed: {failure}"));
        }
    }

    fn detach(&mut self) -> Result<(), Failure> {
        let Some(client) = &mut self.client else { return Ok(()) };
        client.grant(LAST_WORD);
        super::del::unplug(self.call, client)
    }
}

/// What the daemon is asked for.
fn request(
    call: &Call<'_>,
    config: &Config,
    arguments: &Arguments,
    namespace: Identity,
    delegated: &Addressing,
) -> AttachRequest {
    let has_ipam = call.base.ipam.is_some();
    let ips = if has_ipam {
        let address = |ip: &Ip| AttachmentAddress {
            address: ip.address.clone(),
            gateway: ip.gateway.clone().unwrap_or_default(),
        };
        delegated.ips.iter().map(address).collect()
    } else {
        config.ips.clone()
    };
    let routes =
        delegated.routes.iter().chain(config.routes.iter().filter(|route| !delegated.routes.contains(route)));
    let routes: Vec<AttachmentRoute> = routes
        .map(|route| AttachmentRoute {
            dst: route.dst.clone(),
            gw: route.gw.clone().unwrap_or_default(),
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.priority,
            table: route.table,
            scope: route.scope,
        })
        .collect();
    let dns = if config.dns == Default::default() { &delegated.dns } else { &config.dns };
    let dns = (*dns != Default::default()).then(|| AttachmentDns {
        nameservers: dns.nameservers.clone(),
        domain: dns.domain.clone(),
        search: dns.search.clone(),
        options: dns.options.clone(),
    });
    let mut needs = config.needs();
    for (word, used) in [("ips", !ips.is_empty()), ("routes", !routes.is_empty())] {
        if used && !needs.iter().any(|need| need == word) {
            needs.push(word.to_owned());
        }
    }
    needs.sort_unstable();
    AttachRequest {
        key: Some(call.key()),
        network: call.base.network.clone(),
        owner: Some(Owner {
            namespace: arguments.namespace.clone(),
            pod: arguments.pod.clone(),
            pod_uid: arguments.pod_uid.clone(),
            netns: call.netns().to_owned(),
            netns_dev: namespace.device,
            netns_ino: namespace.inode,
        }),
        device_id: config.device_id.clone(),
        mode: config.mode as i32,
        queues: config.queues,
        mtu: config.mtu,
        mem_limit: config.mem_limit,
        mac: config.mac.clone(),
        ips,
        allow_source: config.allowed_addresses.iter().map(ToString::to_string).collect(),
        trusted: config.trusted,
        features_off: config.features_off.clone(),
        routes,
        dns,
        needs,
        labels: Default::default(),
        stub: config.stub.word().to_owned(),
    }
}

/// A failure of the stub link.
pub(super) fn of_stub(error: &StubError) -> Failure {
    let code = match error {
        StubError::NoNamespace(_) => Code::InvalidNamespace,
        StubError::Exists { .. } => Code::InvalidConfig,
        StubError::Invalid { .. } | StubError::System { .. } => Code::StubLink,
    };
    Failure::new(code, error.to_string())
}
