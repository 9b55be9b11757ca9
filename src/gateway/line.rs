//! The lines in which throttled calls wait: one per tenant and rule, first come first served, and no longer than anybody in it
//! may wait. A call in line holds its place among its tenant's calls in flight and nothing else: no money, no slot of the
//! ledger, no rate. Whoever leaves gives its place to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::clock::Timestamp;
use crate::policy::decision::Throttle;

/// The lines of this node.
#[derive(Debug, Default)]
pub struct Lines(DashMap<(Box<str>, Arc<str>), Arc<Line>>);

/// The line of one tenant and rule.
#[derive(Debug)]
pub(super) struct Line {
    /// Whoever has it stands first. A semaphore is fair: it goes to those who wait in the order in which they came.
    first: Arc<Semaphore>,
    waiting: AtomicU32,
    /// When the first may go, in microseconds, as far as is known.
    free_at: AtomicI64,
}

impl Lines {
    pub(super) fn line(&self, tenant: &str, rule: &Arc<str>) -> Arc<Line> {
        let key = (Box::from(tenant), Arc::clone(rule));
        Arc::clone(&self.0.entry(key).or_insert_with(|| {
            Arc::new(Line {
                first: Arc::new(Semaphore::new(1)),
                waiting: AtomicU32::new(0),
                free_at: AtomicI64::new(i64::MIN),
            })
        }))
    }

    /// Forgets the lines that nobody stands in.
    pub fn forget_empty(&self) {
        self.0.retain(|_, line| Arc::strong_count(line) > 1);
    }

    /// How many calls wait.
    pub fn waiting(&self) -> u64 {
        self.0.iter().map(|line| u64::from(line.waiting.load(Ordering::Relaxed))).sum()
    }
}

impl Line {
    /// Whether somebody waits, whom a newcomer may not overtake.
    pub(super) fn is_waited_in(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The first has asked and may go after `wait`.
    pub(super) fn first_goes(&self, now: Timestamp, wait: Duration) {
        self.free_at.store(now.after(wait).micros(), Ordering::Relaxed);
    }

    /// How long it is until the first may go, as far as is known.
    pub(super) fn first_waits(&self, now: Timestamp) -> Duration {
        Timestamp::from_micros(self.free_at.load(Ordering::Relaxed)).since(now)
    }

    /// About how long somebody who comes now will wait: until the first goes, and a gap for everybody in line.
    pub(super) fn wait(&self, now: Timestamp, throttle: &Throttle) -> Duration {
        self.first_waits(now).saturating_add(gap(throttle).saturating_mul(self.waiting.load(Ordering::Relaxed)))
    }

    /// Takes a place and waits until everybody before has left. `None`: not before `until`; the first goes after `first`. Those
    /// who come at one moment see each other here, so what cannot be in time is told at once.
    pub(super) async fn stand(self: Arc<Self>, throttle: &Throttle, first: Duration, until: Instant) -> Option<Turn> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = InLine(Arc::clone(&self));
        if Instant::now() + first.saturating_add(gap(throttle).saturating_mul(ahead)) > until {
            return None;
        }
        let first = tokio::time::timeout_at(until, Arc::clone(&self.first).acquire_owned()).await.ok()?.ok()?;
        Some(Turn { rule: Arc::clone(&throttle.rule), place, _first: first })
    }
}

/// The time between two calls at a rate.
fn gap(throttle: &Throttle) -> Duration {
    Duration::from_secs(throttle.per.nominal_seconds().unsigned_abs()) / throttle.requests.max(1)
}

/// A place in a line; given back on drop.
#[derive(Debug)]
struct InLine(Arc<Line>);

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The first place in a line, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) rule: Arc<str>,
    place: InLine,
    _first: OwnedSemaphorePermit,
}

impl Turn {
    pub(super) fn line(&self) -> &Line {
        &self.place.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::window::Period;

    fn rule() -> Arc<str> {
        Arc::from("burst.contain")
    }

    /// One each millisecond.
    fn quick() -> Throttle {
        Throttle { rule: rule(), requests: 60_000, per: Period::Minute, queue: None }
    }

    async fn stand(line: &Arc<Line>, millis: u64) -> Option<Turn> {
        Arc::clone(line).stand(&quick(), Duration::ZERO, Instant::now() + Duration::from_millis(millis)).await
    }

    // Mutations: `InLine` is not dropped on time-out; the turn does not hold the semaphore.
    #[tokio::test]
    async fn they_go_in_the_order_in_which_they_came_and_who_leaves_makes_room() {
        let lines = Lines::default();
        let line = lines.line("globex", &rule());
        assert!(!line.is_waited_in());
        let first = stand(&line, 1_000).await.expect("an empty line");
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for name in 0..4 {
            let (line, order) = (Arc::clone(&line), Arc::clone(&order));
            tasks.spawn(async move {
                let turn = stand(&line, if name == 1 { 150 } else { 10_000 }).await;
                order.lock().expect("a lock").push((name, turn.is_some()));
            });
            while lines.waiting() < name + 2 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(lines.waiting(), 5);
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(lines.waiting(), 4, "one has lost its patience");
        drop(first);
        tasks.join_all().await;
        assert_eq!(*order.lock().expect("a lock"), [(1, false), (0, true), (2, true), (3, true)]);
        assert_eq!(lines.waiting(), 0);
        lines.forget_empty();
        assert_eq!(lines.0.len(), 1, "somebody holds it");
        drop(line);
        lines.forget_empty();
        assert!(lines.0.is_empty());
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_in_line_leaves_no_trace() {
        let line = Lines::default().line("globex", &rule());
        let first = stand(&line, 10).await.expect("an empty line");
        {
            let mut gone = std::pin::pin!(stand(&line, 1_000));
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut gone).await.is_err());
            assert_eq!(line.waiting.load(Ordering::Relaxed), 2);
        }
        assert_eq!(line.waiting.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(stand(&line, 10).await.is_some());
    }

    #[tokio::test]
    async fn who_cannot_be_in_time_is_not_let_in() {
        let line = Lines::default().line("globex", &rule());
        let slow = Throttle { requests: 30, ..quick() };
        let until = Instant::now() + Duration::from_mins(1);
        let first = Arc::clone(&line).stand(&slow, Duration::ZERO, until).await.expect("an empty line");
        assert!(
            Arc::clone(&line)
                .stand(&slow, Duration::from_millis(500), Instant::now() + Duration::from_millis(2_400))
                .await
                .is_none()
        );
        drop(first);
        assert!(!line.is_waited_in());
    }

    #[test]
    fn a_newcomer_waits_for_the_first_and_a_gap_for_each_in_line() {
        let line = Lines::default().line("globex", &rule());
        let throttle = Throttle { rule: rule(), requests: 30, per: Period::Minute, queue: None };
        let now = Timestamp::from_seconds(1_000);
        line.first_goes(now, Duration::from_millis(1_500));
        assert_eq!(line.wait(now, &throttle), Duration::from_millis(1_500));
        line.waiting.store(2, Ordering::Relaxed);
        assert_eq!(line.wait(now.after(Duration::from_secs(1)), &throttle), Duration::from_millis(4_500));
    }
}
