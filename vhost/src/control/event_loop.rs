//! The loop of the control thread.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::poller::{Poller, Token};
use super::port::Port;
use super::view::PortView;
use super::{AddPortError, Command, ControlConfig, PortKey, RemovePortError, SetPortError, VhostPortConfig};
use crate::memory::{MapReply, Mapper};
use crate::notify::Notifier;
use crate::owner::RingOwner;
use crate::session::{Bounds, Limits, Session, Tools};
use crate::socket::Watches;

pub(super) struct EventLoop {
    config: ControlConfig,
    poller: Poller,
    /// `None` where the node's limits allow no inotify instance: timers find sockets.
    watches: Option<Watches<PortKey>>,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    mapped: Receiver<MapReply>,
    tools: Tools,
    notifier: Notifier,
    ports: BTreeMap<PortKey, Port>,
    /// Set when the thread is to end, with the time by which it does.
    ends: Option<Instant>,
}

impl EventLoop {
    pub(super) fn new(
        config: ControlConfig,
        commands: Receiver<Command>,
        wake: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_own(&wake, Token::Wake)?;
        let watches = match Watches::new() {
            Ok(watches) => {
                poller.add_own(&watches, Token::Watches)?;
                Some(watches)
            }
            Err(error) => {
                tracing::warn!(%error, "directories cannot be watched; sockets are looked for by timer");
                None
            }
        };
        let (reply, mapped) = crossbeam_channel::unbounded();
        let tools = Tools {
            mapper: Arc::new(Mapper::spawn()?),
            mapped: reply,
            wake: Arc::clone(&wake),
            holes: config.holes,
            bounds: Bounds { let_go: config.let_go, map: config.map },
        };
        let notifier = Notifier::spawn()?;
        let ports = BTreeMap::new();
        Ok(Self { config, poller, watches, wake, commands, mapped, tools, notifier, ports, ends: None })
    }

    pub(super) fn run(mut self) {
        while !self.is_over() {
            let happened = self.wait();
            let now = Instant::now();
            for token in happened {
                self.handle(token, now);
            }
            while let Ok(reply) = self.mapped.try_recv() {
                self.mapped(reply, now);
            }
            while let Ok(command) = self.commands.try_recv() {
                self.command(command, now);
            }
            for port in self.ports.values_mut() {
                port.tick(&self.poller, self.watches.as_mut(), now);
                port.publish();
            }
            self.ports.retain(|_, port| !port.is_gone());
        }
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|at| self.ports.is_empty() || Instant::now() >= at)
    }

    fn wait(&mut self) -> Vec<Token> {
        let now = Instant::now();
        let due = self.ports.values_mut().filter_map(|port| port.due(now)).chain(self.ends).min();
        let mut happened = Vec::new();
        self.poller.wait(due.map(|at| at.saturating_duration_since(now)), |token| happened.push(token));
        happened
    }

    fn handle(&mut self, token: Token, now: Instant) {
        match token {
            Token::Wake => {
                // What woke us is looked for in every turn.
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            }
            Token::Watches => self.files_seen(now),
            Token::Channel(key) => {
                if let Some(port) = self.ports.get_mut(&key) {
                    port.visit(&self.poller, now);
                }
            }
            Token::Listener(key) => {
                if let Some(port) = self.ports.get_mut(&key) {
                    port.accept(&self.poller, now);
                }
            }
        }
    }

    fn files_seen(&mut self, now: Instant) {
        let Some(watches) = &mut self.watches else { return };
        let mut owners = Vec::new();
        watches.take(|key| owners.push(key));
        for key in owners {
            if let Some(port) = self.ports.get_mut(&key) {
                port.file_seen(watches, now);
            }
        }
    }

    fn mapped(&mut self, reply: MapReply, now: Instant) {
        // A table whose connection has ended belongs to nobody and is dropped.
        if let Some(port) = self.ports.values_mut().find(|port| port.awaits() == Some(reply.ticket)) {
            port.mapped(reply, &self.poller, now);
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Add { key, config, owner, reply } => {
                let _ = reply.send(self.add(key, *config, owner, now));
            }
            Command::Remove { key, reply } => self.remove(key, reply, now),
            Command::Set { key, changes, reply } => {
                let result = match self.ports.get_mut(&key).filter(|port| !port.is_removed()) {
                    Some(port) => {
                        port.set_limits(changes.mtu, changes.mem_limit);
                        Ok(())
                    }
                    None => Err(SetPortError::NoSuchPort(key)),
                };
                let _ = reply.send(result);
            }
            Command::Stop => self.stop(now),
        }
    }

    fn add(
        &mut self,
        key: PortKey,
        config: VhostPortConfig,
        owner: Box<dyn RingOwner>,
        now: Instant,
    ) -> Result<PortView, AddPortError> {
        if self.ports.contains_key(&key) {
            return Err(AddPortError::KeyInUse(key));
        }
        let same = |port: &&Port| !port.is_removed() && port.config.path == config.path;
        if let Some(other) = self.ports.values().find(same) {
            let port = other.config.name.clone();
            return Err(AddPortError::PathInUse { path: config.path, port });
        }
        let lines = self.notifier.lines(2 * usize::from(config.pairs))?;
        let limits = Limits {
            features: config.features,
            pairs: config.pairs,
            mtu: config.mtu,
            mem_limit: config.mem_limit,
        };
        let session = Session::new(config.name.as_str().into(), limits, self.tools.clone(), lines, owner);
        let view = PortView::default();
        let mut port = Port::new(key, config, self.config, session, view.clone(), now);
        port.tick(&self.poller, self.watches.as_mut(), now);
        port.publish();
        self.ports.insert(key, port);
        Ok(view)
    }

    fn remove(&mut self, key: PortKey, reply: Sender<Result<(), RemovePortError>>, now: Instant) {
        match self.ports.get_mut(&key) {
            Some(port) => port.remove(Some(reply), &self.poller, self.watches.as_mut(), now),
            None => {
                let _ = reply.send(Err(RemovePortError::NoSuchPort(key)));
            }
        }
    }

    fn stop(&mut self, now: Instant) {
        for port in self.ports.values_mut().filter(|port| !port.is_removed()) {
            port.remove(None, &self.poller, self.watches.as_mut(), now);
        }
        self.ends = Some(now + self.config.let_go);
    }
}
