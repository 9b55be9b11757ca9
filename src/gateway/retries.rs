//! Which attempt begins a logical request.
//!
//! Remembered are what applications name themselves (`plimsoll-external-request-id`), the bodies of SDKs that count their
//! attempts, and calls that we refused, since the attempt after a refusal of ours is a new request. All are digests, bounded and
//! short-lived. Calls of clients that say nothing of retries are requests of their own and leave no trace here.

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
    /// Whether a call that is admitted now is a request of its own. An SDK's word that it retries is believed only when the
    /// same body of the same tenant was admitted a short while ago.
    pub(super) fn begins(&self, call: &Call, body: &Bytes) -> bool {
        if let Some(id) = &call.attribution.external_request_id {
            return self.is_new(self.seed.hash_one((call.account.tenant.id.as_str(), &**id)), call.now);
        }
        match call.retries {
            None => true,
            Some(0) => {
                remember(&self.begun, self.attempt(call, body), call.now);
                true
            }
            Some(_) => {
                let attempt = self.attempt(call, body);
                if self.was_refused(attempt, call.now) {
                    remember(&self.begun, attempt, call.now);
                    return true;
                }
                self.is_new(attempt, call.now)
            }
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
        let new = self.begun.get(&id).is_none_or(|at| now.since(*at) > TOGETHER);
        if new {
            remember(&self.begun, id, now);
        }
        new
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
