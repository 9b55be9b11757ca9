//! The books when something fails: a ledger that cannot be written, an error that nobody reads, a stop that does not wait.

use std::time::Duration;

use http::StatusCode;
use plimsoll::ledger::Ledger;
use plimsoll::sim::{Canned, Script};
use serde_json::{Value, json};

use super::{CHAT, chat, eventually, plain, post, reason, row, under, with};
use crate::harness::{Exchange, Reply, Rig, Setup};

/// Hard for one tenant, counted and not limited for everybody.
const ONE_IS_HARD: &str = r"
version: 1
mode: enforce
budgets:
  hard: { per: [tenantId], match: { tenantId: globex }, limit: $1/month, escalation: { contain: { at: 100%, block: all } } }
  soft: { per: [tenantId], limit: $1/month, escalation: { warning: { at: 90%, notify: [log] } } }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_ledger_hard_budgets_refuse_and_the_others_pass_with_a_warning() {
    let rig = under(ONE_IS_HARD).await;
    let call = async |tenant: &str| -> Reply { rig.chat(tenant, "a", &chat("hello")).await };
    let before = call("globex").await;
    assert_eq!((before.status, before.header("plimsoll-warning")), (StatusCode::OK, ""));
    row(&rig, before.header("plimsoll-request-id")).await;
    // From now on every insert fails, as on a full disk.
    let other = rusqlite::Connection::open(rig.folder.path().join("plimsoll.db")).expect("a second connection");
    let fault = "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    other.execute_batch(fault).expect("a trigger");
    eventually("the first lost row", async || !call("acme-corp").await.header("plimsoll-warning").is_empty()).await;

    let asked = rig.provider.requests().len();
    let refused = call("globex").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
    assert_eq!((reason(CHAT, &refused).0.as_str(), refused.header("retry-after")), ("unavailable", "1"));
    assert_eq!(rig.provider.requests().len(), asked, "a refused call reached the provider");
    let passed = call("acme-corp").await;
    assert_eq!((passed.status, passed.header("plimsoll-warning")), (StatusCode::OK, "the ledger is unavailable"));
    // What is free is not held up, whoever asks.
    let models = http::Request::get("/openai/v1/models")
        .header("authorization", format!("Bearer {}", crate::harness::KEY))
        .header("plimsoll-tenant-id", "globex");
    assert_eq!(rig.send(with(models, "")).await.status, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_error_costs_nothing_when_the_client_leaves_before_reading_it() {
    let rig = plain().await;
    for stream in [false, true] {
        let text = "{\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\"}}";
        let mut canned = Canned::new(429, "application/json", text).in_pieces(&[10]);
        canned.gap = Duration::from_millis(100);
        rig.provider.enqueue(canned);
        let mut body = chat("hello");
        body["stream"] = json!(stream);
        let answer = Exchange::open(rig.node.data_address(), with(post(CHAT), body.to_string())).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let id = answer.header("plimsoll-request-id");
        drop(answer);
        let found = row(&rig, &id).await;
        assert_eq!((&found["status"], &found["ending"]), (&json!(429), &json!("client_gone")), "{found}");
        assert_eq!((&found["cost_nano_usd"], &found["output_tokens"]), (&json!(0), &Value::Null), "{found}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_does_not_wait_writes_down_what_was_under_way() {
    let script = Script { token_delay: Duration::from_millis(20), tokens_per_event: 4, ..Script::default() };
    let rig = Rig::start(Setup { script, ..Setup::default() }).await;
    let mut body = chat("[[tokens=2000]]");
    body["stream"] = json!(true);
    let mut streaming = Exchange::open(rig.node.data_address(), with(post(CHAT), body.to_string())).await;
    let mut seen = 0;
    while seen < 2_000 {
        seen += streaming.next().await.expect("an event").expect("no cut").len();
    }
    let address = rig.node.data_address();
    let mut silent = tokio::task::JoinSet::new();
    silent.spawn(async move {
        let request = with(post(CHAT), chat("[[delay=60000]]").to_string());
        drop(tokio::time::timeout(Duration::from_secs(5), crate::harness::send(address, request)).await);
    });
    eventually("the second call", async || rig.provider.requests().len() == 2).await;

    let Rig { provider: _provider, node, folder } = rig;
    tokio::task::spawn_blocking(move || drop(node)).await.expect("a stop");
    silent.abort_all();
    let ledger = Ledger::open(&folder.path().join("plimsoll.db")).expect("a ledger");
    let rows = ledger.reader().request(&streaming.header("plimsoll-request-id")).expect("rows");
    assert_eq!(rows.len(), 1, "the stream left no row");
    let found = serde_json::to_value(&rows[0]).expect("JSON");
    assert!(["estimated", "partial"].contains(&found["basis"].as_str().unwrap_or_default()), "{found}");
    // Events have far more bytes than text; at least what was passed on is paid for.
    assert!(found["output_tokens"].as_u64().is_some_and(|tokens| tokens >= 4), "{found}");
    assert!(found["cost_nano_usd"].as_i64().is_some_and(|cost| cost > 0), "{found}");
    let totals = ledger.reader().spend(&plimsoll::ledger::SpendQuery::default()).expect("sums");
    assert_eq!(totals[0].totals.attempts, 2, "the call without an answer left no row");
}
