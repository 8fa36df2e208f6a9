//! The plugin against daemons that are older and newer than it.
//!
//! A release of the plugin works with the daemon before and after it, because a node's parts are upgraded one by one.
//! The daemons here are small ones of our own, so that what another release would answer can be said exactly.

#[allow(clippy::unwrap_used, reason = "what fails here fails its test")]
mod versions {
    mod daemon;
    mod plugin;
    mod tests;
}
