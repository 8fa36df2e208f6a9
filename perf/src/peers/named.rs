//! A switch that somebody else runs: VPP, a build of one's own, whatever speaks vhost-user.
//!
//! It is known by its sockets alone, so it cannot be started, stopped or asked. Whoever runs it puts its worker on the
//! switch's CPU and connects consecutive sockets (first with second, and so on) in one layer-2 segment.

use std::path::PathBuf;
use std::str::FromStr;

use super::{Cpus, Layout, Peer, PeerError, Switch, Work};
use crate::pod::Mode;

/// How such a switch is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As in the report.
    pub name: String,
    /// Its ports.
    pub sockets: Vec<PathBuf>,
    /// Who creates the sockets, said from the container's side: `Server`: we do and it connects.
    pub mode: Mode,
}

/// Why words do not name a switch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamedError {
    /// Not of the form.
    #[error("\"{0}\" is not NAME=[server:|client:]SOCKET,SOCKET[,…]")]
    Form(String),
    /// A socket's path is relative.
    #[error("socket \"{0}\" is not absolute; begin it with /")]
    Relative(String),
    /// That is one of ours.
    #[error("the name \"{0}\" is taken; choose another")]
    Taken(String),
}

impl FromStr for Named {
    type Err = NamedError;

    fn from_str(text: &str) -> Result<Self, NamedError> {
        let form = || NamedError::Form(text.into());
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(word) {
            return Err(form());
        }
        if name.starts_with("podswitch") || name == "ovs" || name == "testpmd_io" {
            return Err(NamedError::Taken(name.into()));
        }
        let (mode, rest) = match rest.split_once(':') {
            Some(("server", rest)) => (Mode::Server, rest),
            Some(("client", rest)) => (Mode::Client, rest),
            Some(_) => return Err(form()),
            None => (Mode::Server, rest),
        };
        let sockets: Vec<PathBuf> = rest.split(',').map(PathBuf::from).collect();
        if sockets.len() < 2 {
            return Err(form());
        }
        if let Some(wrong) = sockets.iter().find(|socket| !socket.is_absolute()) {
            return Err(NamedError::Relative(wrong.display().to_string()));
        }
        Ok(Self { name: name.into(), sockets, mode })
    }
}

impl Peer for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn layout(&self, wish: &Layout) -> Result<Layout, PeerError> {
        let (have, need) = (self.sockets.len(), wish.ports.len());
        if have < need {
            return Err(PeerError::Sockets { name: self.name.clone(), have, need });
        }
        let mut layout = wish.clone();
        for (port, socket) in layout.ports.iter_mut().zip(&self.sockets) {
            port.socket.clone_from(socket);
            port.mode = self.mode;
        }
        Ok(layout)
    }

    fn start(&self, _: &Layout, _: &Cpus) -> Result<Box<dyn Switch>, PeerError> {
        Ok(Box::new(Running { name: self.name.clone() }))
    }
}

struct Running {
    name: String,
}

impl Switch for Running {
    fn name(&self) -> &str {
        &self.name
    }

    fn instruction_set(&self) -> String {
        "not known".into()
    }

    fn version(&self) -> String {
        "not known".into()
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn commands(&self) -> Vec<String> {
        Vec::new()
    }

    fn ready(&mut self) -> Result<(), PeerError> {
        Ok(())
    }

    fn work(&mut self) -> Option<Work> {
        None
    }

    fn stop(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_named_by_its_sockets() {
        let named: Named = "vpp=client:/run/a.sock,/run/b.sock".parse().unwrap();
        assert_eq!(named.name, "vpp");
        assert_eq!(named.mode, Mode::Client);
        assert_eq!(named.sockets, [PathBuf::from("/run/a.sock"), "/run/b.sock".into()]);
        assert_eq!("vpp=/a,/b".parse::<Named>().unwrap().mode, Mode::Server);
    }

    #[test]
    fn wrong_words_are_refused() {
        for wrong in ["", "vpp", "vpp=", "vpp=/a", "=/a,/b", "Vpp=/a,/b", "vpp=sideways:/a,/b"] {
            assert_eq!(wrong.parse::<Named>(), Err(NamedError::Form(wrong.into())), "{wrong}");
        }
        assert_eq!("vpp=/a,b".parse::<Named>(), Err(NamedError::Relative("b".into())));
        assert_eq!("ovs=/a,/b".parse::<Named>(), Err(NamedError::Taken("ovs".into())));
    }

    #[test]
    fn it_keeps_its_own_sockets() {
        let named: Named = "vpp=client:/run/a.sock,/run/b.sock".parse().unwrap();
        let port = super::super::PortPlan {
            socket: "/tmp/x".into(),
            mode: Mode::Server,
            network: 0,
            mac: None,
            trusted: false,
        };
        let mut wish = Layout { ports: vec![port.clone(), port], longest_frame: 1518 };
        let layout = named.layout(&wish).unwrap();
        assert_eq!(layout.ports[1].socket, PathBuf::from("/run/b.sock"));
        assert_eq!(layout.ports[1].mode, Mode::Client);
        wish.ports.push(wish.ports[0].clone());
        assert!(matches!(named.layout(&wish), Err(PeerError::Sockets { have: 2, need: 3, .. })));
    }
}
