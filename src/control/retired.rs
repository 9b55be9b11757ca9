//! Snapshots that were in force, and that calls may still hold.
//!
//! To free one with a hundred thousand tenants takes tens of milliseconds, and whoever lets go of it last does that. A core that did
//! would serve nobody meanwhile. So one reference stays here until it is the only one left, and whoever reloads frees it.

use std::sync::{Arc, Mutex, PoisonError};

use super::Snapshot;

#[derive(Debug, Default)]
pub(super) struct Retired(Mutex<Vec<Arc<Snapshot>>>);

impl Retired {
    /// Keeps a snapshot that nobody can get any more who has not got it.
    pub(super) fn keep(&self, snapshot: Arc<Snapshot>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot);
    }

    /// Frees those that nobody else holds.
    pub(super) fn free_unheld(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unheld: Vec<_> = kept.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1).collect();
        drop(kept);
        drop(unheld);
    }
}
