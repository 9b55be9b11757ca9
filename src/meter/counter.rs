//! A counter of a budget: one window after the other.
//!
//! A call keeps the window it was admitted in, so a late settlement lands in the right one; a reset never refunds and never charges
//! twice.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::cell::Cell;
use super::lease::Lease;
use super::ring::Chain;
use crate::domain::by_key::Keyed;
use crate::domain::clock::Timestamp;
use crate::domain::standing::Unit;
use crate::domain::window::Window;

/// `decide_opened` while no decision is open.
const NOT_OPENED: i64 = i64::MIN;

/// Which counter it is, wherever it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CounterName {
    /// What is counted: the budget's identity.
    pub identity: Arc<str>,
    /// The values of its `per` dimensions.
    pub key: Arc<str>,
}

/// A counter in one of its windows. Whoever has a copy of it counts in the same cells.
#[derive(Debug, Clone)]
pub struct WindowCounter {
    counter: Arc<Counter>,
    cells: Arc<Cells>,
}

impl WindowCounter {
    /// An empty counter without a name.
    pub fn new(window: Window) -> Self {
        Self::named(CounterName::default(), window)
    }

    /// An empty counter.
    pub fn named(name: CounterName, window: Window) -> Self {
        Arc::new(Counter::named(name)).at(window)
    }

    pub(super) fn of(counter: &Arc<Counter>, cells: &Arc<Cells>) -> Self {
        Self { counter: Arc::clone(counter), cells: Arc::clone(cells) }
    }

    /// The counter, of which this is one window.
    pub fn counter(&self) -> &Arc<Counter> {
        &self.counter
    }

    /// Whether the other one counts in the same cells.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cells, &other.cells)
    }

    /// Where its cells are, for as long as somebody has it.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.cells).addr()
    }

    /// Whether somebody else has it too, its counter aside.
    pub fn is_shared(&self) -> bool {
        // Counted first: when its counter goes on to the next window meanwhile, that looks like somebody else, and never like nobody.
        let all = Arc::strong_count(&self.cells);
        // What they did before they let go of it is seen from here on.
        fence(Ordering::Acquire);
        all > 1 + usize::from(self.counter.has(&self.cells))
    }

    /// When its counter was asked for last, give or take a second. `None`: the counter has gone on to other windows.
    pub fn touched(&self) -> Option<Timestamp> {
        self.counter.has(&self.cells).then(|| self.counter.touched())
    }

    /// Whether the other one counts the same, even when it is another one in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.counter, &other.counter);
        self.window == other.window && one.key == two.key && one.identity() == two.identity()
    }
}

impl Deref for WindowCounter {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.cells
    }
}

/// What one window has counted.
#[derive(Debug)]
pub struct Cells {
    window: Window,
    units: [Cell; 3],
    /// Where the store keeps it, in words of the store; 0 while nobody has said so.
    place: AtomicU64,
    // There is a window for each tenant and budget, and most of them need none of this.
    more: OnceLock<Box<More>>,
}

/// What a window needs of which something is leased, or in which a step was reached.
#[derive(Debug)]
struct More {
    /// What hard budgets may still hold of each unit without asking the store.
    leases: [Lease; 3],
    /// When the `decide` step was first reached, in microseconds.
    decide_opened: AtomicI64,
    /// A bit for each step that has been announced in this window.
    announced: AtomicU8,
}

impl Cells {
    pub(super) fn new(window: Window) -> Self {
        Self { window, units: Default::default(), place: AtomicU64::default(), more: OnceLock::new() }
    }

    /// The window that is counted.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Where the store keeps it, as it said last; 0 if it never did.
    pub fn place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    /// The store keeps it there. Kept here, so that a store needs no map of a hundred thousand counters.
    pub fn keep_place(&self, place: u64) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// The cell of a unit.
    pub fn cell(&self, unit: Unit) -> &Cell {
        &self.units[unit.index()]
    }

    /// The lease of a unit.
    pub fn lease(&self, unit: Unit) -> &Lease {
        &self.more().leases[unit.index()]
    }

    fn more(&self) -> &More {
        self.more.get_or_init(|| {
            let (decide_opened, announced) = (AtomicI64::new(NOT_OPENED), AtomicU8::new(0));
            Box::new(More { leases: Default::default(), decide_opened, announced })
        })
    }

    /// Marks steps as announced and returns those that were not: for each step exactly one caller in a window sees its bit.
    pub fn announce(&self, steps: u8) -> u8 {
        // `Relaxed`: the bits order nothing but themselves. Reading first keeps the line shared when nothing is new.
        if steps & !self.announced() == 0 {
            return 0;
        }
        steps & !self.more().announced.fetch_or(steps, Ordering::Relaxed)
    }

    /// The steps that have been announced.
    pub fn announced(&self) -> u8 {
        self.more.get().map_or(0, |more| more.announced.load(Ordering::Relaxed))
    }

    /// Opens the decision of this window unless it is open, and returns when it was opened.
    pub fn open_decision(&self, now: Timestamp) -> Timestamp {
        let opened = &self.more().decide_opened;
        match opened.compare_exchange(NOT_OPENED, now.micros(), Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(earlier) => Timestamp::from_micros(earlier),
        }
    }

    /// When the decision of this window was opened.
    pub fn decide_opened(&self) -> Option<Timestamp> {
        let micros = self.more.get()?.decide_opened.load(Ordering::Relaxed);
        (micros != NOT_OPENED).then(|| Timestamp::from_micros(micros))
    }
}

/// The windows of one counter: the present one, or buckets.
#[derive(Debug)]
pub struct Counter {
    // All counters of a budget share its identity. A handle to that is half as long as the identity itself.
    identity: Arc<Arc<str>>,
    key: Arc<str>,
    current: ArcSwapOption<Cells>,
    /// Of rings, which have no current window.
    pub(super) buckets: ArcSwap<Chain>,
    /// The latest moment it was asked for, in microseconds; coarse.
    touched: AtomicI64,
}

impl Default for Counter {
    fn default() -> Self {
        Self::named(CounterName::default())
    }
}

impl Keyed for Counter {
    fn key(&self) -> &str {
        &self.key
    }
}

/// How precisely `touched` is kept: a store per call would make every core fight for the line.
const TOUCH_MICROS: i64 = 1_000_000;

impl Counter {
    /// A counter that has counted nothing.
    pub fn new(identity: Arc<Arc<str>>, key: Arc<str>) -> Self {
        let (current, buckets) = (ArcSwapOption::empty(), Chain::empty());
        Self { identity, key, current, buckets, touched: AtomicI64::default() }
    }

    /// The same, under a name that it shares with no other.
    pub fn named(CounterName { identity, key }: CounterName) -> Self {
        Self::new(Arc::new(identity), key)
    }

    /// What is counted: the budget's identity.
    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// The values of its `per` dimensions.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Which counter it is.
    pub fn name(&self) -> CounterName {
        CounterName { identity: Arc::clone(self.identity()), key: Arc::clone(&self.key) }
    }

    /// The counter of the window that holds `now`; `make` says which one that is when the present one does not.
    ///
    /// However many callers race, one window follows the other exactly once. When the clock jumps back, the newer window
    /// stays: what it has counted is not forgotten.
    pub fn window(self: &Arc<Self>, now: Timestamp, make: impl FnOnce() -> Window) -> WindowCounter {
        self.touch(now);
        if let Some(current) = self.current.load().as_ref().filter(|current| now < current.window.end) {
            return WindowCounter::of(self, current);
        }
        let next = Arc::new(Cells::new(make()));
        // Whoever was faster, or is later, has the window.
        let kept = |current: &Option<Arc<Cells>>| {
            current.as_ref().filter(|current| next.window.start <= current.window.start).map(Arc::clone)
        };
        let before = self.current.rcu(|current| kept(current).or_else(|| Some(Arc::clone(&next))));
        WindowCounter::of(self, &kept(&before).unwrap_or(next))
    }

    /// A window of this counter that is not among its windows.
    pub fn at(self: &Arc<Self>, window: Window) -> WindowCounter {
        WindowCounter { counter: Arc::clone(self), cells: Arc::new(Cells::new(window)) }
    }

    /// Whether these are the cells of one of its windows.
    fn has(&self, cells: &Arc<Cells>) -> bool {
        let current = self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, cells));
        current || self.buckets.load().has(cells)
    }

    /// The present window, or the latest bucket, if anything was ever counted.
    pub fn present(self: &Arc<Self>) -> Option<WindowCounter> {
        let cells = self.current.load_full().or_else(|| self.buckets.load().latest());
        cells.map(|cells| WindowCounter { counter: Arc::clone(self), cells })
    }

    /// The latest moment it was asked for, give or take a second.
    pub fn touched(&self) -> Timestamp {
        Timestamp::from_micros(self.touched.load(Ordering::Relaxed))
    }

    pub(super) fn touch(&self, now: Timestamp) {
        if now.micros().saturating_sub(self.touched.load(Ordering::Relaxed)) >= TOUCH_MICROS {
            self.touched.store(now.micros(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn minute(now: Timestamp) -> Window {
        let start = now.seconds().div_euclid(60) * 60;
        Window { start: at(start), end: at(start + 60) }
    }

    #[test]
    fn little_is_kept_of_a_counter() {
        // There are two of each for each of a hundred thousand tenants. With an `Arc`'s counts, these fill blocks of 64 and 112 bytes.
        assert_eq!((size_of::<Counter>(), size_of::<Cells>()), (48, 88));
    }

    #[test]
    fn a_window_is_kept_until_it_ends() {
        let counter = Arc::new(Counter::default());
        let first = counter.window(at(60), || minute(at(60)));
        assert!(first.is(&counter.window(at(119), || unreachable!("the window has not ended"))));
        let second = counter.window(at(120), || minute(at(120)));
        assert!(!first.is(&second));
        assert_eq!(second.window(), minute(at(120)));
    }

    #[test]
    fn a_clock_that_jumps_back_keeps_the_newer_window() {
        let counter = Arc::new(Counter::default());
        let newer = counter.window(at(600), || minute(at(600)));
        newer.cell(Unit::Money).post(5);
        for now in [at(599), at(0), at(-5)] {
            assert!(newer.is(&counter.window(now, || minute(now))));
        }
    }

    #[test]
    fn a_late_settlement_lands_in_its_own_window() {
        let counter = Arc::new(Counter::default());
        let old = counter.window(at(0), || minute(at(0)));
        old.cell(Unit::Money).try_hold(10, 10).unwrap();
        let new = counter.window(at(60), || minute(at(60)));
        old.cell(Unit::Money).settle(10, 10);
        assert_eq!((old.cell(Unit::Money).used(), new.cell(Unit::Money).used()), (10, 0));
    }

    #[test]
    fn racers_roll_a_window_over_once() {
        let counter = Arc::new(Counter::default());
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for second in 0..300 {
                        let now = at(second * 60);
                        barrier.wait();
                        counter.window(now, || minute(now)).cell(Unit::Requests).post(1);
                        barrier.wait();
                        // Every racer found the same window, or a post would be missing here.
                        let window = counter.window(now, || minute(now));
                        assert_eq!(window.cell(Unit::Requests).used(), 8);
                        barrier.wait();
                    }
                });
            }
        });
    }

    #[test]
    fn each_step_is_announced_once() {
        let window = WindowCounter::new(Window::EVER);
        assert_eq!(window.announce(0b011), 0b011);
        assert_eq!(window.announce(0b011), 0);
        assert_eq!(window.announce(0b111), 0b100);
        let winners = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| winners.fetch_add(window.announce(0b1000).count_ones() as usize, Ordering::SeqCst));
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }

    #[test]
    fn a_decision_opens_once() {
        let window = WindowCounter::new(Window::EVER);
        assert_eq!(window.decide_opened(), None);
        assert_eq!(window.open_decision(at(5)), at(5));
        assert_eq!(window.open_decision(at(9)), at(5));
        assert_eq!(window.decide_opened(), Some(at(5)));
    }
}
