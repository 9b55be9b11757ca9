//! The user ids, or the workflow ids, that one tenant named on one day, as digests: so many and no more.
//!
//! Each may have counters of its own, and a tenant can invent ids without end. It forgets nothing within a day, so a user that
//! was taken stays taken until midnight UTC, and it remembers no id itself.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::domain::clock::Timestamp;

const DAY_SECONDS: i64 = 86_400;

/// The users of a tenant, today.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Keyed at random, so that nobody can choose ids whose digests meet.
    seed: RandomState,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: i64,
    seen: HashSet<u64>,
}

impl Users {
    /// Whether `user` was met today or still finds room among `limit`. A clock that jumps back keeps the later day.
    pub(super) fn admit(&self, user: &str, now: Timestamp, limit: usize) -> bool {
        let digest = self.seed.hash_one(user);
        let day = day(now);
        // A set of numbers is never half-written.
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if day > today.day {
            *today = Today { day, seen: HashSet::new() };
        }
        today.seen.contains(&digest) || (today.seen.len() < limit && today.seen.insert(digest))
    }

    /// Whether anybody was met today.
    pub(super) fn any(&self, now: Timestamp) -> bool {
        let today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        today.day >= day(now) && !today.seen.is_empty()
    }
}

/// The day of a moment, in UTC.
pub(super) fn day(now: Timestamp) -> i64 {
    now.seconds().div_euclid(DAY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(day: i64) -> Timestamp {
        Timestamp::from_seconds(20_000 * DAY_SECONDS + day * DAY_SECONDS)
    }

    /// Row C13 of the fault matrix: what a hostile tenant makes the gateway remember is bounded.
    // Mutation: the limit is not asked; `day >= today.day`.
    #[test]
    fn c13_a_million_invented_users_fill_a_hundred_thousand_places() {
        const LIMIT: usize = 100_000;
        let users = Users::default();
        let taken = (0..1_000_000).filter(|id| users.admit(&id.to_string(), on(0), LIMIT)).count();
        assert_eq!(taken, LIMIT);
        let places = users.today.lock().unwrap().seen.capacity();
        assert!(places < 4 * LIMIT, "room for {places} digests of 8 bytes");
        assert!(users.admit("17", on(0), LIMIT), "a user that was taken is taken on that day");
        assert!(!users.admit("999999", on(-1), LIMIT), "a clock that jumps back is no new day");
        assert!(users.any(on(0)) && !users.any(on(1)));
        assert!(users.admit("999999", on(1), LIMIT), "a new day begins with nobody");
        assert_eq!(users.today.lock().unwrap().seen.len(), 1);
    }
}
