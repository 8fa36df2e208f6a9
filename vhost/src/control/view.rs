//! A port's state as other threads see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session::PortState;

/// Shows where a port stands. Written by the control thread after every change, read by anybody.
#[derive(Clone, Debug, Default)]
pub struct PortView(Arc<Mutex<PortState>>);

impl PortView {
    /// The port as it stands now.
    #[must_use]
    pub fn snapshot(&self) -> PortState {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PortState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
