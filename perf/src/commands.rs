//! What the subcommands do.

pub(crate) mod attach;
pub(crate) mod bench;
pub(crate) mod null;
pub(crate) mod run;
mod show;
