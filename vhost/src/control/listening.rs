//! Mode `client`: the port makes the socket and takes one connection at a time.

use std::time::{Duration, Instant};

use super::poller::{Interest, Poller, Token};
use super::port::Port;
use crate::socket::{Listener, SocketError};

/// How often it is checked that a listening socket can still be reached.
const CHECK_LISTENER: Duration = Duration::from_millis(500);
/// Connections accepted at one visit, those included that are closed at once because one lives.
const ACCEPTS: usize = 4;
/// Pause between visits to a listener while a connection lives: a storm of connections costs little.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

impl Port {
    pub(super) fn listen(&mut self, poller: &Poller, now: Instant) {
        let listener = Listener::bind(&self.config.path);
        let added = listener.and_then(|listener| {
            poller.add(&listener, Token::Listener(self.key)).map_err(|source| SocketError::Kernel {
                path: self.config.path.clone(),
                call: "epoll_ctl",
                source,
            })?;
            Ok(listener)
        });
        match added {
            Ok(listener) => {
                self.listener = Some(listener);
                self.listener_due = now + CHECK_LISTENER;
                self.socket_works();
            }
            Err(error) => {
                self.socket_failed(&error);
                self.backoff.failed(now, true);
                self.listener_due = self.backoff.at();
            }
        }
    }

    /// Arms the listener again after a pause, and makes it anew if its file was removed.
    pub(super) fn tend_listener(&mut self, poller: &Poller, now: Instant) {
        self.listener_due = now + CHECK_LISTENER;
        let Some(listener) = &self.listener else { return };
        if listener.is_reachable() {
            poller.arm(listener, Token::Listener(self.key), Interest::Read);
        } else {
            if let Some(suppressed) = self.log.allow(now) {
                let (port, path) = (&self.config.name, self.config.path.display());
                tracing::warn!(%port, %path, suppressed, "the socket file was removed; making it again");
            }
            poller.remove(listener);
            self.listener = None;
            self.listen(poller, now);
        }
    }

    /// The listener may have a connection.
    pub(super) fn accept(&mut self, poller: &Poller, now: Instant) {
        for _ in 0..ACCEPTS {
            let free = self.live.is_none() && self.session.is_released();
            let ending = self.live.as_ref().is_some_and(|live| live.channel.is_hung_up());
            if ending || (self.live.is_none() && !(free && self.backoff.is_due(now))) {
                // The peer has gone and may have come back, rings are returning, or a fault is waited out: the
                // connection waits in the backlog.
                self.listener_due = (now + ACCEPT_PAUSE).max(self.backoff.at());
                return;
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok(Some(socket)) if free => self.begin(socket, poller, now),
                // One connection lives: this one is closed.
                Ok(Some(surplus)) => drop(surplus),
                Ok(None) => {
                    poller.arm(listener, Token::Listener(self.key), Interest::Read);
                    return;
                }
                Err(error) => {
                    self.socket_failed(&error);
                    break;
                }
            }
        }
        self.listener_due = now + ACCEPT_PAUSE;
    }
}
