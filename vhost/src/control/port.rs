//! One port on the control thread: its socket, its connection and its session.

use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

use super::backoff::Backoff;
use super::poller::{Interest, Poller, Token};
use super::view::PortView;
use super::{ControlConfig, Mode, PortKey, RemovePortError, VhostPortConfig};
use crate::channel::Channel;
use crate::memory::{MapReply, MapTicket};
use crate::message::Reply;
use crate::session::{Breach, LogLimit, Peer, Session};
use crate::socket::{self, Identity, Listener, SocketError, Watch, Watches};
use crate::tenant_fd::TenantFd;

/// How soon rings that are coming back are looked for again.
const POLL_RINGS: Duration = Duration::from_micros(500);
/// And how soon once a worker is stuck.
const POLL_STUCK: Duration = Duration::from_millis(20);
/// Events of a directory after which the port goes on with timers alone: a tenant can make as many as it likes.
const WATCH_EVENTS: u32 = 256;

/// A connection.
pub(super) struct Live {
    pub(super) channel: Channel,
    since: Instant,
}

/// The port is being removed.
struct Removal {
    replies: Vec<Sender<Result<(), RemovePortError>>>,
    deadline: Instant,
}

pub(super) struct Port {
    pub(super) key: PortKey,
    pub(super) config: VhostPortConfig,
    bounds: ControlConfig,
    pub(super) session: Session,
    view: PortView,
    pub(super) live: Option<Live>,
    pub(super) backoff: Backoff,
    pub(super) listener: Option<Listener>,
    /// When the listener is to be armed again, or looked at.
    pub(super) listener_due: Instant,
    watch: Option<Watch>,
    watch_events: u32,
    /// The socket file to which we were connected last.
    known: Option<Identity>,
    removal: Option<Removal>,
    pub(super) changed: bool,
    counts: Counts,
    pub(super) log: LogLimit,
}

#[derive(Default)]
struct Counts {
    connections: u64,
    faults: u64,
    stale_removed: u64,
    peer: Option<Peer>,
    since: Option<SystemTime>,
    /// Why the socket cannot be used.
    socket: String,
}

impl Port {
    pub(super) fn new(
        key: PortKey,
        config: VhostPortConfig,
        bounds: ControlConfig,
        session: Session,
        view: PortView,
        now: Instant,
    ) -> Self {
        Self {
            key,
            config,
            bounds,
            session,
            view,
            live: None,
            backoff: Backoff::new(now),
            listener: None,
            listener_due: now,
            watch: None,
            watch_events: 0,
            known: None,
            removal: None,
            changed: true,
            counts: Counts::default(),
            // A tenant can make and remove files as often as it likes.
            log: LogLimit::new(5, Duration::from_secs(10)),
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removal.is_some()
    }

    /// True when nothing is left of a removed port, and nobody waits to hear of it: rings may come back between the
    /// tick that answers and this question.
    pub(super) fn is_gone(&mut self) -> bool {
        self.removal.as_ref().is_some_and(|removal| removal.replies.is_empty()) && self.session.is_released()
    }

    pub(super) fn awaits(&self) -> Option<MapTicket> {
        self.session.awaits()
    }

    pub(super) fn set_limits(&mut self, mtu: Option<Option<u16>>, mem_limit: Option<u64>) {
        self.session.set_limits(mtu, mem_limit);
        self.config.mtu = mtu.unwrap_or(self.config.mtu);
        self.config.mem_limit = mem_limit.unwrap_or(self.config.mem_limit);
    }

    /// The connection has something to say.
    pub(super) fn visit(&mut self, poller: &Poller, now: Instant) {
        let result = self.exchange(now);
        self.carry_on(result, poller, now);
    }

    /// The mapper has answered.
    pub(super) fn mapped(&mut self, reply: MapReply, poller: &Poller, now: Instant) {
        let result = self.session.mapped(reply, now).and_then(|reply| self.send(reply, now));
        self.carry_on(result, poller, now);
    }

    /// Time has passed, a worker has found a fault, or rings may have come back.
    pub(super) fn tick(&mut self, poller: &Poller, watches: Option<&mut Watches<PortKey>>, now: Instant) {
        if let Some(live) = &self.live {
            let late = live.channel.check_deadline(now).map_err(Breach::from);
            let busy = self.session.is_suspended();
            let result =
                late.and_then(|()| self.session.advance(now)).and_then(|reply| self.send(reply, now));
            // Nothing to do is the common case: no system call is spent on it.
            if result.is_err() || (busy && !self.session.is_suspended()) {
                self.carry_on(result, poller, now);
            }
        } else if !self.session.is_released() {
            self.changed = true;
            if self.removal.is_none() && self.is_overdue(now) {
                self.session.stuck(now);
            }
        } else if self.removal.is_none() && self.backoff.is_due(now) {
            self.seek(poller, watches, now);
        }
        if self.removal.is_none() && now >= self.listener_due {
            self.tend_listener(poller, now);
        }
        self.answer_removal(now);
    }

    /// When [`Port::tick`] must be called at the latest.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let mut due = None;
        let mut at = |t: Option<Instant>| due = [due, t].into_iter().flatten().min();
        at(self.removal.as_ref().filter(|r| !r.replies.is_empty()).map(|r| r.deadline));
        if self.session.returning_since().is_some() {
            at(Some(now + if self.is_overdue(now) { POLL_STUCK } else { POLL_RINGS }));
        }
        if let Some(live) = &self.live {
            at(live.channel.deadline());
            at(self.session.deadline());
        } else if self.removal.is_none()
            && self.listener.is_none()
            && self.session.returning_since().is_none()
        {
            at(Some(self.backoff.at()));
        }
        at(self.listener.as_ref().map(|_| self.listener_due));
        due
    }

    /// True if rings are out for longer than workers may need.
    fn is_overdue(&self, now: Instant) -> bool {
        let since = self.session.returning_since();
        since.is_some_and(|since| now.saturating_duration_since(since) >= self.bounds.let_go)
    }

    /// A file of the socket's name has appeared or changed.
    pub(super) fn file_seen(&mut self, watches: &mut Watches<PortKey>, now: Instant) {
        self.watch_events += 1;
        if self.watch_events > WATCH_EVENTS {
            self.unwatch(watches);
        }
        self.backoff.hasten(now);
    }

    /// Removes the port: the connection and the socket go at once, the answer comes when the rings are back.
    pub(super) fn remove(
        &mut self,
        reply: Option<Sender<Result<(), RemovePortError>>>,
        poller: &Poller,
        watches: Option<&mut Watches<PortKey>>,
        now: Instant,
    ) {
        if let Some(live) = self.live.take() {
            poller.remove(&live.channel);
        }
        if let Some(listener) = self.listener.take() {
            poller.remove(&listener);
        }
        if let Some(watches) = watches {
            self.unwatch(watches);
        }
        if !self.is_removed() {
            self.session.remove(now);
        }
        let deadline = now + self.bounds.let_go;
        self.removal.get_or_insert(Removal { replies: Vec::new(), deadline }).replies.extend(reply);
        self.changed = true;
        self.answer_removal(now);
    }

    /// Writes the port's state to its view if it may have changed.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let mut view = self.view.lock();
        self.session.report(&mut view);
        view.connections = self.counts.connections;
        view.faults = self.counts.faults;
        view.stale_removed = self.counts.stale_removed;
        view.peer = self.counts.peer;
        view.connected_since = self.counts.since;
        if self.live.is_none() && view.fault.is_none() && !self.counts.socket.is_empty() {
            view.reason.clone_from(&self.counts.socket);
        }
    }

    fn answer_removal(&mut self, now: Instant) {
        let released = self.session.is_released();
        let Some(removal) = &mut self.removal else { return };
        let result = if released {
            Ok(())
        } else if now >= removal.deadline {
            Err(RemovePortError::WorkerStuck(self.bounds.let_go))
        } else {
            return;
        };
        let replies = std::mem::take(&mut removal.replies);
        if replies.is_empty() {
            return;
        }
        if result.is_err() {
            tracing::error!(port = %self.config.name, "removed, but a worker has not let go of its rings");
        }
        self.changed = true;
        self.publish();
        for reply in replies {
            let _ = reply.send(result);
        }
    }

    /// Reads and answers messages, a bounded number of them.
    fn exchange(&mut self, now: Instant) -> Result<(), Breach> {
        for _ in 0..self.bounds.messages_per_visit {
            let Some(live) = &mut self.live else { return Ok(()) };
            live.channel.flush(now)?;
            if self.session.is_suspended() || live.channel.is_stalled() {
                return Ok(());
            }
            let Some(envelope) = live.channel.receive(now)? else { return Ok(()) };
            let reply = self.session.handle(envelope, now)?;
            self.send(reply, now)?;
        }
        Ok(())
    }

    /// Sends a reply. What it says has happened can be seen before the frontend hears of it.
    fn send(&mut self, reply: Option<Reply>, now: Instant) -> Result<(), Breach> {
        let Some(reply) = reply else { return Ok(()) };
        self.changed = true;
        self.publish();
        match &mut self.live {
            Some(live) => Ok(live.channel.send(&reply, now)?),
            None => Ok(()),
        }
    }

    /// Arms the connection for what it waits for, or ends it.
    fn carry_on(&mut self, result: Result<(), Breach>, poller: &Poller, now: Instant) {
        self.changed = true;
        let Some(live) = &self.live else { return };
        match result {
            Err(breach) => self.disconnect(&breach, poller, now),
            // Not read until the change is made. That the peer has gone is seen then, too.
            Ok(()) if self.session.is_suspended() => {}
            Ok(()) => {
                let interest = if live.channel.is_stalled() { Interest::Write } else { Interest::Read };
                poller.arm(&live.channel, Token::Channel(self.key), interest);
            }
        }
    }

    fn disconnect(&mut self, why: &Breach, poller: &Poller, now: Instant) {
        let Some(live) = self.live.take() else { return };
        poller.remove(&live.channel);
        let lived = now.saturating_duration_since(live.since);
        drop(live);
        let fault = why.fault().is_some();
        self.counts.faults += u64::from(fault);
        self.counts.peer = None;
        self.counts.since = None;
        self.session.end(why, now);
        self.backoff.ended(now, lived, fault);
        self.listener_due = self.listener_due.min(self.backoff.at());
    }

    /// Looks for a connection: connects, or begins to listen.
    fn seek(&mut self, poller: &Poller, watches: Option<&mut Watches<PortKey>>, now: Instant) {
        match self.config.mode {
            Mode::Server => self.connect(poller, watches, now),
            Mode::Client if self.listener.is_none() => self.listen(poller, now),
            Mode::Client => {}
        }
    }

    fn connect(&mut self, poller: &Poller, watches: Option<&mut Watches<PortKey>>, now: Instant) {
        let mut watches = watches;
        // First the watch, then the look: nothing that appears in between is missed.
        if let Some(watches) = &mut watches
            && self.watch_events <= WATCH_EVENTS
        {
            self.watch = watches.renew(self.watch.take(), &self.config.path, self.key);
        }
        match socket::connect(&self.config.path) {
            Ok(connected) => {
                self.known = Some(connected.identity);
                if let Some(watches) = watches {
                    self.unwatch(watches);
                }
                self.watch_events = 0;
                self.begin(connected.socket, poller, now);
            }
            Err(error) => {
                if let SocketError::Refused { identity, .. } = &error
                    && self.known == Some(*identity)
                {
                    self.remove_stale(*identity, now);
                }
                self.socket_failed(&error);
                self.backoff.failed(now, self.watch.is_some());
            }
        }
    }

    /// We were connected to this very file, and nobody listens on it: its application has died.
    fn remove_stale(&mut self, identity: Identity, now: Instant) {
        self.known = None;
        if socket::remove_stale(&self.config.path, identity) {
            self.counts.stale_removed += 1;
            if let Some(suppressed) = self.log.allow(now) {
                let (port, path) = (&self.config.name, self.config.path.display());
                tracing::info!(%port, %path, suppressed, "removed the socket that a dead application left behind");
            }
        }
    }

    pub(super) fn begin(&mut self, socket: TenantFd, poller: &Poller, now: Instant) {
        let channel = Channel::new(socket, self.bounds.message_deadline);
        if let Err(error) = poller.add(&channel, Token::Channel(self.key)) {
            tracing::error!(port = %self.config.name, %error, "a connection could not be watched");
            self.backoff.failed(now, true);
            return;
        }
        self.counts.connections += 1;
        self.counts.peer = channel.peer().map(|(pid, uid)| Peer { pid, uid });
        self.counts.since = Some(SystemTime::now());
        self.socket_works();
        self.session.begin();
        self.live = Some(Live { channel, since: now });
    }

    fn unwatch(&mut self, watches: &mut Watches<PortKey>) {
        if let Some(watch) = self.watch.take() {
            watches.remove(&watch, self.key);
        }
    }

    pub(super) fn socket_works(&mut self) {
        self.counts.socket.clear();
        self.changed = true;
    }

    /// Kept for the port's status; not logged, since it is so for as long as the application is not there.
    pub(super) fn socket_failed(&mut self, error: &SocketError) {
        let text = error.to_string();
        if text != self.counts.socket {
            self.counts.socket = text;
            self.changed = true;
        }
    }
}
