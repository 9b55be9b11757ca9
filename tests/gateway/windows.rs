//! Budgets without a calendar: rolling windows and workflows, from the first call over restarts and reloads to the books.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use plimsoll::ledger::LedgerReader;
use serde_json::{Value, json};

use super::{CHAT, chat, eventually, post, reason, row, with};
use crate::harness::{Receiver, Reply, Rig, Setup};

fn noon() -> Timestamp {
    Timestamp::from_jiff("2026-11-10T12:00:00Z".parse().expect("a moment"))
}

async fn at_noon(policy: &str, config: &str) -> (Rig, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(noon()));
    let setup = Setup { policy: Some(policy), config, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() };
    (Rig::start(setup).await, clock)
}

/// A call that costs a cent, in a workflow or in none.
async fn cent(rig: &Rig, workflow: Option<&str>) -> Reply {
    call(rig, workflow, 1_000).await
}

/// A call of so many output tokens, a thousand of which cost a cent.
async fn call(rig: &Rig, workflow: Option<&str>, tokens: u32) -> Reply {
    let mut request = post(CHAT);
    if let Some(workflow) = workflow {
        request = request.header("plimsoll-workflow-id", workflow);
    }
    let reply = rig.send(with(request, chat(&format!("[[tokens={tokens}]] hello")).to_string())).await;
    row(rig, reply.header("plimsoll-request-id")).await;
    reply
}

/// Every row and counter of the ledger agree.
fn books_agree(folder: &Path) {
    let found = LedgerReader::open(&folder.join("plimsoll.db")).expect("a ledger").verify().expect("a whole file");
    assert_eq!((found.faults, found.findings), (0, Vec::<String>::new()));
}

const BURST: &str = "version: 1
mode: enforce
budgets:
  burst:
    per: [tenantId]
    limit: $0.02/rolling 1 hour
    escalation: { warning: { at: 50%, notify: [oncall] }, contain: { at: 100%, block: all } }
";

const MONTH: &str =
    "  month: { per: [tenantId], limit: $5/month, escalation: { warning: { at: 99%, notify: [log] } } }\n";

// Mutations: buckets are not restored at a start; `ring_standing` sums the present bucket only; the bucket's end is said to be
// the reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_budget_frees_what_has_left_its_window_over_a_restart() {
    let (rig, clock) = at_noon(&format!("{BURST}{MONTH}"), "").await;
    assert_eq!(cent(&rig, None).await.status, StatusCode::OK);
    clock.advance(Duration::from_mins(20));
    let reply = cent(&rig, None).await;
    let header = reply.header("plimsoll-budget");
    assert!(header.starts_with("\"burst\";state=warning;used=50;t=2460, "), "{header}");
    clock.advance(Duration::from_mins(30));
    let refused = cent(&rig, None).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((reason(CHAT, &refused).0.as_str(), refused.header("retry-after")), ("budget_blocked", ""));
    assert_eq!(refused.json()["error"]["plimsoll"]["resets_at"], "2026-11-10T13:01:00+00:00");

    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    assert_eq!(cent(&rig, None).await.status, StatusCode::TOO_MANY_REQUESTS, "a restart forgets nothing");
    let tenant = rig.admin("/api/v1/tenants/globex").await.json();
    assert_eq!(
        (&tenant["budgets"][0]["used_percent"], &tenant["budgets"][0]["forecast_percent"]),
        (&json!(100), &Value::Null)
    );
    clock.set(noon().after(Duration::from_secs(3_659)));
    assert_eq!(cent(&rig, None).await.status, StatusCode::TOO_MANY_REQUESTS);
    clock.set(noon().after(Duration::from_mins(61)));
    let reply = cent(&rig, None).await;
    assert_eq!(reply.status, StatusCode::OK, "the first cent has left: {}", reply.text());
    assert_eq!(cent(&rig, None).await.status, StatusCode::TOO_MANY_REQUESTS);
    let folder = tempfile_of(rig).await;
    books_agree(folder.path());
}

async fn tempfile_of(rig: Rig) -> tempfile::TempDir {
    let Rig { node, folder, .. } = rig;
    tokio::task::spawn_blocking(move || node.stop()).await.expect("a stop");
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_budget_that_is_new_counts_what_its_window_has_seen() {
    let (rig, clock) = at_noon(&format!("version: 1\nmode: enforce\nbudgets:\n{MONTH}"), "").await;
    for _ in 0..3 {
        cent(&rig, None).await;
        clock.advance(Duration::from_mins(25));
    }
    fs::write(rig.policy_file(), BURST.replace("0.02", "0.025")).expect("a policy");
    eventually("the edit", async || cent(&rig, Some("x")).await.header("plimsoll-policy").starts_with("r2")).await;
    // Three cents were spent, of which two are in the window; what was spent while waiting is too.
    let tenant = rig.admin("/api/v1/tenants/globex").await.json();
    let used = tenant["budgets"][0]["used"].as_i64().expect("an amount");
    assert!(used >= 20_000_000, "{tenant}");
    let spent = rig.admin("/api/v1/spend").await.json()["rows"][0]["cost_nano_usd"].as_i64().expect("an amount");
    assert!((10_000_000..11_000_000).contains(&(spent - used)), "all but the first cent: {spent} {used}");
    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    assert_eq!(cent(&rig, None).await.status, StatusCode::TOO_MANY_REQUESTS);
    let again = rig.admin("/api/v1/tenants/globex").await.json();
    assert_eq!(again["budgets"][0]["used"], used);
    books_agree(tempfile_of(rig).await.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_a_rolling_budget_is_told_once_in_its_time() {
    let receiver = Receiver::start().await;
    let config = format!("notify:\n  oncall: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n", receiver.url());
    let (rig, clock) = at_noon(BURST, &config).await;
    for _ in 0..3 {
        cent(&rig, None).await;
        clock.advance(Duration::from_mins(5));
    }
    let warning = receiver.wait_for("budget.warning").await;
    assert_eq!(warning["data"]["budget"]["period"], "rolling 1 hour");
    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    clock.advance(Duration::from_mins(30));
    cent(&rig, None).await;
    let warnings = |receiver: &Receiver| receiver.kinds().iter().filter(|kind| *kind == "budget.warning").count();
    assert_eq!(warnings(&receiver), 1);
    clock.advance(Duration::from_mins(90));
    cent(&rig, None).await;
    cent(&rig, None).await;
    eventually("the second warning", async || warnings(&receiver) == 2).await;
    rig.stop().await;
}

const RUN: &str = "version: 1
mode: enforce
budgets:
  run:
    per: [tenantId, workflowId]
    limit: $0.02/workflow
    escalation: { contain: { at: 100%, block: all, status: 402, message: This run reached its budget. } }
";

// Mutations: the key leaves out the workflow; only the present bucket is restored; what never resets is said to reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_workflow_has_a_budget_of_its_own_that_never_resets() {
    let (rig, clock) = at_noon(RUN, "").await;
    assert_eq!(cent(&rig, Some("w1")).await.status, StatusCode::OK);
    clock.advance(Duration::from_hours(30));
    let reply = cent(&rig, Some("w1")).await;
    assert_eq!(reply.header("plimsoll-budget"), "\"run\";state=ok;used=50");
    let refused = cent(&rig, Some("w1")).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{}", refused.text());
    let error = refused.json()["error"].clone();
    assert!(error["message"].as_str().is_some_and(|text| text.starts_with("This run reached its budget.")), "{error}");
    assert_eq!(error["plimsoll"]["resets_at"], Value::Null);
    assert_eq!(cent(&rig, Some("w2")).await.status, StatusCode::OK, "another workflow has its own");
    for _ in 0..3 {
        assert_eq!(cent(&rig, None).await.status, StatusCode::OK, "a call of no workflow is not counted");
    }
    for days in 0..5 {
        let reply = call(&rig, Some("keeps-calling"), 400).await;
        assert_eq!(reply.status, StatusCode::OK, "after {days} pauses");
        clock.advance(Duration::from_hours(4 * 24));
    }
    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    assert_eq!(cent(&rig, Some("keeps-calling")).await.status, StatusCode::PAYMENT_REQUIRED, "a start forgets nothing");
    books_agree(tempfile_of(rig).await.path());
}

// Mutation: in `past::add_up` count a sum into the bucket that was found while rows were read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_budget_that_is_new_counts_every_day_of_a_run() {
    let (rig, clock) = at_noon(&format!("version: 1\nmode: enforce\nbudgets:\n{MONTH}"), "").await;
    cent(&rig, Some("w1")).await;
    clock.advance(Duration::from_hours(30));
    cent(&rig, Some("w1")).await;
    fs::write(rig.policy_file(), RUN).expect("a policy");
    eventually("the edit", async || cent(&rig, Some("x")).await.header("plimsoll-policy").starts_with("r2")).await;
    assert_eq!(cent(&rig, Some("w1")).await.status, StatusCode::PAYMENT_REQUIRED);
    books_agree(tempfile_of(rig).await.path());
}

// Mutation: in `identity::lacks_workflow` ask only whether there is an id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_no_workflows_are_not_one_workflow_together() {
    let (rig, _) = at_noon(RUN, "").await;
    for letter in ["a", "b", "c"] {
        let reply = cent(&rig, Some(&letter.repeat(129))).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        assert!(reply.header("plimsoll-warning").contains("workflow-id"), "{}", reply.header("plimsoll-warning"));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_that_was_idle_for_a_week_is_over_before_and_after_a_restart() {
    let (rig, clock) = at_noon(RUN, "").await;
    for _ in 0..2 {
        cent(&rig, Some("w1")).await;
        cent(&rig, Some("w2")).await;
    }
    assert_eq!(cent(&rig, Some("w1")).await.status, StatusCode::PAYMENT_REQUIRED);
    clock.advance(Duration::from_hours(8 * 24));
    assert_eq!(cent(&rig, Some("w1")).await.status, StatusCode::OK, "it begins anew");
    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let reply = cent(&rig, Some("w1")).await;
    assert_eq!((reply.status, reply.header("plimsoll-budget")), (StatusCode::OK, "\"run\";state=ok;used=50"));
    assert_eq!(cent(&rig, Some("w2")).await.header("plimsoll-budget"), "\"run\";state=ok;used=0");
    books_agree(tempfile_of(rig).await.path());
}

// Mutation: `takes_workflow` says yes to every one; the dropped id stays in the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_beyond_the_limit_belong_to_none() {
    let (rig, clock) = at_noon(RUN, "limits: { users_per_tenant: 2 }\n").await;
    for workflow in ["a", "b", "a"] {
        assert_eq!(cent(&rig, Some(workflow)).await.header("plimsoll-warning"), "");
    }
    let reply = cent(&rig, Some("c")).await;
    assert!(reply.header("plimsoll-warning").contains("too many workflows today"), "{:?}", reply.headers);
    assert_eq!(row(&rig, reply.header("plimsoll-request-id")).await["workflowId"], Value::Null);
    assert_eq!(reply.header("plimsoll-budget"), "");
    clock.advance(Duration::from_hours(24));
    assert_eq!(cent(&rig, Some("c")).await.header("plimsoll-warning"), "");
    books_agree(tempfile_of(rig).await.path());
}
