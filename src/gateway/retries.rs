//! Which attempt begins a logical request.
//!
//! Remembered are what applications name themselves (`plimsoll-external-request-id`), the bodies of SDKs that count their
//! attempts, and which of those we refused, since the attempt after a refusal of ours is a new request. All are digests,
//! per tenant, bounded and short-lived. Calls of clients that say nothing of retries are requests of their own and leave
//! no trace here. A restart forgets everything: it may count a retry as a request, and never a request as a retry.
//!
//! What it costs: one keyed hash of the body for calls whose SDK counts attempts (0.3 µs for 8 KiB, 40 µs for a megabyte),
//! one of the name alone for calls that have one, and one sharded map; nothing for all others. First attempts must be
//! hashed too: they are what an SDK's word is checked against.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::quality::RandomState;

use crate::domain::attribution::INVALID;
use crate::domain::clock::Timestamp;
use crate::domain::tenant::TenantId;

use super::call::Call;

/// How long attempts belong together.
const TOGETHER: Duration = Duration::from_mins(10);
/// Notes of all tenants together, about 64 bytes each.
const MOST: usize = 1 << 20;
/// Notes that a tenant always has room for.
const FEW: usize = 64;

/// The memory of one gateway.
pub struct Retries {
    seed: RandomState,
    most: usize,
    tenants: DashMap<TenantId, Notes>,
    /// How many notes all tenants have. `Relaxed` suffices: it only bounds memory, and being off by a few is no harm.
    count: AtomicUsize,
}

/// What became of the last attempt with a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was let through, and others may belong to it.
    Admitted,
    /// We refused it, so that the next one is new.
    Refused,
}

/// One tenant's notes. A digest that is noted again has an older place in `order`, which then stands for nothing.
#[derive(Debug, Default)]
struct Notes {
    fates: HashMap<u64, (Fate, Timestamp), RandomState>,
    order: VecDeque<(u64, Timestamp)>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { seed: RandomState::default(), most: MOST, tenants: DashMap::new(), count: AtomicUsize::new(0) }
    }
}

impl Retries {
    /// Whether a call that is admitted now is a request of its own. An SDK's word that it retries is believed only when the
    /// same body of the same tenant was admitted a short while ago.
    pub(super) fn begins(&self, call: &Call, body: &Bytes) -> bool {
        let (attempt, first) = match (named(call), call.retries) {
            (Some(id), _) => (self.seed.hash_one(id), false),
            (None, None) => return true,
            (None, Some(retries)) => (self.attempt(call, body), retries == 0),
        };
        self.noting(&call.account.tenant.id, call.now, |notes, room| {
            let new = first || !notes.belongs(attempt, call.now);
            if new {
                notes.note(attempt, Fate::Admitted, call.now, room);
            }
            new
        })
    }

    /// A call was refused by us: its next attempt begins a new request. What has a name begins when it first passes.
    pub(super) fn refused(&self, call: &Call, body: &Bytes) {
        if named(call).is_none() && call.retries.is_some() {
            let attempt = self.attempt(call, body);
            let tenant = &call.account.tenant.id;
            self.noting(tenant, call.now, |notes, room| notes.note(attempt, Fate::Refused, call.now, room));
        }
    }

    /// Forgets what is too old to matter, and tenants of whom nothing is left.
    pub fn forget_old(&self, now: Timestamp) {
        self.tenants.retain(|_, notes| {
            let before = notes.order.len();
            notes.forget_old(now);
            self.count.fetch_sub(before - notes.order.len(), Ordering::Relaxed);
            notes.release();
            !notes.order.is_empty()
        });
    }

    fn attempt(&self, call: &Call, body: &Bytes) -> u64 {
        self.seed.hash_one(Attempt { provider: &call.provider.name, path: &call.path, body })
    }

    /// Works on the notes of one tenant. All tenants share what is still free and each may have as much again as
    /// that: whoever notes more pushes out notes of its own and of nobody else, and a newcomer always finds room.
    fn noting<T>(&self, tenant: &TenantId, now: Timestamp, work: impl FnOnce(&mut Notes, usize) -> T) -> T {
        let mut notes = match self.tenants.get_mut(tenant) {
            Some(notes) => notes,
            None => self.tenants.entry(tenant.clone()).or_default(),
        };
        let before = notes.order.len();
        notes.forget_old(now);
        let room = self.most.saturating_sub(self.count.load(Ordering::Relaxed)).max(FEW);
        let outcome = work(&mut notes, room);
        let after = notes.order.len();
        self.count.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        self.count.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
        outcome
    }
}

/// What makes two attempts the same.
#[derive(Hash)]
struct Attempt<'a> {
    provider: &'a str,
    path: &'a str,
    body: &'a [u8],
}

/// The application's own name for the request. One that was not accepted as a name is none: it would join strangers.
fn named(call: &Call) -> Option<&str> {
    call.attribution.external_request_id.as_deref().filter(|id| *id != INVALID)
}

impl Notes {
    fn belongs(&self, attempt: u64, now: Timestamp) -> bool {
        self.fates.get(&attempt).is_some_and(|(fate, at)| *fate == Fate::Admitted && now.since(*at) <= TOGETHER)
    }

    fn note(&mut self, attempt: u64, fate: Fate, now: Timestamp, room: usize) {
        while self.order.len() >= room {
            self.forget_oldest();
        }
        self.fates.insert(attempt, (fate, now));
        self.order.push_back((attempt, now));
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(_, at)| now.since(*at) > TOGETHER) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((attempt, at)) = self.order.pop_front() else { return };
        if self.fates.get(&attempt).is_some_and(|(_, last)| *last == at) {
            self.fates.remove(&attempt);
        }
    }

    /// Gives back memory that a busy hour took.
    fn release(&mut self) {
        if self.order.capacity() / 4 > self.order.len() {
            self.order.shrink_to(self.order.len() * 2);
            self.fates.shrink_to(self.fates.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_oldest_note_goes_first_and_one_that_was_noted_again_is_as_young_as_its_last() {
        let mut notes = Notes::default();
        for (attempt, now) in [(1, 0), (2, 1), (1, 2), (3, 3)] {
            notes.note(attempt, Fate::Admitted, at(now), 3);
        }
        assert!(notes.belongs(1, at(3)) && notes.belongs(2, at(3)) && notes.belongs(3, at(3)));
        notes.note(4, Fate::Admitted, at(4), 3);
        assert!(notes.belongs(1, at(4)) && !notes.belongs(2, at(4)));
        assert_eq!(notes.order.len(), 3);
    }

    #[test]
    fn attempts_belong_together_for_ten_minutes_and_what_we_refused_to_nobody() {
        let mut notes = Notes::default();
        notes.note(1, Fate::Admitted, at(0), FEW);
        notes.note(2, Fate::Refused, at(0), FEW);
        assert!(notes.belongs(1, at(600)) && !notes.belongs(1, at(601)) && !notes.belongs(2, at(1)));
        notes.note(1, Fate::Refused, at(9), FEW);
        notes.note(2, Fate::Admitted, at(9), FEW);
        assert!(!notes.belongs(1, at(10)) && notes.belongs(2, at(10)));
        notes.forget_old(at(610));
        assert!(notes.order.is_empty() && notes.fates.is_empty());
    }

    #[test]
    fn a_tenant_that_notes_without_end_pushes_out_nothing_but_its_own() {
        let retries = Retries { most: 10_000, ..Retries::default() };
        let note = |tenant: &str, attempt: u64| {
            let tenant = TenantId::new(tenant).expect("a name");
            retries.noting(&tenant, at(1), |notes, room| notes.note(attempt, Fate::Admitted, at(1), room));
        };
        let knows =
            |tenant: &str, attempt: u64| retries.tenants.get(tenant).is_some_and(|notes| notes.belongs(attempt, at(1)));
        (0..500).for_each(|attempt| note("quiet", attempt));
        (0..50_000).for_each(|attempt| note("hostile", attempt));
        (0..FEW as u64).for_each(|attempt| note("newcomer", attempt));
        assert!((0..500).all(|attempt| knows("quiet", attempt)), "another tenant's notes are gone");
        assert!((0..FEW as u64).all(|attempt| knows("newcomer", attempt)));
        assert!(knows("hostile", 49_999) && !knows("hostile", 0));
        assert!(retries.count.load(Ordering::Relaxed) <= retries.most);
        retries.forget_old(at(700));
        assert!(retries.tenants.is_empty());
        assert_eq!(retries.count.load(Ordering::Relaxed), 0);
    }
}
