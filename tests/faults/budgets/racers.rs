//! Many at once: C1, C2, C9, C13.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use http::{Request, StatusCode};
use http_body_util::Full;
use plimsoll::domain::clock::{SystemClock, Timestamp};
use plimsoll::domain::standing::Unit;
use plimsoll::domain::window::Window;
use plimsoll::meter::Meter;
use plimsoll::meter::counter::WindowCounter;
use plimsoll::meter::reservation::{Ask, reserve};
use serde_json::json;
use tokio::task::JoinSet;

use super::{CHAT, Log, ask, hard, reason, three_figures, used};
use crate::harness::{KEY, Reply, Rig, Setup};

const RACERS: usize = 1_000;

/// `long` when `PLIMSOLL_LONG` is set, else few enough for every run of the checks.
fn many(usual: usize, long: usize) -> usize {
    if std::env::var_os("PLIMSOLL_LONG").is_some() { long } else { usual }
}

/// A counter of which the store has leased plenty: the ceiling decides.
fn leased() -> WindowCounter {
    let counter = WindowCounter::new(Window::EVER);
    counter.lease(Unit::Money).grant(1 << 50, 0);
    counter
}

// Mutation: `Cell::try_hold` loads and stores instead of comparing and swapping.
#[test]
fn c1_a_thousand_racers_never_get_an_eleventh_hold_of_ten() {
    const THREADS: usize = 8;
    for round in 0..many(200, 2_000) {
        let (counter, start, won) = (leased(), Barrier::new(THREADS), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..RACERS / THREADS {
                        let Ok(reservation) = reserve(&[Ask::hold(&counter, Unit::Money, 7, 76)]) else { continue };
                        // A call that ends at what it held makes no room.
                        won.fetch_add(1, Ordering::Relaxed);
                        reservation.settle([7, 0, 0]);
                    }
                });
            }
        });
        assert_eq!(won.into_inner(), 10, "round {round}");
        assert_eq!((counter.cell(Unit::Money).used(), counter.cell(Unit::Money).committed()), (70, 70));
    }
}

// Mutation: `Hold::take` in `gateway/admit.rs` asks with a ceiling of twice `ceiling.at`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_thousand_racers_over_sockets_never_get_an_eleventh_call_of_ten() {
    // A call holds a little more than one cent.
    let config = "limits: { streams_per_tenant: 2000 }\n";
    let rig = Arc::new(Rig::start(Setup { policy: Some(&hard("$0.105/month")), config, ..Setup::default() }).await);
    let mut log = Log::default();
    for round in 0..many(2, 200) {
        let tenant = format!("tenant-{round}");
        let mut racers = JoinSet::new();
        for _ in 0..RACERS {
            let (rig, tenant) = (Arc::clone(&rig), tenant.clone());
            racers.spawn(async move { rig.chat(&tenant, "a", &ask(1_000, "[[delay=20]]")).await });
        }
        let replies = racers.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == StatusCode::OK);
        for reply in &won {
            log.reply(reply);
        }
        assert_eq!(won.len(), 10, "round {round}");
        for reply in lost {
            let why = reason(reply);
            assert!(reply.status == StatusCode::TOO_MANY_REQUESTS && why.starts_with("budget_"), "{why}");
        }
        assert!(used(&rig, &tenant, "all").await <= 105_000_000);
    }
    three_figures(&rig, &log).await;
}

/// A call of a user in a feature.
async fn call_of(rig: &Rig, tenant: &str, user: &str, tag: &str) -> Reply {
    let request = Request::post(CHAT).header("authorization", format!("Bearer {KEY}"));
    let request = request.header("plimsoll-tenant-id", tenant).header("plimsoll-endpoint-tag", tag);
    let request = request.header("plimsoll-user-id", user);
    rig.send(request.body(Full::from(ask(5, "").to_string())).expect("a request")).await
}

/// At most three requests a day of whatever `per` names.
fn three_a_day(per: &str) -> String {
    format!(
        "version: 1\nmode: enforce\nbudgets:\n  few: {{ per: [{per}], limit: 3 requests/day, escalation: \
         {{ contain: {{ at: 100%, block: all }} }} }}\n"
    )
}

// Mutation: `Account::counter` returns `None` for a key that it does not remember yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn c2_a_budget_holds_from_the_first_calls_of_an_unknown_user_or_feature_on() {
    for per in ["tenantId, userId", "userId", "endpointTag", "tenantId, endpointTag, userId"] {
        let rig = Arc::new(Rig::start(Setup { policy: Some(&three_a_day(per)), ..Setup::default() }).await);
        let mut racers = JoinSet::new();
        for _ in 0..50 {
            let rig = Arc::clone(&rig);
            racers.spawn(async move { call_of(&rig, "never-seen", "nobody-knows", "never.heard").await });
        }
        let mut log = Log::default();
        let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
        for reply in racers.join_all().await {
            *outcomes.entry(reply.status.as_u16()).or_default() += 1;
            if reply.status == StatusCode::OK {
                log.reply(&reply);
            }
        }
        assert_eq!(outcomes, BTreeMap::from([(200, 3), (429, 47)]), "per: [{per}]");
        log.reply(&call_of(&rig, "never-seen-2", "somebody-else", "another").await);
        three_figures(&rig, &log).await;
    }
}

// Mutation: `Line::release` does nothing.
#[test]
fn c9_a_million_calls_that_the_team_refuses_leave_nothing_on_key_and_organisation() {
    const THREADS: usize = 4;
    let (key, team, organisation) = (leased(), leased(), leased());
    team.cell(Unit::Money).post(96);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let asks = [
                    Ask::hold(&key, Unit::Money, 5, 1_000),
                    Ask::hold(&team, Unit::Money, 5, 100),
                    Ask::hold(&organisation, Unit::Money, 5, 1_000),
                ];
                for _ in 0..1_000_000 / THREADS {
                    assert_eq!(reserve(&asks).expect_err("the team is full").ask, 1);
                }
            });
        }
    });
    for (counter, posted) in [(&key, 0), (&team, 96), (&organisation, 0)] {
        let cell = counter.cell(Unit::Money);
        assert_eq!((cell.used(), cell.committed()), (posted, posted));
        assert_eq!(counter.lease(Unit::Money).free(), 1 << 50, "the lease is whole again");
    }
    // The organisation's and the key's room is all there, and so are the last 4 of the team.
    let rest =
        reserve(&[Ask::hold(&key, Unit::Money, 1_000, 1_000), Ask::hold(&organisation, Unit::Money, 1_000, 1_000)]);
    rest.expect("room").settle([1_000, 0, 0]);
    reserve(&[Ask::hold(&team, Unit::Money, 4, 100)]).expect("room").settle([4, 0, 0]);
}

/// Resident memory in bytes, where the system tells it.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse::<usize>().ok().map(|pages| pages * 4_096)
}

// Mutation: `Meter::forget_idle` ignores `strong_count`, or keeps everything.
#[test]
fn c13_a_counter_per_key_of_every_tenant_fits_into_memory_and_only_idle_ones_are_forgotten() {
    let (meter, before, tenants) = (Meter::default(), resident(), many(20_000, 100_000));
    let keyed: Arc<str> = Arc::from("tenant_key_day");
    for tenant in 0..tenants {
        for key in 0..10 {
            let counter = meter.counter(&keyed, format!("tenant-{tenant}\u{1f}key-{key}"));
            counter.window(Timestamp::from_seconds(if tenant % 2 == 0 { 0 } else { 1_000 }), || Window::EVER);
        }
    }
    assert_eq!(meter.len(), tenants * 10);
    if let Some((before, after)) = before.zip(resident()) {
        let each = after.saturating_sub(before) / meter.len();
        assert!(each < 1_024, "{each} bytes for a counter");
    }
    let held = meter.find(&keyed, "tenant-2\u{1f}key-0").expect("a counter");
    let window = held.present().expect("a window");
    window.lease(Unit::Money).grant(10, 0);
    let reservation = reserve(&[Ask::hold(&window, Unit::Money, 10, 10)]).expect("room");
    // Half were asked for lately; of the others one has a call in flight.
    meter.forget_idle(|_| Some(Timestamp::from_seconds(500)));
    assert_eq!(meter.len(), tenants * 5 + 1);
    reservation.settle([9, 0, 0]);
    let same = meter.find(&keyed, "tenant-2\u{1f}key-0").and_then(|counter| counter.present()).expect("kept");
    assert_eq!(same.cell(Unit::Money).used(), 9);
}

// Mutation: `Account::takes` says yes to every user; or the dropped id stays in the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c13_users_beyond_the_limit_are_dropped_with_a_warning_and_row_and_counter_stay_equal() {
    let config = "limits: { users_per_tenant: 4 }\n";
    let policy = three_a_day("tenantId, userId");
    let rig = Rig::start(Setup { policy: Some(&policy), config, ..Setup::default() }).await;
    let mut log = Log::default();
    for user in ["a", "b", "c", "d", "a"] {
        let reply = call_of(&rig, "hostile", user, "x").await;
        assert_eq!(reply.header("plimsoll-warning"), "");
        log.reply(&reply);
    }
    for user in ["e", "f", "g"] {
        let reply = call_of(&rig, "hostile", user, "x").await;
        assert!(reply.header("plimsoll-warning").contains("too many users today"), "{:?}", reply.headers);
        log.reply(&reply);
        let rows = rig.rows(reply.header("plimsoll-request-id")).await;
        assert_eq!(rows[0]["userId"], json!("_invalid"), "{}", rows[0]);
    }
    // They share one counter, which is full, and so it is after a restart, when counters come from the rows.
    assert_eq!(reason(&call_of(&rig, "hostile", "h", "x").await), "budget_blocked");
    let other = call_of(&rig, "honest", "h", "x").await;
    assert_eq!(other.header("plimsoll-warning"), "", "another tenant's users are its own");
    log.reply(&other);
    let metrics = rig.admin("/metrics").await.text();
    assert!(metrics.contains("plimsoll_attribution_invalid_total{dimension=\"user-id\"} 4"), "{metrics}");
    three_figures(&rig, &log).await;
    let rig = rig.restart(Arc::new(SystemClock)).await;
    for user in ["a", "b", "c", "d"] {
        log.reply(&call_of(&rig, "hostile", user, "x").await);
    }
    assert_eq!(reason(&call_of(&rig, "hostile", "i", "x").await), "budget_blocked");
    three_figures(&rig, &log).await;
    rig.stop().await;
}
