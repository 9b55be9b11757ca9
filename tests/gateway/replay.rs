//! A finished answer is given again to the same call under the same name, costs nothing the second time, and goes to nobody
//! else. What did not end well is never given again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderName, Request, StatusCode};
use http_body_util::Full;
use plimsoll::domain::clock::{Clock, ManualClock, SystemClock};
use plimsoll::sim::{Canned, Fault};
use serde_json::{Value, json};

use super::{CHAT, anonymous, chat, each_dialect, eventually, hard, post, reason, row, with};
use crate::harness::{Exchange, KEY, Reply, Rig, Setup};

const NAME: &str = "plimsoll-external-request-id";

async fn keeping(config: &str, policy: &str) -> Rig {
    Rig::start(Setup { config, policy: Some(policy), ..Setup::default() }).await
}

/// Holds are small beside it, and a replay that held money or was counted would show in what is used.
fn budget() -> String {
    hard("$10/month")
}

fn named(path: &str, name: &str) -> Builder {
    post(path).header(NAME, name)
}

fn call(name: &str, prompt: &str) -> Request<Full<Bytes>> {
    with(named(CHAT, name), chat(prompt).to_string())
}

/// Client, ledger and provider agree: how many answers ran, and what they cost together. `requests` counts logical ones.
async fn agree(rig: &Rig, ran: usize, requests: i64) {
    assert_eq!(rig.provider.bill().iter().filter(|line| line.billed).count(), ran, "{:?}", rig.provider.bill());
    // gpt-4o: $2.50 and $10.00 per million tokens.
    let line = |line: &plimsoll::sim::BillLine| line.input_tokens * 2_500 + line.output_tokens * 10_000;
    let owed: u64 = rig.provider.bill().iter().filter(|line| line.billed).map(line).sum();
    let mut spend = Value::Null;
    eventually("the ledger", async || {
        spend = rig.admin("/api/v1/spend").await.json()["rows"][0].clone();
        spend["cost_nano_usd"] == json!(owed) && spend["requests"] == json!(requests)
    })
    .await;
    let tenant = rig.admin("/api/v1/tenants/globex").await.json();
    assert_eq!(tenant["budgets"][0]["used"], json!(owed), "{tenant}");
}

/// Everything of an answer that must be the same when it is given again.
fn lasting(reply: &Reply) -> BTreeMap<String, String> {
    let fresh =
        ["plimsoll-request-id", "plimsoll-replayed", "server-timing", "date", "content-length", "transfer-encoding"];
    let all = reply.headers.iter().map(|(name, value)| (name.to_string(), format!("{value:?}")));
    all.filter(|(name, _)| !fresh.contains(&name.as_str())).collect()
}

// Mutation: `Claim::again` answers `None`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_call_under_the_same_name_gets_the_same_answer_and_pays_once() {
    let rig = keeping("replay: {}\n", &budget()).await;
    let mut streamed = chat("streamed");
    (streamed["stream"], streamed["stream_options"]) = (json!(true), json!({ "include_usage": true }));
    for (name, body) in [("whole", chat("hello").to_string()), ("stream", streamed.to_string())] {
        let first = rig.send(with(named(CHAT, name), body.clone())).await;
        assert_eq!((first.status, first.header("plimsoll-replayed")), (StatusCode::OK, ""));
        for _ in 0..2 {
            let again = rig.send(with(named(CHAT, name), body.clone())).await;
            assert_eq!((again.status, again.header("plimsoll-replayed")), (StatusCode::OK, "?1"));
            assert_eq!(again.body, first.body);
            assert_eq!(lasting(&again), lasting(&first));
            assert_ne!(again.header("plimsoll-request-id"), first.header("plimsoll-request-id"));
            let found = row(&rig, again.header("plimsoll-request-id")).await;
            let said = (&found["ending"], &found["cost_nano_usd"], &found["logical"], &found["status"]);
            assert_eq!(said, (&json!("replayed"), &json!(0), &json!(false), &json!(200)), "{found}");
            assert_eq!(found["externalRequestId"], name);
        }
    }
    agree(&rig, 2, 2).await;
    rig.stop().await;
}

// Mutation: `Shelves::begin` answers `First` for a call that is running.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a16_of_fifty_at_once_under_one_name_one_runs_and_one_pays() {
    let rig = Arc::new(keeping("replay: { keep: 1 min, memory: 1 MiB }\n", &budget()).await);
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let rig = Arc::clone(&rig);
        racers.spawn(async move { rig.send(call("order-17", "[[delay=400]]")).await });
    }
    let (mut ran, mut later) = (Vec::new(), 0);
    for reply in racers.join_all().await {
        match (reply.status.as_u16(), reply.header("plimsoll-replayed")) {
            (200, "") => ran.push(reply.body),
            (200, "?1") => later += 1,
            (409, "") => {
                assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), ("1", ""));
                assert_eq!(reply.json()["error"]["code"], "request_in_flight");
                assert_eq!(reply.json()["error"]["plimsoll"]["retryable"], true);
                later += 1;
            }
            _ => panic!("{}: {}", reply.status, reply.text()),
        }
    }
    assert_eq!((ran.len(), later), (1, 49));
    // Whoever was told to come back gets what the one got.
    let again = rig.send(call("order-17", "[[delay=400]]")).await;
    assert_eq!((again.body == ran[0], again.header("plimsoll-replayed")), (true, "?1"));
    agree(&rig, 1, 1).await;
}

// Mutation: `asked` leaves out the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_comes_with_another_call_is_refused_in_the_dialects_shape() {
    let rig = keeping("replay: {}\n", &budget()).await;
    let classes = ["external_request_id_reused", "invalid_request_error", "INVALID_ARGUMENT"];
    for (((path, body), (_, other)), class) in each_dialect("one").into_iter().zip(each_dialect("two")).zip(classes) {
        let first = rig.send(with(named(path, "order-17"), body.clone())).await;
        assert_eq!(first.status, if path == CHAT { 200 } else { 422 }, "a name is for one call, whatever the path");
        assert_eq!(rig.send(with(named(path, path), body)).await.status, StatusCode::OK);
        let reply = rig.send(with(named(path, path), other)).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text());
        assert_eq!(reason(path, &reply), ("external_request_id_reused".to_owned(), class.to_owned()));
        assert_eq!(reply.header("x-should-retry"), "false");
        assert!(reply.text().contains("another method, path or body"), "{}", reply.text());
    }
    // Another tenant may use the same names.
    let theirs = anonymous(CHAT).header("authorization", format!("Bearer {KEY}")).header("plimsoll-tenant-id", "acme");
    let reply = rig.send(with(theirs.header(NAME, "order-17"), chat("two").to_string())).await;
    assert_eq!((reply.status, reply.header("plimsoll-replayed")), (StatusCode::OK, ""));
    rig.stop().await;
}

// Mutation: `Tapped::keep` finishes whatever ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_badly_frees_its_name_and_is_never_given_again() {
    // The provider of the call that is left alone never ends it.
    let rig = keeping("replay: {}\nlimits: { grace: 1 s }\n", &budget()).await;
    let mut streamed = chat("hello");
    streamed["stream"] = json!(true);
    let broken = Canned::new(200, "text/event-stream", "data: {\"error\":{\"message\":\"overloaded\"}}\n\n".to_owned());
    rig.provider.fail_next(Fault::Status { status: 500, retry_after: None });
    rig.provider.fail_next(Fault::Cut { after: 300, reset: false });
    rig.provider.enqueue(broken);
    for outcome in ["an error", "a cut", "an error in the stream"] {
        let reply = rig.send(with(named(CHAT, "order-17"), streamed.to_string())).await;
        assert_eq!(reply.header("plimsoll-replayed"), "", "{outcome} was given again");
    }
    // A client that leaves in the middle of the head, and one in the middle of the body.
    let left = Exchange::open(rig.node.data_address(), stalled("order-17")).await;
    drop(left);
    let good = with(named(CHAT, "order-17"), streamed.to_string());
    let mut reply = rig.send(good.clone()).await;
    for _ in 0..100 {
        if reply.status != StatusCode::UNPROCESSABLE_ENTITY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        reply = rig.send(good.clone()).await;
    }
    assert_eq!((reply.status, reply.header("plimsoll-replayed")), (StatusCode::OK, ""), "{}", reply.text());
    assert_eq!(rig.send(good).await.header("plimsoll-replayed"), "?1");
    rig.stop().await;
}

/// A stream that stops in the middle, under a name.
fn stalled(name: &str) -> Request<Full<Bytes>> {
    let mut body = chat("[[stall=200]]");
    body["stream"] = json!(true);
    let mut request = with(named(CHAT, name), body.to_string());
    request.headers_mut().insert("host", "gateway".parse().expect("a value"));
    request
}

// Mutation: `Worker::claim` comes after `judge`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_ours_frees_the_name_and_a_blocked_tenant_still_gets_what_it_paid_for() {
    // Room for one call of a thousand tokens.
    let rig = keeping("replay: {}\n", &format!("{}defaults: {{ on_no_fit: reject }}\n", hard("$0.011/month"))).await;
    let dear = |prompt: &str| {
        let mut body = chat(prompt);
        body["max_tokens"] = json!(1_000);
        body.to_string()
    };
    let first = rig.send(with(named(CHAT, "paid"), dear("[[tokens=1000]]"))).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text());
    eventually("the block", async || {
        let reply = rig.send(with(named(CHAT, "refused"), dear("more"))).await;
        assert_ne!(reply.status, StatusCode::CONFLICT, "a refusal keeps the name");
        reply.status == StatusCode::TOO_MANY_REQUESTS && reason(CHAT, &reply).0 == "budget_blocked"
    })
    .await;
    let again = rig.send(with(named(CHAT, "paid"), dear("[[tokens=1000]]"))).await;
    assert_eq!((again.status, again.header("plimsoll-replayed")), (StatusCode::OK, "?1"), "{}", again.text());
    assert_eq!(again.body, first.body);
    rig.stop().await;
}

// Mutation: `Shelves::begin` does not look at the age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_kept_for_its_time_and_within_its_memory() {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let config = "replay: { keep: 2 min, memory: 20 KiB }\n";
    let shown = Arc::clone(&clock) as Arc<dyn Clock>;
    let rig = Rig::start(Setup { config, clock: shown, ..Setup::default() }).await;
    let replayed = async |name: &str, prompt: &str| {
        let reply = rig.send(call(name, prompt)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.header("plimsoll-replayed") == "?1"
    };
    assert!(!replayed("a", "hello").await);
    clock.advance(Duration::from_mins(2));
    assert!(replayed("a", "hello").await);
    clock.advance(Duration::from_secs(1));
    assert!(!replayed("a", "hello").await, "kept beyond its time");
    // About 45 KiB, and then enough small ones to push out the oldest.
    assert!(!replayed("large", "[[tokens=10000]]").await && !replayed("large", "[[tokens=10000]]").await);
    assert!(replayed("a", "hello").await, "an answer that announces too much pushes nothing out");
    for name in 0..20 {
        assert!(!replayed(&name.to_string(), "hello").await);
    }
    assert!(replayed("19", "hello").await && !replayed("a", "hello").await);
    rig.stop().await;
}

// Mutation: `Worker::claim` does not ask for `replay:`, or for a tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_again_unless_it_was_asked_for_by_the_operator_and_the_caller() {
    let rig = Rig::start(Setup::default()).await;
    for _ in 0..2 {
        assert_eq!(rig.send(call("order-17", "hello")).await.header("plimsoll-replayed"), "");
    }
    assert_eq!(rig.send(call("order-17", "another")).await.status, StatusCode::OK);
    rig.stop().await;
    let rig = keeping("replay: {}\n", &budget()).await;
    let stranger = || anonymous(CHAT).header("authorization", format!("Bearer {KEY}")).header(NAME, "order-17");
    let odd = || post(CHAT).header(NAME, "not a name, with spaces");
    for request in [stranger, odd, || post(CHAT)] as [fn() -> Builder; 3] {
        for prompt in ["hello", "hello", "another"] {
            let reply = rig.send(with(request(), chat(prompt).to_string())).await;
            assert_eq!((reply.status, reply.header("plimsoll-replayed")), (StatusCode::OK, ""), "{}", reply.text());
        }
    }
    let models = Request::get("/openai/v1/models").header("authorization", format!("Bearer {KEY}"));
    let models = models.header("plimsoll-tenant-id", "globex").header(HeaderName::from_static(NAME), "order-17");
    let models = with(models, "");
    assert_eq!(rig.send(models.clone()).await.header("plimsoll-replayed"), "");
    assert_eq!(rig.send(models).await.header("plimsoll-replayed"), "");
    // Two calls under what is no name are two requests.
    eventually("the rows", async || {
        let spend = rig.admin("/api/v1/spend?tenantId=globex").await.json();
        spend["rows"][0]["requests"] == 6
    })
    .await;
    rig.stop().await;
}
