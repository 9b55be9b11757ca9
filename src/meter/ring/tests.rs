//! Buckets: what counts, what leaves, and that nothing is counted twice.

use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::window::{Span, WORKFLOW_IDLE_DAYS};

const HOUR: Span = Span::Rolling(Duration::from_hours(1));
const DAY: i64 = 86_400;

fn ring(span: Span) -> Ring {
    span.ring().expect("a span that is counted in buckets")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_795_000_020 + seconds)
}

fn post(counter: &Arc<Counter>, now: Timestamp, span: Span, amount: i64) {
    counter.bucket(now, ring(span)).cell(Unit::Money).post(amount);
}

fn used(counter: &Counter, now: Timestamp, span: Span) -> i64 {
    counter.ring_standing(now, ring(span), (Unit::Money, 100)).0
}

// Mutations: buckets that end at `since` count; nothing is left out; `find` looks at the present bucket only.
#[test]
fn what_was_used_leaves_bucket_by_bucket() {
    let counter = Arc::new(Counter::default());
    post(&counter, at(0), HOUR, 70);
    post(&counter, at(1_800), HOUR, 20);
    assert_eq!(used(&counter, at(3_599), HOUR), 90);
    // The bucket of a minute counts until its last moment is an hour old: rather early than late.
    assert_eq!(used(&counter, at(3_659), HOUR), 90);
    assert_eq!(used(&counter, at(3_660), HOUR), 20);
    assert_eq!(used(&counter, at(5_460), HOUR), 0);
}

#[test]
fn it_resets_when_so_much_has_left_that_the_limit_is_not_reached() {
    let counter = Arc::new(Counter::default());
    let end =
        |limit| counter.ring_standing(at(600), ring(HOUR), (Unit::Money, limit)).1.end.seconds() - at(0).seconds();
    post(&counter, at(0), HOUR, 10);
    post(&counter, at(120), HOUR, 60);
    post(&counter, at(300), HOUR, 40);
    assert_eq!(end(200), 3_660, "nothing is reached: the oldest bucket is named");
    assert_eq!(end(101), 3_660, "ten less are enough");
    assert_eq!(end(100), 3_780);
    assert_eq!(end(40), 3_960);
    assert_eq!(end(0), 4_260, "nothing ever is enough: the present bucket");
}

#[test]
fn a_call_that_ends_late_posts_to_its_own_bucket() {
    let counter = Arc::new(Counter::default());
    let old = counter.bucket(at(0), ring(HOUR));
    post(&counter, at(1_800), HOUR, 5);
    old.cell(Unit::Money).post(7);
    assert_eq!(used(&counter, at(1_801), HOUR), 12);
    assert_eq!(used(&counter, at(3_660), HOUR), 5);
    // A later policy finds the same bucket while it counts, and after that one that no sum knows.
    assert!(old.is(&counter.bucket_of(at(3), ring(HOUR))));
    post(&counter, at(9_000), HOUR, 1);
    let gone = counter.bucket_of(at(3), ring(HOUR));
    gone.cell(Unit::Money).post(100);
    assert_eq!((gone.window(), used(&counter, at(9_000), HOUR)), (old.window(), 1));
}

#[test]
fn a_clock_that_jumps_back_forgets_nothing() {
    let counter = Arc::new(Counter::default());
    post(&counter, at(7_200), HOUR, 3);
    post(&counter, at(600), HOUR, 4);
    assert_eq!(counter.bucket(at(600), ring(HOUR)).window(), ring(HOUR).bucket(at(600)));
    assert_eq!(used(&counter, at(600), HOUR), 7);
    assert_eq!(used(&counter, at(7_200), HOUR), 3);
}

#[test]
fn a_workflow_keeps_everything_until_it_was_idle_for_a_week() {
    let counter = Arc::new(Counter::default());
    for day in 0..20 {
        post(&counter, at(day * DAY), Span::Workflow, 1);
        assert_eq!(used(&counter, at(day * DAY), Span::Workflow), day + 1);
    }
    let (_, window) = counter.ring_standing(at(19 * DAY), ring(Span::Workflow), (Unit::Money, 5));
    assert_eq!((window.resets_at(), window.has_length()), (None, false));
    let last = 19 + WORKFLOW_IDLE_DAYS;
    assert_eq!(used(&counter, at(last * DAY), Span::Workflow), 20);
    assert_eq!(used(&counter, at((last + 1) * DAY), Span::Workflow), 0);
    post(&counter, at((last + 1) * DAY), Span::Workflow, 1);
    assert_eq!(used(&counter, at((last + 1) * DAY), Span::Workflow), 1);
}

// Mutation: a bucket in which nothing was counted keeps a workflow in use.
#[test]
fn refusals_do_not_keep_a_workflow_in_use() {
    let counter = Arc::new(Counter::default());
    post(&counter, at(0), Span::Workflow, 100);
    for day in 1..=WORKFLOW_IDLE_DAYS {
        counter.bucket(at(day * DAY), ring(Span::Workflow));
        assert_eq!(used(&counter, at(day * DAY), Span::Workflow), 100);
    }
    assert_eq!(used(&counter, at((WORKFLOW_IDLE_DAYS + 1) * DAY), Span::Workflow), 0);
}

#[test]
fn a_step_is_told_of_once_in_the_time_that_counts() {
    let counter = Arc::new(Counter::default());
    let tell = |seconds, steps| counter.announce_again(steps, at(seconds), ring(HOUR));
    assert_eq!(tell(0, 0b01), 0b01);
    assert_eq!(tell(60, 0b11), 0b10);
    assert_eq!(counter.announced_within(at(3_599), ring(HOUR)), 0b11);
    assert_eq!(tell(3_599, 0b11), 0);
    assert_eq!(tell(3_600, 0b11), 0b01);
    counter.was_announced(0b100, at(3_600));
    assert_eq!(tell(3_601, 0b100), 0);
    let workflow = |days: i64| counter.announce_again(0b11, at(days * DAY), ring(Span::Workflow));
    assert_eq!(workflow(400), 0, "where nothing leaves, nothing is told twice");
}

#[test]
fn racers_find_one_bucket_and_one_of_them_tells() {
    let counter = Arc::new(Counter::default());
    let (barrier, told) = (Barrier::new(8), AtomicI64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for minute in 0..200 {
                    barrier.wait();
                    post(&counter, at(minute * 60), HOUR, 1);
                    barrier.wait();
                    assert_eq!(used(&counter, at(minute * 60), HOUR), 8 * (minute + 1).min(61));
                    told.fetch_add(counter.announce_again(1, at(minute * 60), ring(HOUR)).into(), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(told.into_inner(), 4, "once an hour in 200 minutes");
}

// Mutation: whoever comes second adds a bucket all the same.
#[test]
fn who_comes_second_takes_the_bucket_of_who_came_first() {
    let (counter, window) = (Arc::new(Counter::default()), ring(HOUR).bucket(at(0)));
    let first = counter.insert(window, ring(HOUR), at(0));
    assert!(first.is(&counter.insert(window, ring(HOUR), at(0))));
    assert_eq!(counter.buckets.load().buckets.len(), 1);
}

proptest! {
    /// Against a list of everything that was ever posted.
    #[test]
    fn a_ring_is_the_sum_of_what_was_posted_in_its_time(
        posts in prop::collection::vec((0_i64..400, 1_i64..100), 1..120), minutes in 1_u64..300,
    ) {
        let (counter, span) = (Arc::new(Counter::default()), Span::Rolling(Duration::from_mins(minutes)));
        let (mut now, mut all) = (at(0), Vec::new());
        for (passed, amount) in posts {
            now = now.after(Duration::from_secs(passed.unsigned_abs()));
            post(&counter, now, span, amount);
            all.push((now, amount));
            let since = ring(span).since(now);
            let counting = all.iter().filter(|(at, _)| ring(span).bucket(*at).end > since);
            prop_assert_eq!(used(&counter, now, span), counting.map(|(_, amount)| amount).sum::<i64>());
            prop_assert!(counter.buckets.load().buckets.len() <= 62);
        }
    }
}
