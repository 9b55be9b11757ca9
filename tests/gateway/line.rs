//! Calls that are too early for their rate and wait for their turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::Full;
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use serde_json::json;

use super::{CHAT, chat, eventually, post, reason, row, with};
use crate::harness::{Exchange, KEY, Reply, Rig, Setup};

/// Everything of a tenant at 30 requests a minute, which its first 30 calls use up; after that one each two seconds.
fn policy(queue: &str) -> String {
    format!(
        "version: 1
mode: enforce
budgets:
  slow:
    per: [tenantId]
    limit: $0/day
    escalation: {{ contain: {{ at: 100%, throttle: {{ all: 30 requests/min{queue} }} }} }}
  hard: {{ limit: $1000/day, escalation: {{ contain: {{ at: 100%, block: all }} }} }}
"
    )
}

async fn used_up(queue: &str) -> Rig {
    let rig = Rig::start(Setup { policy: Some(&policy(queue)), ..Setup::default() }).await;
    for _ in 0..30 {
        assert_eq!(rig.send(call()).await.status, StatusCode::OK);
    }
    rig
}

fn call() -> Request<Full<bytes::Bytes>> {
    with(post(CHAT), chat("[[tokens=1]] hello").to_string())
}

/// The gateway's share of a reply's time, in milliseconds.
fn ours(reply: &Reply) -> u64 {
    let timing = reply.header("server-timing").strip_prefix("plimsoll;dur=");
    timing.and_then(|text| text.split('.').next()?.parse().ok()).expect("a number")
}

async fn waiting(rig: &Rig, calls: usize) {
    let line = format!("plimsoll_throttle_waiting {calls}\n");
    eventually(&line, async || rig.admin("/metrics").await.text().contains(&line)).await;
}

// Mutations: newcomers overtake those in line; the queue is not asked about; a place in line is kept when its client leaves; the
// hold is kept while waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_burst_waits_in_its_order_and_who_leaves_makes_room() {
    let rig = used_up(", queue: 10 s").await;
    let began = Instant::now();
    let mut served = tokio::task::JoinSet::new();
    let address = rig.node.data_address();
    // Three come one after the other; the second one's client leaves while it waits.
    for name in 0..3 {
        let gone = name == 1;
        served.spawn(async move {
            let asking = Exchange::open(address, call());
            if gone {
                assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
                return (name, String::new(), Duration::ZERO);
            }
            let reply = asking.await;
            assert_eq!(reply.status, StatusCode::OK);
            (name, reply.header("plimsoll-decision"), began.elapsed())
        });
        waiting(&rig, name + 1).await;
    }
    waiting(&rig, 2).await;
    let mut done = served.join_all().await;
    done.sort_by_key(|(name, ..)| *name);
    let [(_, first, first_took), _, (_, last, last_took)] = done.as_slice() else { panic!("{done:?}") };
    for decision in [first, last] {
        assert!(
            decision.starts_with("throttle=\"queued ") && decision.ends_with(", step=contain, budget=\"slow\""),
            "{decision}"
        );
    }
    assert!(first_took < last_took, "{done:?}");
    assert!(*last_took < Duration::from_millis(5_700), "who left made room: {last_took:?}");
    waiting(&rig, 0).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_served_in_time_is_refused_at_once() {
    let rig = used_up(", queue: 5 s").await;
    let address = rig.node.data_address();
    let began = Instant::now();
    let mut burst = tokio::task::JoinSet::new();
    for _ in 0..8 {
        burst.spawn(async move {
            let reply = crate::harness::send(address, call()).await;
            (reply, began.elapsed())
        });
    }
    let replies = burst.join_all().await;
    let served = replies.iter().filter(|(reply, _)| reply.status == StatusCode::OK).count();
    assert!((2..=4).contains(&served), "{served} of 8");
    for (reply, took) in replies.iter().filter(|(reply, _)| reply.status != StatusCode::OK) {
        assert_eq!(reason(CHAT, reply).0, "throttled");
        assert!(reply.header("plimsoll-decision").contains("throttle=\"refused\""));
        assert!(!reply.header("retry-after").is_empty(), "{:?}", reply.headers);
        assert!(*took < Duration::from_millis(1_800), "{took:?}");
        row(&rig, reply.header("plimsoll-request-id")).await;
    }
    rig.stop().await;
}

// Mutation: a newcomer asks for the rate although somebody stands in line.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_newcomer_does_not_overtake_who_stands_first_though_the_rate_is_free() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_000_000)));
    let policy = policy(", queue: 10 s");
    let setup = Setup { policy: Some(&policy), clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() };
    let rig = Rig::start(setup).await;
    for _ in 0..30 {
        assert_eq!(rig.send(call()).await.status, StatusCode::OK);
    }
    let address = rig.node.data_address();
    let began = Instant::now();
    let first = tokio::spawn(crate::harness::send(address, call()));
    waiting(&rig, 1).await;
    // By the clock the rate is free for both; the first looks at it again when its two seconds have passed.
    clock.advance(Duration::from_secs(6));
    let second = rig.send(call()).await;
    assert_eq!((second.status, first.await.expect("a reply").status), (StatusCode::OK, StatusCode::OK));
    assert!(began.elapsed() > Duration::from_millis(1_900), "{:?}", began.elapsed());
    assert!(second.header("plimsoll-decision").contains("queued"), "{:?}", second.headers);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_queue_nobody_waits() {
    let rig = used_up("").await;
    let began = Instant::now();
    let reply = rig.send(call()).await;
    assert_eq!((reply.status, reason(CHAT, &reply).0.as_str()), (StatusCode::TOO_MANY_REQUESTS, "throttled"));
    assert!(began.elapsed() < Duration::from_millis(900));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_waits_has_not_left_and_its_row_says_that_it_waited() {
    let rig = used_up(", queue: 10 s").await;
    let address = rig.node.data_address();
    let mut waits = tokio::task::JoinSet::new();
    for calls in 1..=2 {
        waits.spawn(async move { crate::harness::send(address, call()).await });
        waiting(&rig, calls).await;
    }
    assert_eq!(rig.provider.requests().len(), 30);
    let replies = waits.join_all().await;
    assert!(replies.iter().all(|reply| reply.status == StatusCode::OK));
    assert!(ours(&replies[1]) < 1_500, "the line is no work of ours: {:?}", replies[1].headers);
    let found = row(&rig, replies[0].header("plimsoll-request-id")).await;
    assert!(found["decision"].as_str().is_some_and(|decision| decision.contains("queued")), "{found}");
    rig.stop().await;
}

// Mutation: the admission is kept while the call waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_in_line_leaves_the_money_of_a_hard_budget_to_others() {
    let policy = "version: 1
mode: enforce
endpoints: { digest: { critical: false } }
defaults: { on_no_fit: reject }
budgets:
  slow:
    per: [tenantId]
    limit: $0/day
    escalation: { contain: { at: 100%, throttle: { non_critical: 1 requests/min, queue: 60 s } } }
  hard: { limit: $0.03/day, escalation: { contain: { at: 100%, block: all } } }
";
    let rig = Rig::start(Setup { policy: Some(policy), ..Setup::default() }).await;
    let body = json!({ "model": "gpt-4o", "max_tokens": 900, "messages": [{ "role": "user", "content": "[[tokens=1]] hello" }] });
    let of = |tag: &str| with(post(CHAT).header("plimsoll-endpoint-tag", tag), body.to_string());
    assert_eq!(rig.send(of("digest")).await.status, StatusCode::OK);
    let address = rig.node.data_address();
    let mut line = tokio::task::JoinSet::new();
    let waits = of("digest");
    line.spawn(async move { crate::harness::send(address, waits).await });
    waiting(&rig, 1).await;
    // Each holds nearly a cent of three; were one held in line, there would be room for two.
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let mut slow = body.clone();
            slow["messages"][0]["content"] = json!("[[tokens=1]] [[delay=700]] hello");
            let request = with(post(CHAT).header("plimsoll-endpoint-tag", "checkout"), slow.to_string());
            tokio::spawn(crate::harness::send(address, request))
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("a reply").status, StatusCode::OK);
    }
    line.abort_all();
    waiting(&rig, 0).await;
    rig.stop().await;
}

// Mutations: the call is judged by the snapshot that it came with; the time in line is work of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_stood_in_line_is_judged_by_the_policy_of_its_turn_and_the_line_is_no_work_of_ours() {
    let rig = used_up(", queue: 10 s").await;
    let address = rig.node.data_address();
    let waits = tokio::spawn(crate::harness::send(address, call()));
    waiting(&rig, 1).await;
    let blocking = policy(", queue: 10 s").replace("throttle: { all: 30 requests/min, queue: 10 s }", "block: all");
    std::fs::write(rig.policy_file(), blocking).expect("a policy");
    eventually("the new policy", async || {
        rig.admin("/api/v1/policy").await.json()["revision"].as_str().is_some_and(|revision| revision.starts_with("r2"))
    })
    .await;
    waiting(&rig, 1).await;
    let reply = waits.await.expect("a reply");
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(reply.header("plimsoll-policy").starts_with("r2 "), "{:?}", reply.headers);
    assert!(reply.header("plimsoll-decision").contains("block"), "{:?}", reply.headers);
    assert!(ours(&reply) < 1_500, "{:?}", reply.headers);
    let row = row(&rig, reply.header("plimsoll-request-id")).await;
    assert!(row["policy"].as_str().is_some_and(|revision| revision.starts_with("r2 ")), "{row}");
    let (overhead, duration) = (row["overhead_us"].as_u64(), row["duration_us"].as_u64());
    assert!(overhead.is_some_and(|took| took < 1_500_000) && duration.is_some_and(|took| took > 1_500_000), "{row}");
    rig.stop().await;
}

// Mutation: who names no tenant is asked for one only when it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_names_no_tenant_is_turned_away_by_the_policy_of_its_turn() {
    let key = format!("Bearer {KEY}");
    let nameless =
        || with(super::anonymous(CHAT).header("authorization", &key), chat("[[tokens=1]] hello").to_string());
    let before = policy(", queue: 10 s");
    let rig = Rig::start(Setup { policy: Some(&before), ..Setup::default() }).await;
    for _ in 0..30 {
        assert_eq!(rig.send(nameless()).await.status, StatusCode::OK);
    }
    let waits = tokio::spawn(crate::harness::send(rig.node.data_address(), nameless()));
    waiting(&rig, 1).await;
    let rejecting = before.replace("budgets:", "defaults: { on_missing_tenant: reject }\nbudgets:");
    std::fs::write(rig.policy_file(), rejecting).expect("a policy");
    let reply = waits.await.expect("a reply");
    assert_eq!((reply.status, reason(CHAT, &reply).0.as_str()), (StatusCode::UNAUTHORIZED, "missing_tenant"));
    assert!(reply.header("plimsoll-policy").starts_with("r2 "), "{:?}", reply.headers);
    rig.stop().await;
}

// Mutations: a line may take every place; each line may take half of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_in_line_leave_room_for_calls_that_need_not_wait() {
    let policy = "version: 1
mode: enforce
endpoints: { \"digest.*\": { critical: false } }
budgets:
  a: { per: [tenantId], match: { endpointTag: digest.a }, limit: $0/day, escalation: slow }
  b: { per: [tenantId], match: { endpointTag: digest.b }, limit: $0/day, escalation: slow }
escalations: { slow: { contain: { at: 100%, throttle: { non_critical: 2 requests/min, queue: 60 s } } } }
";
    let config = "limits: { streams_per_tenant: 4 }\n";
    let rig = Rig::start(Setup { policy: Some(policy), config, ..Setup::default() }).await;
    let of = |tag: &str| with(post(CHAT).header("plimsoll-endpoint-tag", tag), chat("[[tokens=1]] hello").to_string());
    for tag in ["digest.a", "digest.b"] {
        for _ in 0..2 {
            assert_eq!(rig.send(of(tag)).await.status, StatusCode::OK);
        }
    }
    let address = rig.node.data_address();
    let mut line = tokio::task::JoinSet::new();
    for (calls, tag) in [(1, "digest.a"), (2, "digest.b")] {
        let waits = of(tag);
        line.spawn(async move { crate::harness::send(address, waits).await });
        waiting(&rig, calls).await;
    }
    let refused = rig.send(of("digest.b")).await;
    assert_eq!((refused.status, reason(CHAT, &refused).0.as_str()), (StatusCode::TOO_MANY_REQUESTS, "throttled"));
    assert!(!refused.header("retry-after").is_empty(), "{:?}", refused.headers);
    assert_eq!(rig.send(of("checkout")).await.status, StatusCode::OK);
    line.abort_all();
    waiting(&rig, 0).await;
    rig.stop().await;
}
