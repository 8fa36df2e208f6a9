//! What an attachment is known by, and the names that are made from it: of its port, its directory and its MAC address.

use std::fmt;

use dataplane::ids::MacAddr;
use proto::v1;

use super::refusal::Refusal;
use super::request::shown;

/// Longest container id and name of a CNI network, in bytes.
const LONGEST: usize = 1024;
/// Longest name of an interface, as in the kernel.
const LONGEST_IFNAME: usize = 15;
/// Longest name of a port.
const LONGEST_PORT: usize = 63;

/// The three words that CNI gives an attachment, each checked: none holds a `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::switch) struct Key {
    /// Name of the CNI network configuration.
    pub(in crate::switch) network: String,
    pub(in crate::switch) container: String,
    pub(in crate::switch) ifname: String,
}

impl Key {
    pub(in crate::switch) fn parse(key: Option<&v1::AttachmentKey>) -> Result<Self, Refusal> {
        let refuse = |field, why: String, remedy| Err(Refusal::Field { field, why, remedy });
        let Some(key) = key else { return refuse("key", "nothing was given".into(), "give a key") };
        for (field, text) in [("key.network", &key.network), ("key.container_id", &key.container_id)] {
            let good = text.len() <= LONGEST
                && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
            if !good {
                let remedy = "use letters, digits, _ . and -, beginning with a letter or digit";
                return refuse(field, format!("\"{}\" is no name of CNI", shown(text)), remedy);
            }
        }
        let ifname = &key.ifname;
        let good = (1..=LONGEST_IFNAME).contains(&ifname.len())
            && ifname != "."
            && ifname != ".."
            // As the kernel has it: bytes of any script are a name.
            && !ifname.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':');
        if !good {
            let remedy = "use 1 to 15 bytes without white space, / and :";
            return refuse("key.ifname", format!("\"{}\" is no interface's name", shown(ifname)), remedy);
        }
        Ok(Self { network: key.network.clone(), container: key.container_id.clone(), ifname: ifname.clone() })
    }

    /// Of a stored attachment, whose key was checked when it was attached.
    pub(in crate::switch) fn of(attachment: &v1::Attachment) -> Self {
        let key = attachment.spec.as_ref().and_then(|spec| spec.key.clone()).unwrap_or_default();
        Self { network: key.network, container: key.container_id, ifname: key.ifname }
    }

    pub(in crate::switch) fn message(&self) -> v1::AttachmentKey {
        v1::AttachmentKey {
            network: self.network.clone(),
            container_id: self.container.clone(),
            ifname: self.ifname.clone(),
        }
    }

    /// FNV-1a over the parts with their lengths, stirred: names made from it must stay what they are, so nothing here
    /// may change.
    fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in [&self.network, &self.container, &self.ifname] {
            for byte in (part.len() as u64).to_le_bytes().iter().chain(part.as_bytes()) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        stirred(hash)
    }

    /// Names of the port, the first that is free is taken.
    pub(super) fn port_names(&self, pod: &str) -> impl Iterator<Item = String> {
        let hash = self.hash();
        let tail = format!("-{}-", plain(&self.ifname));
        let mut head = plain(pod);
        head.truncate(LONGEST_PORT - tail.len() - 8);
        let head = head.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let head = if head.is_empty() { "c" } else { head };
        let stem = format!("{head}{tail}");
        (0_u64..).map(move |n| format!("{stem}{:08x}", stirred(hash.wrapping_add(n)) >> 32))
    }

    /// Locally administered addresses, the first that is free is taken.
    pub(super) fn macs(&self) -> impl Iterator<Item = MacAddr> {
        let hash = self.hash();
        (0_u64..).map(move |n| {
            let [a, b, c, d, e, f, ..] = stirred(!hash.wrapping_add(n)).to_be_bytes();
            MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
        })
    }

    /// Name of the directory of one without a device: no device id of ours looks like it.
    pub(super) fn directory(&self) -> String {
        format!("x{:015x}", self.hash() >> 4)
    }
}

/// Whether a directory's name is one of [`Key::directory`].
pub(super) fn is_made(directory: &str) -> bool {
    directory.len() == 16
        && directory
            .strip_prefix('x')
            .is_some_and(|rest| rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Every bit of the outcome depends on every bit given (splitmix64's last steps).
fn stirred(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// As it may stand in a port's name.
fn plain(text: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '.' | '-') => c,
        _ => '-',
    };
    text.chars().map(plain).collect()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, shown(&self.container), self.ifname)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container: &str, ifname: &str) -> Key {
        Key { network: "blue".into(), container: container.into(), ifname: ifname.into() }
    }

    #[test]
    fn names_are_names() {
        for (pod, ifname) in
            [("web-0", "net1"), ("", "eth0"), ("..", "a_b"), (&"p".repeat(253), &"i".repeat(15))]
        {
            let name = key("abc", ifname).port_names(pod).next().unwrap();
            assert!(crate::validate::name("name", &name).is_ok(), "{name}");
        }
        assert!(key("abc", "net1").port_names("web-0").next().unwrap().starts_with("web-0-net1-"));
        assert!(key("abc", "net1").port_names("").next().unwrap().starts_with("c-net1-"));
        let key = key("abc", "net1");
        let mut names = key.port_names("web-0");
        assert_ne!(names.next(), names.next());
    }

    #[test]
    fn addresses_are_local_unicast_and_differ() {
        let all: std::collections::BTreeSet<_> =
            (0..1000).map(|n| key(&n.to_string(), "net1").macs().next().unwrap().0).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|mac| mac[0] & 3 == 2));
    }

    #[test]
    fn a_made_directory_is_known_and_stays() {
        let directory = key("abc", "net1").directory();
        assert!(is_made(&directory) && proto::paths::is_device_id(&directory), "{directory}");
        assert!(!is_made("n0-0001") && !is_made("x"));
        assert_eq!(directory, key("abc", "net1").directory());
    }

    #[test]
    fn keys_are_checked() {
        let parse = |network: &str, container: &str, ifname: &str| {
            Key::parse(Some(&v1::AttachmentKey {
                network: network.into(),
                container_id: container.into(),
                ifname: ifname.into(),
            }))
        };
        assert!(parse("a", "b", "net1").is_ok());
        assert!(parse("a", &"b".repeat(500), "net1").is_ok());
        for (network, container, ifname) in [
            ("", "b", "c"),
            ("a", "", "c"),
            ("a", "b", ""),
            ("a/b", "b", "c"),
            ("a", "../b", "c"),
            ("a", "b", "a/b"),
            ("a", "b", ".."),
            ("a", "b", "sixteen-bytes-xx"),
            ("a", "b\n", "c"),
            ("a", "b", "c d"),
        ] {
            assert!(parse(network, container, ifname).is_err(), "{network} {container} {ifname}");
        }
        assert!(Key::parse(None).is_err());
    }
}
