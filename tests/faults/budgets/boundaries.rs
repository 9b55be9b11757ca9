//! The clock: C6, C7, C12.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use plimsoll::domain::standing::Unit;
use plimsoll::domain::window::{Period, Window, calendar_window};
use plimsoll::meter::Meter;
use plimsoll::meter::counter::{Counter, WindowCounter};
use plimsoll::meter::reservation::{Ask, reserve};
use plimsoll::sim::Script;
use proptest::prelude::*;

use super::{Log, apply, ask, hard, reason, standing, three_figures, under_way, under_way_of, used};
use crate::harness::{Rig, Setup};

fn at(text: &str) -> Timestamp {
    Timestamp::from_jiff(text.parse().expect("a moment"))
}

/// A gateway before a provider that talks slowly, on a clock that stands still.
async fn slowly(policy: &str, clock: &Arc<ManualClock>, per_token: u64) -> Rig {
    let script = Script { token_delay: Duration::from_millis(per_token), ..Script::default() };
    Rig::start(Setup { policy: Some(policy), script, clock: Arc::clone(clock) as Arc<dyn Clock>, ..Setup::default() })
        .await
}

// Mutation: `Chain::holds` always says yes, so that a window never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_a_hundred_streams_over_midnight_count_on_the_day_that_admitted_them() {
    let clock = Arc::new(ManualClock::at(at("2026-11-10T23:59:50Z")));
    // A hundred streams hold 51 of 60 cents; another call of 16 cents fits only a day without them.
    let rig = slowly(&hard("$0.6/day"), &clock, 6).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(under_way(&rig, "globex", 500).await);
    }
    let large = ask(16_000, "[[tokens=60]]");
    let refused = rig.chat("globex", "a", &large).await;
    assert_eq!((refused.status, reason(&refused).as_str()), (StatusCode::TOO_MANY_REQUESTS, "budget_reserved"));

    clock.set(at("2026-11-11T00:00:01Z"));
    let mut log = Log::default();
    let fits = rig.chat("globex", "a", &large).await;
    log.reply(&fits);
    let today = log.nano();
    assert_eq!(used(&rig, "globex", "all").await, today, "the new day began full");
    let mut ids = Vec::new();
    for stream in streams {
        ids.push(log.finish(stream).await);
    }
    for id in &ids {
        let rows = rig.rows(id).await;
        assert!(rows[0]["admitted_at"].to_string().contains("2026-11-10"), "{}", rows[0]);
    }
    assert_eq!(used(&rig, "globex", "all").await, today, "yesterday's streams count today");
    // What was released yesterday gives no credit today: three times 16 cents fit beside what was spent, and no fourth.
    let mut today = Vec::new();
    for _ in 0..3 {
        today.push(under_way_of(&rig, "globex", &ask(16_000, "[[tokens=400]]")).await);
    }
    assert_eq!(reason(&rig.chat("globex", "a", &large).await), "budget_reserved");
    for stream in today {
        log.finish(stream).await;
    }
    three_figures(&rig, &log).await;
    let yesterday = rig.admin("/api/v1/spend?since=2026-11-10T00:00:00Z&until=2026-11-11T00:00:00Z").await.json();
    assert_eq!(yesterday["rows"][0]["attempts"], 100, "{yesterday}");
    rig.stop().await;
}

/// Moments around two changes of the clocks, in hours, and how far each jumps from there.
fn jumps() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(prop_oneof![-3_700_i64..3_700, Just(-3_600), Just(3_600), Just(1), Just(-1)], 1..120)
}

proptest! {
    // Mutation: both guards at once, as each covers for the other: `Chain::holds` asks that the window contains `now`, and
    // `roll_over` lets an older window follow a newer one.
    #[test]
    fn c7_a_clock_that_jumps_never_brings_an_old_window_back(
        start in prop_oneof![Just("2026-03-28T22:00:00Z"), Just("2026-10-24T21:00:00Z"), Just("2026-12-31T22:30:00Z")],
        period in prop_oneof![Just(Period::Minute), Just(Period::Hour), Just(Period::Day), Just(Period::Month)],
        zone in prop_oneof![Just("Europe/Berlin"), Just("America/Santiago"), Just("Australia/Lord_Howe")],
        jumps in jumps(),
    ) {
        let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
        let (counter, mut now) = (Arc::new(Counter::default()), at(start));
        let (mut windows, mut posted) = (Vec::<WindowCounter>::new(), 0);
        let mut open = Vec::new();
        for jump in jumps {
            now = Timestamp::from_seconds(now.seconds() + jump);
            let window = counter.window(now, || calendar_window(period, &zone, now));
            prop_assert!(window.window().contains(now) || now < window.window().start, "{now} is past its window");
            if let Some(before) = windows.last() {
                prop_assert!(window.window().start >= before.window().start, "a window came back");
                let same = window.window() == before.window();
                prop_assert_eq!(window.is(before), same, "a window began twice");
            }
            window.lease(Unit::Money).grant(3, 0);
            open.push(reserve(&[Ask::hold(&window, Unit::Money, 3, i64::MAX)]).expect("room"));
            if open.len() > 2 {
                open.remove(0).settle([2, 0, 0]);
                posted += 2;
            }
            windows.push(window);
        }
        drop(open);
        windows.dedup_by(|one, other| one.is(other));
        let sum: i64 = windows.iter().map(|window| window.cell(Unit::Money).committed()).sum();
        prop_assert_eq!(sum, posted, "every call is in the window that admitted it, once");
    }
}

// Mutation: `duration_us` is taken from the wall clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_over_the_wire_a_clock_that_jumps_neither_refunds_nor_changes_how_long_a_call_took() {
    let clock = Arc::new(ManualClock::at(at("2026-10-25T00:30:00Z")));
    let policy = format!("{}timezone: Europe/Berlin\n", hard("$1/hour"));
    let rig = slowly(&policy, &clock, 25).await;
    let mut log = Log::default();
    let mut counted = 0;
    // The hour from two to three comes twice that night; the clock also goes back and forth by an hour in between.
    for (step, moment) in
        ["00:30:00", "00:59:59", "00:01:00", "00:59:59", "01:00:00", "00:10:00", "01:59:59"].into_iter().enumerate()
    {
        let stream = under_way(&rig, "globex", 4).await;
        let opened_in_second_hour = step > 4;
        clock.set(at(&format!("2026-10-25T{moment}Z")));
        let before = log.nano();
        let id = log.finish(stream).await;
        let row = rig.rows(&id).await.remove(0);
        let took = row["duration_us"].as_u64().expect("a number");
        assert!((1_000..20_000_000).contains(&took), "{row}");
        counted = if opened_in_second_hour { counted } else { 0 } + log.nano() - before;
        if opened_in_second_hour || step < 4 {
            continue;
        }
        // The second hour began: nothing of the first is in it.
        assert_eq!(used(&rig, "globex", "all").await, 0);
        counted = 0;
    }
    assert_eq!(used(&rig, "globex", "all").await, counted, "the jump back to the first hour opened no window again");
    three_figures(&rig, &log).await;
    rig.stop().await;
}

// Mutation: `take_up` in `control/past.rs` restores every window that has not ended, and not only the present one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_restart_after_the_clock_stood_ahead_counts_today_and_nothing_of_tomorrow() {
    let today = at("2026-11-10T12:00:00Z");
    let clock = Arc::new(ManualClock::at(today));
    let rig = slowly(&hard("$1/day"), &clock, 1).await;
    let mut log = Log::default();
    log.reply(&rig.chat("globex", "a", &ask(10, "")).await);
    let spent_today = log.nano();
    clock.set(at("2026-11-11T12:00:00Z"));
    log.reply(&rig.chat("globex", "a", &ask(30, "")).await);
    three_figures(&rig, &log).await;
    clock.set(today);
    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let before = log.nano();
    log.reply(&rig.chat("globex", "a", &ask(10, "")).await);
    assert_eq!(used(&rig, "globex", "all").await, spent_today + log.nano() - before);
    three_figures(&rig, &log).await;
    rig.stop().await;
}

// Mutation: `Meter::counter` gives a retired counter back to a budget that returns.
#[test]
fn c12_a_late_settlement_on_a_retired_counter_credits_nothing_twice() {
    let (meter, identity) = (Meter::default(), Arc::<str>::from("budget"));
    let hour = |from: i64| Window { start: Timestamp::from_seconds(from), end: Timestamp::from_seconds(from + 3_600) };
    let counter = |now: i64| meter.counter(&identity, "globex").window(Timestamp::from_seconds(now), || hour(now));
    let money = |window: &WindowCounter| {
        let cell = window.cell(Unit::Money);
        (cell.used(), cell.committed())
    };
    let first = counter(0);
    first.lease(Unit::Money).grant(100, 0);
    let hold = || reserve(&[Ask::hold(&first, Unit::Money, 30, 100)]).expect("room");
    let (late, doubtful, dropped) = (hold(), hold(), hold());
    // The window ends, the budget is deleted, and comes back filled from what the ledger holds so far: nothing.
    let second = counter(3_600);
    meter.retain(|_| false);
    let third = counter(3_600);
    assert!(!second.is(&third));
    late.settle([20, 0, 0]);
    doubtful.settle([30, 0, 0]);
    drop(dropped);
    assert_eq!(money(&first), (50, 50), "where they were admitted");
    assert_eq!((money(&second), money(&third)), ((0, 0), (0, 0)), "and nowhere else");
    first.cell(Unit::Money).post(25 - 30);
    assert_eq!(money(&first), (45, 45));
}

// Mutation: `Snapshot::counters` does not ask whether the window holds the call's moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c12_a_stream_over_midnight_and_over_its_budgets_return_is_counted_once() {
    let clock = Arc::new(ManualClock::at(at("2026-11-10T23:59:50Z")));
    let (with, without) = (hard("$1/day"), hard("$1/day").replace("all:", "other:").replace("tenantId", "endpointTag"));
    let rig = slowly(&with, &clock, 20).await;
    let mut log = Log::default();
    let over_both = under_way(&rig, "globex", 120).await;
    let over_midnight = under_way(&rig, "globex", 60).await;
    apply(&rig, &without).await;
    assert!(standing(&rig, "globex", "all").await.is_none());
    clock.set(at("2026-11-11T00:00:01Z"));
    apply(&rig, &with).await;
    log.reply(&rig.chat("globex", "a", &ask(10, "")).await);
    let today = log.nano();
    assert_eq!(used(&rig, "globex", "all").await, today);
    log.finish(over_midnight).await;
    log.finish(over_both).await;
    assert_eq!(used(&rig, "globex", "all").await, today, "both were admitted yesterday");
    three_figures(&rig, &log).await;
    rig.stop().await;
}
