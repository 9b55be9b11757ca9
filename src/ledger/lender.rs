//! How much is leased at a time, and when a lease goes back.
//!
//! A counter that asks again within a second gets twice as much, one that is quiet gets a few calls' worth, and never more
//! than half of what is left: a crash puts at most that in doubt, and a busy counter asks a few times a second at most.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use crate::domain::clock::Timestamp;
use crate::domain::standing::Unit;
use crate::meter::counter::WindowCounter;

use super::changes::Grant;
use super::record::Record;

/// A counter that asks again after so short a time gets twice as much.
const BUSY: Duration = Duration::from_secs(1);
/// A counter that has not asked for so long gets a few calls' worth again, and what it has goes back.
const QUIET: Duration = Duration::from_mins(1);
/// How many calls like the one that asks a first lease is good for.
const FIRST_CALLS: i64 = 4;
/// No lease is doubled more often: 4,096 calls.
const MOST_DOUBLINGS: u8 = 10;

/// A lease that is needed.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of which counter.
    pub counter: WindowCounter,
    /// Of which unit.
    pub unit: Unit,
    /// How much is missing.
    pub need: i64,
    /// What everything committed may not exceed.
    pub ceiling: i64,
}

/// The counters that have leases. There may be a hundred thousand, so little is kept of each.
#[derive(Debug)]
pub(super) struct Lender {
    began: Instant,
    lent: HashMap<Located, Lent>,
}

/// A counter by its address: one that a policy dropped and brought back is another one in memory.
#[derive(Debug)]
struct Located(WindowCounter);

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        self.0.is(&other.0)
    }
}

impl Eq for Located {}

impl Hash for Located {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.address().hash(state);
    }
}

#[derive(Debug)]
struct Lent {
    /// How often each unit's lease was doubled.
    doublings: [u8; 3],
    /// When it asked last, in tenths of a second since the lender began.
    asked: u32,
}

impl Lent {
    fn new(now: u32) -> Self {
        Self { doublings: [0; 3], asked: now }
    }

    fn quiet_for(&self, now: u32) -> Duration {
        Duration::from_millis(u64::from(now.saturating_sub(self.asked)) * 100)
    }

    fn asks_again(&mut self, unit: Unit, now: u32) {
        let quiet = self.quiet_for(now);
        let doublings = &mut self.doublings[unit.index()];
        if quiet < BUSY {
            *doublings = (*doublings + 1).min(MOST_DOUBLINGS);
        } else if quiet >= QUIET {
            *doublings = 0;
        }
        self.asked = now;
    }
}

impl Default for Lender {
    fn default() -> Self {
        Self { began: Instant::now(), lent: HashMap::new() }
    }
}

impl Lender {
    /// What to ask the store for.
    pub(super) fn grant(&mut self, wanted: &Wanted) -> Grant {
        let now = self.now();
        let known = self.lent.entry(Located(wanted.counter.clone()));
        let lent = known.and_modify(|lent| lent.asks_again(wanted.unit, now)).or_insert_with(|| Lent::new(now));
        let calls = FIRST_CALLS << lent.doublings[wanted.unit.index()];
        Grant {
            counter: wanted.counter.clone(),
            unit: wanted.unit,
            need: wanted.need,
            want: wanted.need.saturating_mul(calls),
            ceiling: wanted.ceiling,
        }
    }

    /// Tenths of a second since it began.
    fn now(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis() / 100).unwrap_or(u32::MAX)
    }

    /// The store has leased so much, durably.
    #[expect(clippy::unused_self, reason = "the other half of `grant`")]
    pub(super) fn granted(&self, wanted: &Wanted, amount: i64) {
        if amount > 0 {
            // A lease that only covers the call that waits for it is the end of a budget: there asking ahead is no use.
            let low = if amount > wanted.need { amount / 2 } else { 0 };
            wanted.counter.lease(wanted.unit).grant(amount, low);
        }
    }

    /// What quiet counters give back, `most` of them or a few more: the others the next time. `today` is the time of the calls.
    pub(super) fn idle(&mut self, most: usize, today: Timestamp) -> Vec<Record> {
        let mut back = Vec::new();
        let now = self.now();
        self.lent.retain(|Located(counter), lent| {
            // Who makes a call now and then asks for a lease rarely.
            let used = counter.touched().is_some_and(|touched| today < touched.after(QUIET));
            let quiet = back.len() < most && !used && lent.quiet_for(now) >= QUIET;
            if quiet {
                back.extend(returns(counter));
            }
            // While somebody else holds it, a call in flight may still give something back, or has just done so. What goes back now
            // holds it too, so it is let go the next time at the earliest.
            let free = || Unit::ALL.into_iter().any(|unit| counter.lease(unit).free() > 0);
            !quiet || counter.is_shared() || free()
        });
        back
    }

    /// Everything that is free.
    pub(super) fn all(self) -> impl Iterator<Item = Record> {
        self.lent.into_iter().flat_map(|(Located(counter), _)| returns(&counter))
    }
}

fn returns(counter: &WindowCounter) -> Vec<Record> {
    let back = Unit::ALL.into_iter().filter_map(|unit| {
        let amount = counter.lease(unit).take_free();
        (amount > 0).then(|| Record::Return { counter: counter.clone(), unit, amount })
    });
    back.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::window::{Span, Window};
    use crate::meter::counter::Counter;

    /// A lender to whom a minute more has passed.
    fn a_minute_later(lender: Lender) -> Lender {
        Lender { began: lender.began.checked_sub(QUIET).expect("an earlier moment"), ..lender }
    }

    // Mutations: its counter counts as somebody who has it; nobody does; nothing is quiet; nothing goes back; calls do not count.
    #[test]
    fn what_is_quiet_goes_back_and_is_let_go_when_no_call_has_it() {
        let ring = Span::Rolling(Duration::from_hours(1)).ring().expect("buckets");
        let (now, month) = (Timestamp::from_seconds(5), Arc::new(Counter::default()));
        let rolling = Arc::new(Counter::default());
        let (before, later) = (now.after(Duration::from_secs(59)), now.after(QUIET));
        for (counter, window) in [(&month, month.window(now, || Window::EVER)), (&rolling, rolling.bucket(now, ring))] {
            let mut lender = Lender::default();
            let wanted = Wanted { counter: window, unit: Unit::Money, need: 10, ceiling: 100 };
            assert_eq!(lender.grant(&wanted).want, 40);
            lender.granted(&wanted, 40);
            assert_eq!(lender.idle(9, later).len(), 0, "it has just asked");
            let mut lender = a_minute_later(lender);
            assert_eq!(lender.idle(9, before).len(), 0, "a call came since");
            let [Record::Return { amount: 40, .. }] = lender.idle(9, later)[..] else { panic!("40 are free") };
            // The call that asked is under way, and gives back what it does not need.
            wanted.counter.lease(Unit::Money).give_back(3);
            let [Record::Return { amount: 3, .. }] = lender.idle(9, later)[..] else { panic!("3 are free") };
            drop(wanted);
            assert_eq!((lender.idle(9, later).len(), lender.lent.len(), Arc::strong_count(counter)), (0, 0, 1));
        }
    }

    // Mutations: of a window that is over nothing goes back before its counter is quiet; its counter has it for ever; a call does not.
    #[test]
    fn what_was_leased_in_a_window_that_is_over_goes_back_however_busy_its_counter_is() {
        let counter = Arc::new(Counter::default());
        let window = |from| Window { start: Timestamp::from_seconds(from), end: Timestamp::from_seconds(from + 60) };
        let [over, now] = [0, 60].map(|from| counter.window(Timestamp::from_seconds(from), || window(from)));
        let (call, mut lender) = (over.clone(), Lender::default());
        for (counter, free) in [(over, 7), (now, 5)] {
            let wanted = Wanted { counter, unit: Unit::Money, need: 1, ceiling: 100 };
            lender.grant(&wanted);
            lender.granted(&wanted, free);
        }
        let mut lender = a_minute_later(lender);
        let [Record::Return { amount: 7, .. }] = lender.idle(9, Timestamp::from_seconds(61))[..] else {
            panic!("only what was leased before is free")
        };
        assert_eq!((lender.idle(9, Timestamp::from_seconds(61)).len(), lender.lent.len()), (0, 2), "a call has it");
        call.lease(Unit::Money).give_back(3);
        drop(call);
        assert_eq!((lender.idle(9, Timestamp::from_seconds(61)).len(), lender.lent.len()), (1, 2));
        assert_eq!((lender.idle(9, Timestamp::from_seconds(61)).len(), lender.lent.len()), (0, 1));
    }

    // Mutation: all of them go back.
    #[test]
    fn of_many_that_are_quiet_some_go_back_at_a_time_and_none_is_forgotten() {
        let mut lender = Lender::default();
        for _ in 0..10 {
            let counter = Arc::new(Counter::default()).window(Timestamp::from_seconds(5), || Window::EVER);
            let wanted = Wanted { counter, unit: Unit::Money, need: 1, ceiling: 100 };
            lender.grant(&wanted);
            lender.granted(&wanted, 4);
        }
        let mut lender = a_minute_later(lender);
        let gone: Vec<usize> = (0..4).map(|_| lender.idle(4, Timestamp::from_seconds(500)).len()).collect();
        assert_eq!((gone, lender.lent.len()), (vec![4, 4, 2, 0], 0));
    }

    // Mutations: it never doubles; it doubles without an end; a quiet counter keeps what it had.
    #[test]
    fn who_asks_again_at_once_gets_twice_as_much_up_to_an_end_and_who_was_quiet_a_little() {
        let window = Arc::new(Counter::default()).window(Timestamp::from_seconds(5), || Window::EVER);
        let wanted = Wanted { counter: window, unit: Unit::Money, need: 1, ceiling: i64::MAX };
        let mut lender = Lender::default();
        let asked: Vec<i64> = std::iter::repeat_with(|| lender.grant(&wanted).want).take(13).collect();
        assert_eq!(asked, [4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 4_096, 4_096]);
        assert_eq!(a_minute_later(lender).grant(&wanted).want, 4);
    }
}
