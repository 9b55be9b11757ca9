//! What the ledger remembers becomes counters: those it keeps are taken up as they are, those of budgets that are new are
//! added up from its rows. No row is missed and none counted twice, also when calls settle meanwhile.
//!
//! The order does that. First the ledger is told the new rules: rows that come after are counted by them as they are
//! written. Then the rows before are added up. Only then is the policy in force, and calls count by it themselves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::clock::Timestamp;
use crate::domain::standing::{Amounts, Dimensions, Unit};
use crate::domain::tenant::Tenant;
use crate::domain::window::{Ring, Window};
use crate::meter::Meter;
use crate::meter::counter::{Counter, CounterName, WindowCounter};
use crate::policy::Policy;
use crate::policy::decision::{Step, StepSet};

use super::{Snapshot, Surroundings};

/// A step that a counter had reached before.
#[derive(Debug, Clone)]
pub struct PastStep {
    /// The budget's name.
    pub budget: Arc<str>,
    /// The counter's key.
    pub key: Arc<str>,
    /// The start of its window.
    pub window_start: Timestamp,
    /// The step.
    pub step: Step,
    /// When it was reached.
    pub at: Timestamp,
}

/// A counter as the ledger keeps it.
#[derive(Debug, Clone)]
pub struct PastCounter {
    /// Which counter.
    pub name: CounterName,
    /// Of which window.
    pub window: Window,
    /// What is posted.
    pub posted: Amounts,
    /// What is in doubt.
    pub in_doubt: Amounts,
}

/// Where a counter of a new budget begins.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The counter.
    pub counter: WindowCounter,
    /// What earlier rows have posted.
    pub posted: Amounts,
    /// What earlier rows have in doubt.
    pub in_doubt: Amounts,
}

/// What the ledger remembers and is to remember. The store is not this module's business, so it comes as functions.
pub struct History {
    /// The budget identities whose counters the ledger keeps whole.
    pub complete: Box<dyn Fn() -> Result<Vec<Arc<str>>, String> + Send + Sync>,
    /// The counters whose windows have not ended at a moment.
    pub counters: Box<dyn Fn(Timestamp) -> Result<Vec<PastCounter>, String> + Send + Sync>,
    /// The buckets of an identity that may count at a moment, the newest first.
    pub buckets: Box<Buckets>,
    /// What belongs to no row: remainders of leases, in doubt or resolved.
    pub remainders: Box<dyn Fn() -> Result<Vec<PastCounter>, String> + Send + Sync>,
    /// From now on rows of earlier snapshots than this one are counted by these rules too, and these identities begin anew.
    /// Returns the number of the last row before that.
    pub begin: Box<Begin>,
    /// Calls back for every row since a moment, up to a number.
    pub replay: Box<Replayed>,
    /// What the rows up to that number add to the new counters.
    pub seeded: Box<Seeded>,
    /// Nobody counts these identities any more.
    pub retire: Box<dyn Fn(Vec<Arc<str>>) + Send + Sync>,
    /// The steps reached in windows that began since a moment.
    pub steps: Box<dyn Fn(Timestamp) -> Result<Vec<PastStep>, String> + Send + Sync>,
    /// The tenants that the admin API holds.
    pub tenants: Box<dyn Fn() -> Result<Vec<Tenant>, String> + Send + Sync>,
}

#[cfg(test)]
impl History {
    /// Of a store in which nothing has happened.
    pub(crate) fn none() -> Self {
        Self {
            complete: Box::new(|| Ok(Vec::new())),
            counters: Box::new(|_| Ok(Vec::new())),
            buckets: Box::new(|_, _, _| Ok(Vec::new())),
            remainders: Box::new(|| Ok(Vec::new())),
            begin: Box::new(|_, _, _| Ok(0)),
            replay: Box::new(|_, _, _| Ok(())),
            seeded: Box::new(|_, _, _| Ok(())),
            retire: Box::new(|_| ()),
            steps: Box::new(|_| Ok(Vec::new())),
            tenants: Box::new(|| Ok(Vec::new())),
        }
    }
}

/// Finds the counters of a row by its moment and dimensions.
pub type CountersOf = Arc<dyn Fn(Timestamp, &Dimensions<'_>) -> Vec<WindowCounter> + Send + Sync>;

/// Tells the ledger the rules of a snapshot.
pub type Begin = dyn Fn(u64, CountersOf, Vec<Arc<str>>) -> Result<i64, String> + Send + Sync;

/// Keeps what the rows before the rules add to new counters, of windows that had not ended at that moment.
pub type Seeded = dyn Fn(Vec<Seed>, Vec<Arc<str>>, Timestamp) -> Result<(), String> + Send + Sync;

/// Reads the buckets of an identity.
pub type Buckets = dyn Fn(&str, Ring, Timestamp) -> Result<Vec<PastCounter>, String> + Send + Sync;

/// Replays rows since a moment, up to a number, into a taker.
pub type Replayed = dyn Fn(Timestamp, i64, &mut Replay<'_>) -> Result<(), String> + Send + Sync;

/// Takes one row of the past; the flag says that its money and tokens are in doubt.
pub type Replay<'a> = dyn FnMut(Timestamp, &Dimensions<'_>, Amounts, bool) + 'a;

fn identities(policy: &Policy) -> Vec<Arc<str>> {
    policy.budgets.iter().map(|budget| Arc::clone(&budget.identity)).collect()
}

/// Fills the counters of budgets that are new with `snapshot`; without `before`, those of all budgets.
pub(super) fn take_up(around: &Surroundings, snapshot: &Snapshot, before: Option<&Snapshot>) -> Result<(), String> {
    let (history, now) = (&around.history, snapshot.loaded_at);
    let wanted = identities(&snapshot.policy);
    let kept: HashSet<Arc<str>> = match before {
        Some(before) => identities(&before.policy).into_iter().collect(),
        None => (history.complete)()?.into_iter().collect(),
    };
    let new: Vec<Arc<str>> = wanted.iter().filter(|identity| !kept.contains(*identity)).cloned().collect();
    // What a budget of the same identity left behind when it was deleted must not be counted on top.
    around.meter.retain(|identity| !new.iter().any(|new| **new == *identity));
    if before.is_none() {
        let gone = kept.iter().filter(|identity| !wanted.contains(identity)).cloned().collect();
        (history.retire)(gone);
        restore(around, &snapshot.policy, &new, now)?;
    }
    if !new.is_empty() {
        add_up(around, snapshot, &new)?;
    }
    let fresh = |identity: &Arc<str>| before.is_none() || new.contains(identity);
    restore_steps(around, snapshot, &fresh)
}

/// Takes up the counters that the ledger keeps, of budgets that are not new.
fn restore(around: &Surroundings, policy: &Policy, new: &[Arc<str>], now: Timestamp) -> Result<(), String> {
    let known = policy.budgets.iter().filter(|budget| !new.contains(&budget.identity));
    let (rings, calendars): (Vec<_>, Vec<_>) = known.partition(|budget| budget.span.ring().is_some());
    let calendars: HashSet<&str> = calendars.into_iter().map(|budget| &*budget.identity).collect();
    for past in (around.history.counters)(now)? {
        // A clock that stood ahead has left counters of windows that have not begun: they are not this window's.
        if past.window.contains(now) && calendars.contains(&*past.name.identity) {
            count(&restored(around, &past, now), past.posted, past.in_doubt);
        }
    }
    for budget in rings {
        let Some(ring) = budget.span.ring() else { continue };
        // Of each key the bucket that was read last. Where nothing leaves, what lies before a long silence was another life.
        let mut lives: HashMap<Arc<str>, Timestamp> = HashMap::new();
        for row in (around.history.buckets)(&budget.identity, ring, now)? {
            // A clock that stood ahead has left buckets that have not begun.
            if row.window.start > now {
                continue;
            }
            let after = lives.get(&row.name.key).copied().unwrap_or(now);
            let counted = (row.posted, row.in_doubt) != ([0; 3], [0; 3]);
            if counted && row.window.end > ring.since(after) {
                lives.insert(Arc::clone(&row.name.key), row.window.start);
                let ring_counter = around.meter.counter(&budget.identity, Arc::clone(&row.name.key));
                count(&ring_counter.bucket_of(row.window.start, ring), row.posted, row.in_doubt);
            }
        }
    }
    Ok(())
}

/// The windows that hold `at` of every budget that counts a call of these dimensions, but for calendar windows that are over.
pub(super) fn counters(
    policy: &Policy,
    meter: &Meter,
    at: Timestamp,
    dimensions: &Dimensions<'_>,
) -> Vec<WindowCounter> {
    let windows = policy.counting(dimensions).into_iter().filter_map(|budget| {
        let key = policy.counter_key(budget, dimensions)?;
        let counter = meter.counter(&policy.budgets[budget].identity, key);
        Some(window_of(policy, budget, &counter, at))
    });
    windows.filter(|counter| counter.window().contains(at)).collect()
}

/// The window of a budget's counter that holds `at`; a calendar window that is over is not brought back.
pub(super) fn window_of(policy: &Policy, budget: usize, counter: &Arc<Counter>, at: Timestamp) -> WindowCounter {
    match policy.budgets[budget].span.ring() {
        Some(ring) => counter.bucket_of(at, ring),
        None => counter.window(at, || policy.window(budget, at)),
    }
}

/// The time whose rows count at `now` in each of the budgets that are wanted.
fn times(policy: &Policy, now: Timestamp, wanted: &dyn Fn(&Arc<str>) -> bool) -> Vec<(usize, Window)> {
    let budgets = policy.budgets.iter().enumerate().filter(|(_, budget)| wanted(&budget.identity));
    budgets.map(|(at, _)| (at, policy.counting_time(at, now))).collect()
}

/// Forgets the budgets that `snapshot` does not have any more. It is in force already.
pub(super) fn let_go(around: &Surroundings, snapshot: &Snapshot, before: &Snapshot) {
    let wanted: HashSet<Arc<str>> = identities(&snapshot.policy).into_iter().collect();
    around.meter.retain(|identity| wanted.contains(identity));
    let gone: Vec<Arc<str>> =
        identities(&before.policy).into_iter().filter(|identity| !wanted.contains(identity)).collect();
    (around.history.retire)(gone);
}

/// The window that a sum belongs into. A ring forgets buckets that stayed empty, as all of them do while rows are read, so its
/// bucket is taken anew; the oldest first, each filled before the next is asked for.
fn placed(around: &Surroundings, policy: &Policy, seed: &Seed) -> WindowCounter {
    let counter = seed.counter.counter();
    let budget = policy.budgets.iter().find(|budget| budget.identity == *counter.identity());
    match budget.and_then(|budget| budget.span.ring()) {
        Some(ring) => around
            .meter
            .counter(counter.identity(), Arc::clone(counter.key()))
            .bucket_of(seed.counter.window().start, ring),
        None => seed.counter.clone(),
    }
}

/// Adds up the rows of new budgets.
fn add_up(around: &Surroundings, snapshot: &Snapshot, new: &[Arc<str>]) -> Result<(), String> {
    let (history, policy, now) = (&around.history, &snapshot.policy, snapshot.loaded_at);
    let rules: CountersOf = {
        let (policy, meter) = (Arc::clone(&snapshot.policy), Arc::clone(&around.meter));
        Arc::new(move |at, dimensions| counters(&policy, &meter, at, dimensions))
    };
    let last = (history.begin)(snapshot.number, rules, new.to_vec())?;
    for past in (history.remainders)()? {
        if new.contains(&past.name.identity) && past.window.contains(now) {
            count(&restored(around, &past, now), past.posted, past.in_doubt);
        }
    }
    let budgets = times(policy, now, &|identity| new.contains(identity));
    let since = budgets.iter().map(|(_, window)| window.start).min().unwrap_or(now);
    let mut seeds: HashMap<(usize, Timestamp), Seed> = HashMap::new();
    (history.replay)(since, last, &mut |admitted, dimensions, amounts, in_doubt| {
        for (at, _) in budgets.iter().filter(|(_, window)| window.contains(admitted)) {
            if !policy.counts(*at, dimensions) {
                continue;
            }
            let Some(key) = policy.counter_key(*at, dimensions) else { continue };
            let counter = around.meter.counter(&policy.budgets[*at].identity, key);
            let mut counter = window_of(policy, *at, &counter, admitted);
            if !counter.window().contains(admitted) {
                // A row that was written meanwhile has begun the next window. This one is over for the meter, and not for the ledger.
                let over = policy.window(*at, admitted);
                counter = counter.counter().at(over);
            }
            let which = (Arc::as_ptr(counter.counter()).addr(), counter.window().start);
            let empty = || Seed { counter: counter.clone(), posted: [0; 3], in_doubt: [0; 3] };
            let seed = seeds.entry(which).or_insert_with(empty);
            for unit in Unit::ALL {
                let at = unit.index();
                let doubted = in_doubt && unit != Unit::Requests;
                let sum = if doubted { &mut seed.in_doubt[at] } else { &mut seed.posted[at] };
                *sum = sum.saturating_add(amounts[at]);
            }
        }
    })?;
    let mut sums: Vec<&Seed> = seeds.values().collect();
    sums.sort_by_key(|seed| seed.counter.window().start);
    for seed in sums {
        count(&placed(around, policy, seed), seed.posted, seed.in_doubt);
    }
    // Of a calendar window that was over, nothing was added up; of a ring everything back to its first bucket.
    let mut groups: BTreeMap<Timestamp, Vec<Arc<str>>> = BTreeMap::new();
    for (at, window) in &budgets {
        let budget = &policy.budgets[*at];
        let since = if budget.span.ring().is_some() { window.start } else { now };
        groups.entry(since).or_default().push(Arc::clone(&budget.identity));
    }
    for (since, identities) in groups {
        let own: HashSet<&str> = identities.iter().map(AsRef::as_ref).collect();
        let seeds = seeds.values().filter(|seed| own.contains(&**seed.counter.counter().identity())).cloned().collect();
        (history.seeded)(seeds, identities, since)?;
    }
    Ok(())
}

fn restored(around: &Surroundings, past: &PastCounter, now: Timestamp) -> WindowCounter {
    around.meter.counter(&past.name.identity, Arc::clone(&past.name.key)).window(now, || past.window)
}

fn count(counter: &WindowCounter, posted: Amounts, in_doubt: Amounts) {
    for unit in Unit::ALL {
        counter.cell(unit).post(posted[unit.index()].saturating_add(in_doubt[unit.index()]));
    }
}

/// Steps that were announced are not announced again, and a decision that was open stays open.
fn restore_steps(around: &Surroundings, snapshot: &Snapshot, fresh: &dyn Fn(&Arc<str>) -> bool) -> Result<(), String> {
    let (policy, now) = (&snapshot.policy, snapshot.loaded_at);
    let budgets = times(policy, now, fresh);
    let Some(since) = budgets.iter().map(|(_, window)| window.start).min() else { return Ok(()) };
    for past in (around.history.steps)(since)? {
        let counts = |(at, window): &&(usize, Window)| {
            let known = policy.budgets[*at].name == past.budget;
            known
                && window.start <= past.window_start
                && policy.window(*at, past.window_start).start == past.window_start
        };
        let Some((at, window)) = budgets.iter().find(counts) else { continue };
        let counter = around.meter.counter(&policy.budgets[*at].identity, Arc::clone(&past.key));
        let steps = StepSet::default().with(past.step).0;
        if policy.budgets[*at].span.ring().is_some() {
            counter.was_announced(steps, past.at);
            continue;
        }
        if !window.contains(past.window_start) {
            continue;
        }
        let counter = counter.window(now, || *window);
        counter.announce(steps);
        if past.step == Step::Decide {
            counter.open_decision(past.at);
        }
    }
    Ok(())
}
