//! STATUS: whether an ADD would succeed now.

use std::time::Duration;

use super::super::call::Call;
use super::super::client::Client;
use super::super::failure::{Code, Failure};

/// A kubelet asks every few seconds and waits for the answer.
const LONGEST: Duration = Duration::from_secs(2);

/// Asks the daemon and the IPAM plugin.
///
/// # Errors
/// 50: no ADD would succeed; 51: nor do interfaces work that are there.
pub fn status(call: &Call<'_>) -> Result<(), Failure> {
    let not_available = |failure: Failure| Failure { code: Code::NotAvailable as u32, ..failure };
    let client = Client::new(call.base.socket.as_ref(), call.base.timeout.min(LONGEST));
    let ready = client
        .and_then(|mut client| client.ready(&call.base.network))
        .map_err(|refusal| not_available(refusal.into_failure(proto::paths::RESOURCE)))?;
    match ready.code {
        0 => {}
        51 => return Err(Failure::new(Code::LimitedConnectivity, ready.reason)),
        _ => return Err(Failure::new(Code::NotAvailable, ready.reason)),
    }
    let known = [Code::NotAvailable as u32, Code::LimitedConnectivity as u32];
    call.with_ipam(|ipam| ipam.status())
        .unwrap_or(Ok(()))
        .map_err(|failure| if known.contains(&failure.code) { failure } else { not_available(failure) })
}
