//! What a store holds, apart from how it is kept: rows of JSON, a generation, a digest over all of them.

use std::collections::BTreeMap;

use proto::v1;

use crate::validate;

/// The kinds of objects, a table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Networks.
    Network,
    /// Ports.
    Port,
    /// Attachments: who holds which port.
    Attachment,
}

impl Table {
    /// Every kind, each after those that it refers to.
    pub const ALL: [Table; 3] = [Table::Network, Table::Port, Table::Attachment];

    /// Name of the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Port => "port",
            Self::Attachment => "attachment",
        }
    }
}

/// One row to write or to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds or replaces.
    Put(Table, String, String),
    /// Removes.
    Delete(Table, String),
}

impl Change {
    /// Adds or replaces a network.
    #[must_use]
    pub fn put_network(spec: &v1::NetworkSpec) -> Self {
        Self::Put(Table::Network, spec.name.clone(), json(spec))
    }

    /// Adds or replaces a port.
    #[must_use]
    pub fn put_port(spec: &v1::PortSpec) -> Self {
        Self::Put(Table::Port, spec.name.clone(), json(spec))
    }

    /// Adds or replaces an attachment, which stands under its key ([`attachment_row`]).
    #[must_use]
    pub fn put_attachment(attachment: &v1::Attachment) -> Self {
        let key = attachment.spec.clone().unwrap_or_default().key.unwrap_or_default();
        Self::Put(Table::Attachment, attachment_row(&key), json(attachment))
    }
}

/// Name of an attachment's row: `NETWORK/CONTAINER/INTERFACE`, none of which holds a `/`.
#[must_use]
pub fn attachment_row(key: &v1::AttachmentKey) -> String {
    format!("{}/{}/{}", key.network, key.container_id, key.ifname)
}

fn json(spec: &impl serde::Serialize) -> String {
    serde_json::to_string(spec).expect("the messages have string keys only")
}

/// The objects, parsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Networks by name.
    pub networks: Vec<v1::NetworkSpec>,
    /// Ports by name.
    pub ports: Vec<v1::PortSpec>,
    /// Attachments by key; the port of each is among the ports.
    pub attachments: Vec<v1::Attachment>,
}

/// Rows that cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Not JSON, or not of this shape.
    #[error("the row \"{name}\" of the table {table} does not parse: {reason}")]
    Json {
        /// The table.
        table: &'static str,
        /// The row.
        name: String,
        /// The parser's word.
        reason: String,
    },
    /// Parses, but would have been refused.
    #[error("the row \"{name}\" of the table {table} is not valid: {field}: {why}")]
    Invalid {
        /// The table.
        table: &'static str,
        /// The row.
        name: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A port without its network.
    #[error("the port \"{port}\" belongs to the network \"{network}\", which is not there")]
    Dangling {
        /// The port.
        port: String,
        /// Its network.
        network: String,
    },
    /// An attachment without its port.
    #[error("the attachment \"{name}\" has the port \"{port}\", which is not there")]
    WithoutPort {
        /// The row.
        name: String,
        /// Its port.
        port: String,
    },
    /// An attachment that stands under another name than its key's.
    #[error("the attachment \"{0}\" does not stand under its key")]
    Key(String),
    /// The rows are not those that were written.
    #[error("the digest over all rows is {found}, {stored} was written")]
    Digest {
        /// Over the rows.
        found: String,
        /// In the table meta.
        stored: String,
    },
}

/// All rows of a store at one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Counts changes.
    pub generation: u64,
    /// Random name of this store, from its first start.
    pub instance: String,
    rows: BTreeMap<(Table, String), String>,
}

impl Contents {
    /// An empty store with a new name.
    #[must_use]
    pub fn new() -> Self {
        let instance = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
        Self { instance: instance.trim().into(), ..Self::default() }
    }

    /// Rows of one table by name.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &str, &str)> {
        self.rows.iter().map(|((table, name), json)| (*table, name.as_str(), json.as_str()))
    }

    pub(super) fn insert(&mut self, table: Table, name: String, json: String) {
        self.rows.insert((table, name), json);
    }

    /// The contents after these changes, one generation on.
    #[must_use]
    pub fn after(&self, changes: &[Change]) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        for change in changes {
            match change {
                Change::Put(table, name, json) => next.insert(*table, name.clone(), json.clone()),
                Change::Delete(table, name) => drop(next.rows.remove(&(*table, name.clone()))),
            }
        }
        next
    }

    /// FNV-1a (64 bits) over everything, each part with its length: any flipped bit and any lost row shows. It
    /// guards against damage, not against malice; the directory is root's.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |part: &[u8]| {
            for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        eat(&self.generation.to_le_bytes());
        eat(self.instance.as_bytes());
        for (table, name, json) in self.rows() {
            eat(table.name().as_bytes());
            eat(name.as_bytes());
            eat(json.as_bytes());
        }
        format!("{hash:016x}")
    }

    /// The rows as objects.
    ///
    /// # Errors
    /// [`Wrong`] for the first row that could not have been written by this daemon.
    pub fn objects(&self) -> Result<Objects, Wrong> {
        let mut objects = Objects::default();
        for (table, name, text) in self.rows() {
            let invalid = |e: validate::Invalid| Wrong::Invalid {
                table: table.name(),
                name: name.into(),
                field: e.field,
                why: e.to_string(),
            };
            match table {
                Table::Network => {
                    let spec = validate::network(Some(parse(table, name, text)?)).map_err(invalid)?;
                    objects.networks.push(spec);
                }
                Table::Port => {
                    let spec = validate::port(Some(parse(table, name, text)?), 0).map_err(invalid)?.spec;
                    if !self.rows.contains_key(&(Table::Network, spec.network.clone())) {
                        return Err(Wrong::Dangling { port: spec.name, network: spec.network });
                    }
                    objects.ports.push(spec);
                }
                Table::Attachment => {
                    let attachment: v1::Attachment = parse(table, name, text)?;
                    let key = attachment.spec.as_ref().and_then(|spec| spec.key.as_ref());
                    if key.is_none_or(|key| attachment_row(key) != name) {
                        return Err(Wrong::Key(name.into()));
                    }
                    if !self.rows.contains_key(&(Table::Port, attachment.port.clone())) {
                        return Err(Wrong::WithoutPort { name: name.into(), port: attachment.port });
                    }
                    objects.attachments.push(attachment);
                }
            }
        }
        Ok(objects)
    }
}

fn parse<T: serde::de::DeserializeOwned>(table: Table, name: &str, text: &str) -> Result<T, Wrong> {
    serde_json::from_str(text).map_err(|e| Wrong::Json {
        table: table.name(),
        name: name.into(),
        reason: e.to_string(),
    })
}
