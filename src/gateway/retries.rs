//! Which attempt begins a logical request.
//!
//! SDKs count their attempts themselves, so a first attempt needs no memory. Remembered are only calls that we refused, since
//! the attempt after a refusal of ours is a new request, and identifiers that applications send themselves. Both are bounded
//! and short-lived.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;

use crate::domain::clock::Timestamp;

use super::call::Call;

/// How long attempts belong together.
const TOGETHER: Duration = Duration::from_mins(10);
/// Entries of either kind before old ones are looked for.
const MOST: usize = 100_000;

/// The memory of one gateway.
#[derive(Default)]
pub struct Retries {
    seed: RandomState,
    refused: DashMap<u64, Timestamp>,
    begun: DashMap<u64, Timestamp>,
}

impl Retries {
    /// Whether a call that is admitted now is a request of its own.
    pub(super) fn begins(&self, call: &Call, body: &Bytes) -> bool {
        let retry = call.attribution.retry_count > 0;
        match &call.attribution.external_request_id {
            Some(id) => self.is_new(self.seed.hash_one((call.account.tenant.id.as_str(), &**id)), call.now),
            None if retry => self.was_refused(self.attempt(call, body), call.now),
            None => true,
        }
    }

    /// A call was refused by us: its next attempt begins a new request.
    pub(super) fn refused(&self, call: &Call, body: &Bytes) {
        if call.attribution.external_request_id.is_none() {
            remember(&self.refused, self.attempt(call, body), call.now);
        }
    }

    fn attempt(&self, call: &Call, body: &Bytes) -> u64 {
        self.seed.hash_one((call.account.tenant.id.as_str(), &*call.path, &body[..]))
    }

    fn was_refused(&self, attempt: u64, now: Timestamp) -> bool {
        self.refused.remove(&attempt).is_some_and(|(_, at)| now.since(at) <= TOGETHER)
    }

    fn is_new(&self, id: u64, now: Timestamp) -> bool {
        let before = self.begun.get(&id).map(|at| *at);
        remember(&self.begun, id, now);
        before.is_none_or(|at| now.since(at) > TOGETHER)
    }
}

fn remember(memory: &DashMap<u64, Timestamp>, key: u64, now: Timestamp) {
    if memory.len() >= MOST {
        memory.retain(|_, at| now.since(*at) <= TOGETHER);
        if memory.len() >= MOST {
            memory.clear();
        }
    }
    memory.insert(key, now);
}
