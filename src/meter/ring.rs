//! Counters that are counted in buckets: of rolling budgets, whose old buckets leave one after the other, and of workflows,
//! whose buckets stay for as long as somebody makes calls that count.
//!
//! A bucket is a window like any other: a call posts to the one it was admitted in, however late. Sums are taken over the
//! buckets that count, without a lock, so they are reports and never conditions of admission.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use super::counter::{Cells, Counter, WindowCounter};
use crate::domain::clock::Timestamp;
use crate::domain::standing::Unit;
use crate::domain::window::{Ring, Window};

/// A step that was never announced.
const NEVER: i64 = i64::MIN;

/// The buckets of a counter that there are, oldest first, and when each step was announced last.
#[derive(Debug, Default)]
pub(super) struct Chain {
    buckets: Vec<Arc<Cells>>,
    /// Nothing is kept until a step was announced.
    told: Option<Arc<Told>>,
}

type Told = [AtomicI64; 8];

/// What all counters share that have no bucket.
static NO_BUCKETS: LazyLock<Arc<Chain>> = LazyLock::new(Arc::default);

impl Chain {
    /// One that a counter begins with.
    pub(super) fn empty() -> ArcSwap<Self> {
        ArcSwap::new(Arc::clone(&NO_BUCKETS))
    }

    /// Whether these are the cells of one of the buckets.
    pub(super) fn has(&self, cells: &Arc<Cells>) -> bool {
        self.buckets.iter().any(|bucket| Arc::ptr_eq(bucket, cells))
    }

    /// The latest bucket.
    pub(super) fn latest(&self) -> Option<Arc<Cells>> {
        self.buckets.last().map(Arc::clone)
    }
}

impl Counter {
    /// The bucket of a call at `now`. When the clock jumps back, the bucket of that time counts; the later ones count too.
    pub fn bucket(self: &Arc<Self>, now: Timestamp, ring: Ring) -> WindowCounter {
        self.touch(now);
        if let Some(bucket) = self.buckets.load().find(now) {
            return WindowCounter::of(self, bucket);
        }
        self.insert(ring.bucket(now), ring, now)
    }

    /// The bucket of a call that was admitted at `at`, perhaps long ago. One that has left is not taken back: it belongs to no
    /// sum any more, and only the ledger counts in it.
    pub fn bucket_of(self: &Arc<Self>, at: Timestamp, ring: Ring) -> WindowCounter {
        self.touch(at);
        let latest = {
            let chain = self.buckets.load();
            if let Some(bucket) = chain.find(at) {
                return WindowCounter::of(self, bucket);
            }
            chain.buckets.last().map_or(at, |latest| latest.window().start.max(at))
        };
        let window = ring.bucket(at);
        if !ring.keeps() && window.end <= ring.since(latest) {
            return self.at(window);
        }
        self.insert(window, ring, latest)
    }

    /// The bucket of exactly that window, if it still counts; of other counters the present window, if it is that.
    pub fn find(self: &Arc<Self>, window: Window) -> Option<WindowCounter> {
        let chain = self.buckets.load();
        let bucket = chain.buckets.iter().find(|bucket| bucket.window() == window);
        let bucket = bucket.map(|bucket| WindowCounter::of(self, bucket));
        bucket.or_else(|| self.present().filter(|present| present.window() == window))
    }

    fn insert(self: &Arc<Self>, window: Window, ring: Ring, now: Timestamp) -> WindowCounter {
        let fresh = Arc::new(Cells::new(window));
        let before = self.buckets.rcu(|chain| match chain.find(window.start) {
            Some(_) => Arc::clone(chain),
            None => Arc::new(chain.with(&fresh, ring, now)),
        });
        WindowCounter::of(self, before.find(window.start).unwrap_or(&fresh))
    }

    /// What counts at `now`, in doubt included, holds excluded; and the window that this is said of. It has no beginning, and
    /// ends when the first bucket leaves after which `limit` is not reached: the oldest that is not empty while it is not
    /// reached anyway.
    pub fn ring_standing(&self, now: Timestamp, ring: Ring, (unit, limit): (Unit, i64)) -> (i64, Window) {
        let chain = self.buckets.load();
        if !chain.is_live(ring, now) {
            return (0, Window { start: Window::EVER.start, end: ring.leaves(ring.bucket(now)).unwrap_or(NEVER_ENDS) });
        }
        let used = |bucket: &Arc<Cells>| bucket.cell(unit).used();
        let total = chain.counting(ring, now).fold(0, |sum: i64, bucket| sum.saturating_add(used(bucket)));
        let mut left = total;
        let last = chain.counting(ring, now).find(|bucket| {
            left = left.saturating_sub(used(bucket));
            used(bucket) != 0 && left < limit
        });
        let last = last.map_or_else(|| ring.bucket(now), |bucket| bucket.window());
        (total, Window { start: Window::EVER.start, end: ring.leaves(last).unwrap_or(NEVER_ENDS) })
    }

    /// Marks steps as announced and returns those that were not within the time that counts: exactly one caller sees each.
    pub fn announce_again(&self, steps: u8, now: Timestamp, ring: Ring) -> u8 {
        let fresh = steps & !self.announced_within(now, ring);
        if fresh == 0 {
            return 0;
        }
        let (mut mine, told) = (0, self.told());
        for bit in (0..8).filter(|bit| fresh & (1 << bit) != 0) {
            let moment = &told[bit];
            let before = moment.load(Ordering::Relaxed);
            let won = !still_told(before, now, ring)
                && moment.compare_exchange(before, now.micros(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
            mine |= u8::from(won) << bit;
        }
        mine
    }

    /// The steps that were announced within the time that counts.
    pub fn announced_within(&self, now: Timestamp, ring: Ring) -> u8 {
        let chain = self.buckets.load();
        let Some(moments) = &chain.told else { return 0 };
        let told =
            moments.iter().enumerate().filter(|(_, moment)| still_told(moment.load(Ordering::Relaxed), now, ring));
        told.fold(0, |steps, (bit, _)| steps | 1 << bit)
    }

    /// Steps that were announced at an earlier moment.
    pub fn was_announced(&self, steps: u8, at: Timestamp) {
        let told = self.told();
        for bit in (0..8).filter(|bit| steps & (1 << bit) != 0) {
            told[bit].fetch_max(at.micros(), Ordering::Relaxed);
        }
    }

    /// When each step was announced last; from here on that is kept.
    fn told(&self) -> Arc<Told> {
        let told = |chain: &Chain| chain.told.as_ref().map(Arc::clone);
        told(&self.buckets.load()).unwrap_or_else(|| {
            let fresh = Arc::new([const { AtomicI64::new(NEVER) }; 8]);
            let or_fresh = |chain: &Chain| told(chain).unwrap_or_else(|| Arc::clone(&fresh));
            let before =
                self.buckets.rcu(|chain| Chain { buckets: chain.buckets.clone(), told: Some(or_fresh(chain)) });
            or_fresh(&before)
        })
    }
}

const NEVER_ENDS: Timestamp = Window::EVER.end;

/// A step is told of again when as much time has passed as the ring counts; where nothing leaves, never.
fn still_told(at: i64, now: Timestamp, ring: Ring) -> bool {
    at != NEVER && (ring.keeps() || at > ring.since(now).micros())
}

fn is_empty(bucket: &Cells) -> bool {
    Unit::ALL.into_iter().all(|unit| (bucket.cell(unit).used(), bucket.cell(unit).committed()) == (0, 0))
}

impl Chain {
    fn find(&self, at: Timestamp) -> Option<&Arc<Cells>> {
        self.buckets.iter().rev().find(|bucket| bucket.window().contains(at))
    }

    /// Where nothing leaves: whether a call was counted lately. Refusals leave nothing behind, here as in the ledger.
    fn is_live(&self, ring: Ring, now: Timestamp) -> bool {
        let since = ring.since(now);
        !ring.keeps() || self.buckets.iter().any(|bucket| bucket.window().end > since && !is_empty(bucket))
    }

    /// The buckets that count at `now`, oldest first.
    fn counting(&self, ring: Ring, now: Timestamp) -> impl Iterator<Item = &Arc<Cells>> {
        let since = ring.since(now);
        self.buckets.iter().filter(move |bucket| ring.keeps() || bucket.window().end > since)
    }

    /// Those that count at `now`, and another one.
    fn with(&self, fresh: &Arc<Cells>, ring: Ring, now: Timestamp) -> Self {
        let live = self.is_live(ring, now);
        let counting = self.counting(ring, now).filter(|_| live);
        let mut buckets: Vec<_> = counting.map(Arc::clone).collect();
        let at = buckets.partition_point(|bucket| bucket.window().start < fresh.window().start);
        buckets.insert(at, Arc::clone(fresh));
        Self { buckets, told: self.told.clone() }
    }
}

#[cfg(test)]
mod tests;
