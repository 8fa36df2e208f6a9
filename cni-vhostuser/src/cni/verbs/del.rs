//! DEL: whatever is there goes, and what is not there was never in the way.
//!
//! Nothing but the key counts: no `prevResult`, none of our configuration keys, no namespace. The port goes before
//! its addresses, so that nobody is given an address that a port still holds.

use std::path::Path;
use std::time::Duration;

use super::super::call::{Call, log};
use super::super::client::Client;
use super::super::failure::{Code, Failure};
use super::super::namespace::Identity;
use super::super::{device_info, stub};

/// Time for the second try after a tombstone was written.
const SECOND_TRY: Duration = Duration::from_millis(500);

/// Unplugs an interface.
///
/// # Errors
/// An IPAM plugin that cannot release the addresses, or a tombstone that cannot be written: code 11.
pub fn del(call: &Call<'_>) -> Result<(), Failure> {
    let unplugged = match call.client() {
        Ok(mut client) => unplug(call, &mut client),
        Err(refusal) => bury(call, &refusal.to_string()).map(drop),
    };
    remove_stub(call);
    if let Some(file) = &call.base.device_info
        && let Err(e) = device_info::remove(Path::new(file))
    {
        log(format_args!("{file} stays: {e}"));
    }
    let released = match call.with_ipam(|ipam| ipam.del()) {
        // A configuration that no ADD can have got through with.
        Some(Err(failure)) if failure.code == Code::InvalidConfig as u32 => {
            log(format_args!("no addresses are released: {failure}"));
            Ok(())
        }
        Some(released) => released,
        None => Ok(()),
    };
    unplugged.and(released)
}

/// Has the daemon delete the key; if it cannot, leaves a tombstone.
pub(super) fn unplug(call: &Call<'_>, client: &mut Client) -> Result<(), Failure> {
    let key = call.key();
    let refusal = match client.detach(&key) {
        Ok(()) => return forget(call),
        // No attachment can have such a key.
        Err(refusal) if refusal.is_no_such_key() => {
            log(format_args!("nothing to delete: {refusal}"));
            return Ok(());
        }
        Err(refusal) => refusal,
    };
    if !bury(call, &refusal.to_string())? {
        return Ok(());
    }
    // A daemon that has just started may have looked for tombstones before this one lay there.
    client.grant(SECOND_TRY);
    match client.detach(&key) {
        Ok(()) => forget(call),
        Err(_) => Ok(()),
    }
}

/// Writes the tombstone; `false`: no daemon lives there that could have anything.
fn bury(call: &Call<'_>, why: &str) -> Result<bool, Failure> {
    let written = call.tombstone().write().map_err(|e| {
        let msg = format!("{why}; and the deletion cannot be kept for later: {e}");
        Failure::new(Code::TryAgainLater, msg)
    })?;
    log(format_args!(
        "{why}; {}",
        if written { "the deletion is kept for later" } else { "nothing to delete" }
    ));
    Ok(written)
}

/// The daemon has done it: an older tombstone must not meet a newer container.
fn forget(call: &Call<'_>) -> Result<(), Failure> {
    call.tombstone()
        .remove()
        .map_err(|e| Failure::new(Code::TryAgainLater, format!("a tombstone cannot be taken away: {e}")))
}

fn remove_stub(call: &Call<'_>) {
    let Some(netns) = call.environment.netns.as_deref().map(Path::new) else { return };
    match Identity::at(netns) {
        Ok(there) if there.is_own() && !call.environment.netns_override => {
            log("CNI_NETNS is the plugin's own namespace: no link is removed");
        }
        Ok(_) => {
            if let Err(e) = stub::remove(netns, &call.environment.ifname) {
                log(format_args!("the stub link stays: {e}"));
            }
        }
        // Gone, and the link with it.
        Err(_) => {}
    }
}
