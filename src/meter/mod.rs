//! Live counters, lock-free where calls pass.
//!
//! The map from a budget's identity and key to its counter is not on the hot path: callers keep the `Arc`s they were given,
//! per worker or per tenant, and from there on only atomics are touched. Nothing here reads a clock, a file or a policy.

mod atomic;
pub mod cell;
pub mod counter;
pub mod lease;
pub mod pace;
pub mod reservation;
pub mod ring;

use std::sync::Arc;

use dashmap::DashMap;

use self::counter::Counter;
use crate::domain::by_key::ByKey;
use crate::domain::clock::Timestamp;

/// The counters of one budget identity.
#[derive(Debug)]
struct Family {
    identity: Arc<Arc<str>>,
    counters: DashMap<ByKey<Arc<Counter>>, ()>,
}

impl Family {
    fn new(identity: &Arc<str>) -> Arc<Self> {
        Arc::new(Self { identity: Arc::new(Arc::clone(identity)), counters: DashMap::new() })
    }
}

/// All counters of this node.
///
/// An identity is what a budget counts (its `per`, `match` and period), not its name or limit: a budget that is edited keeps
/// its counters, and budgets that count the same share them.
#[derive(Debug, Default)]
pub struct Meter {
    families: DashMap<Arc<str>, Arc<Family>>,
}

impl Meter {
    /// The counter of an identity and key (the values of the `per` dimensions); made on first use. Keep the answer. A key that is
    /// shared already, as a tenant's identifier is, is not copied.
    pub fn counter(&self, identity: &Arc<str>, key: impl AsRef<str> + Into<Arc<str>>) -> Arc<Counter> {
        let family = self.family(identity);
        if let Some(known) = family.counters.get(key.as_ref()) {
            return Arc::clone(&known.key().0);
        }
        let counter = Counter::new(Arc::clone(&family.identity), key.into());
        let known = family.counters.entry(ByKey(Arc::new(counter))).or_insert(());
        Arc::clone(&known.key().0)
    }

    fn family(&self, identity: &Arc<str>) -> Arc<Family> {
        if let Some(family) = self.families.get(identity) {
            return Arc::clone(&family);
        }
        Arc::clone(&self.families.entry(Arc::clone(identity)).or_insert_with(|| Family::new(identity)))
    }

    /// The counter of an identity and key, if it was ever used.
    pub fn find(&self, identity: &str, key: &str) -> Option<Arc<Counter>> {
        let family = Arc::clone(&*self.families.get(identity)?);
        family.counters.get(key).map(|known| Arc::clone(&known.key().0))
    }

    /// Visits every counter. The visitor must not call back into the meter.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<str>, &str, &Arc<Counter>)) {
        for family in &self.families {
            for entry in &family.counters {
                let ByKey(counter) = entry.key();
                visit(family.key(), counter.key(), counter);
            }
        }
    }

    /// Drops the identities that no policy counts any more. Calls in flight settle into the `Arc`s they hold.
    pub fn retain(&self, mut wanted: impl FnMut(&str) -> bool) {
        self.families.retain(|identity, _| wanted(identity));
    }

    /// Drops counters that nobody asked for since `before` and nobody holds. Their amounts are in the ledger, from which the
    /// caller fills a counter that comes back; so `before` must lie before the start of every window that is still open,
    /// or the caller must do that filling.
    ///
    /// `before` is asked per identity, since each has windows of its own; `None` keeps it whole. A moment is kept a second
    /// longer, because [`Counter::touched`] is that coarse.
    pub fn forget_idle(&self, before: impl Fn(&str) -> Option<Timestamp>) {
        for family in &self.families {
            let Some(before) = before(family.key()) else { continue };
            let before = Timestamp::from_micros(before.micros().saturating_sub(1_000_000));
            family.counters.retain(|ByKey(counter), ()| Arc::strong_count(counter) > 1 || counter.touched() >= before);
        }
    }

    /// How many counters there are.
    pub fn len(&self) -> usize {
        self.families.iter().map(|family| family.counters.len()).sum()
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::standing::Unit;
    use crate::domain::window::Window;

    #[test]
    fn a_key_has_one_counter() {
        let meter = Meter::default();
        let (month, day): (Arc<str>, Arc<str>) = (Arc::from("month"), Arc::from("day"));
        let globex = meter.counter(&month, "globex");
        assert!(Arc::ptr_eq(&globex, &meter.counter(&Arc::from("month"), "globex")));
        assert!(!Arc::ptr_eq(&globex, &meter.counter(&month, "acme")));
        assert!(!Arc::ptr_eq(&globex, &meter.counter(&day, "globex")));
        assert!(meter.find("day", "acme").is_none());
        assert_eq!(meter.len(), 3);
    }

    // Mutation: whoever comes second gets what it made itself.
    #[test]
    fn racers_find_one_counter() {
        let (meter, month, barrier) = (Meter::default(), Arc::<str>::from("month"), std::sync::Barrier::new(4));
        let race = |key: &str| {
            barrier.wait();
            meter.counter(&month, key)
        };
        for key in (0..500).map(|key| key.to_string()) {
            let found: Vec<_> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..4).map(|_| scope.spawn(|| race(&key))).collect();
                racers.into_iter().map(|racer| racer.join().expect("a counter")).collect()
            });
            assert!(found.iter().all(|counter| Arc::ptr_eq(counter, &found[0])), "{key}");
        }
    }

    #[test]
    fn a_reload_drops_what_is_no_longer_counted() {
        let meter = Meter::default();
        let month: Arc<str> = Arc::from("month");
        let window = meter.counter(&month, "globex").window(Timestamp::from_seconds(1), || Window::EVER);
        meter.counter(&Arc::from("day"), "globex");
        meter.retain(|identity| identity == "month");
        let mut seen = Vec::new();
        meter.for_each(|identity, key, _| seen.push(format!("{identity} {key}")));
        assert_eq!(seen, ["month globex"]);
        window.cell(Unit::Money).post(1);
        let same = meter.counter(&month, "globex").present().expect("a window");
        assert_eq!(same.cell(Unit::Money).used(), 1);
    }

    #[test]
    fn idle_counters_are_forgotten_and_held_ones_are_not() {
        let meter = Meter::default();
        let runs: Arc<str> = Arc::from("runs");
        let held = meter.counter(&runs, "held");
        for (key, seconds) in [("old", 100), ("held", 100), ("fresh", 900)] {
            meter.counter(&runs, key).window(Timestamp::from_seconds(seconds), || Window::EVER);
        }
        meter.forget_idle(|_| Some(Timestamp::from_seconds(500)));
        assert!(meter.find("runs", "old").is_none());
        assert!(meter.find("runs", "held").is_some_and(|counter| Arc::ptr_eq(&counter, &held)));
        assert!(meter.find("runs", "fresh").is_some());
    }
}
