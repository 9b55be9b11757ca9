//! A new policy: by the file system's ways of replacing a file, and by the admin API.

use std::fs;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{CHAT, chat, eventually, hard, plain, post, row, under, with};
use crate::harness::{ADMIN_TOKEN, Exchange, Reply, Rig, send};

/// The running revision's number and how the last load went.
async fn running(rig: &Rig) -> String {
    let reply = rig.chat("globex", "a", &chat("hello")).await;
    reply.header("plimsoll-policy").split(' ').next().unwrap_or_default().to_owned()
}

/// Waits for a revision, which must be in force within a second.
async fn in_force(rig: &Rig, revision: &str) {
    let waiting = async {
        while running(rig).await != revision {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("in force within a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_renamed_into_place_is_in_force_within_a_second() {
    let rig = under(&hard("$1/month")).await;
    assert_eq!(running(&rig).await, "r1");
    let fresh = rig.folder.path().join("policy.fresh");
    fs::write(&fresh, hard("$2/month")).expect("a policy");
    fs::rename(&fresh, rig.policy_file()).expect("a rename");
    in_force(&rig, "r2").await;
    // The same again is no new revision, and a deleted folder's file is an empty policy.
    fs::write(rig.policy_file(), hard("$2/month")).expect("a policy");
    fs::write(rig.policy_file(), hard("$3/month")).expect("a policy");
    in_force(&rig, "r3").await;
    rig.stop().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_config_map_that_flips_its_link_is_in_force_within_a_second() {
    use std::os::unix::fs::symlink;
    let rig = plain().await;
    let policies = rig.folder.path().join("policies");
    let version = |name: &str, limit: &str| {
        let folder = policies.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("policy.yaml"), hard(limit)).expect("a policy");
    };
    version("..2026_1", "$1/month");
    symlink("..2026_1", policies.join("..data")).expect("a link");
    symlink("..data/policy.yaml", policies.join("policy.yaml")).expect("a link");
    in_force(&rig, "r2").await;
    version("..2026_2", "$2/month");
    symlink("..2026_2", policies.join("..data_tmp")).expect("a link");
    fs::rename(policies.join("..data_tmp"), policies.join("..data")).expect("a flip");
    in_force(&rig, "r3").await;
    fs::remove_dir_all(policies.join("..2026_1")).expect("the old version's end");
    assert_eq!(rig.admin("/api/v1/policy").await.json()["last_reload"]["ok"], true);
    rig.stop().await;
}

async fn apply(rig: &Rig, text: &str) -> Reply {
    let request = Request::post("/api/v1/policy").header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    send(rig.node.admin_address(), with(request, text.to_owned())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_posted_policy_is_applied_whole_or_refused_whole() {
    let rig = under(&hard("$1/month")).await;
    let reply = apply(&rig, &hard("$2/month")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(reply.json()["revision"].as_str().is_some_and(|revision| revision.starts_with("r2 ")), "{}", reply.text());
    assert_eq!(fs::read_to_string(rig.policy_file()).expect("a file"), hard("$2/month"));
    assert_eq!(running(&rig).await, "r2");

    let bad = hard("$3/month").replace("limit:", "limits:").replace("at: 100%", "at: soon");
    let reply = apply(&rig, &bad).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text());
    let diagnostics = reply.json()["diagnostics"].as_array().cloned().expect("diagnostics");
    assert!(diagnostics.len() >= 2, "{diagnostics:?}");
    let unknown = diagnostics.iter().find(|fault| fault["code"] == "E104").expect("an unknown key");
    assert_eq!(unknown["place"]["line"], 4, "{unknown}");
    assert!(unknown["help"].to_string().contains("`limit`"), "{unknown}");
    assert_eq!(fs::read_to_string(rig.policy_file()).expect("a file"), hard("$2/month"));
    let policy = rig.admin("/api/v1/policy").await.json();
    assert_eq!(policy["last_reload"]["ok"], false, "{policy}");
    assert_eq!(running(&rig).await, "r2");

    // An empty body reads the directory again, and wipes the memory of the refusal.
    let reply = apply(&rig, "").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.json()["last_reload"]["ok"], json!(true));
    rig.stop().await;
}

/// What a budget has counted for the tenant, when it is in force.
async fn used(rig: &Rig, budget: &str) -> Option<i64> {
    let tenant = rig.admin("/api/v1/tenants/globex").await.json();
    let budgets = tenant["budgets"].as_array().cloned().unwrap_or_default();
    budgets.iter().find(|found| found["name"] == budget).and_then(|found| found["used"].as_i64())
}

/// A budget that only counts, with more of its own lines.
fn soft(name: &str, more: &str) -> String {
    format!(
        "  {name}: {{ per: [tenantId], {more} limit: $5/month, escalation: {{ warning: {{ at: 90%, notify: [log] }} }} }}\n"
    )
}

fn budgets(lines: &str) -> String {
    format!("version: 1\nmode: enforce\nbudgets:\n{lines}")
}

/// Puts a policy in force and returns its revision.
async fn replace(rig: &Rig, text: &str) -> Value {
    let reply = apply(rig, text).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()["revision"].clone()
}

/// A finished call, and what it cost.
async fn paid(rig: &Rig, tag: &str) -> i64 {
    let reply = rig.chat("globex", tag, &chat("[[tokens=1000]]")).await;
    row(rig, reply.header("plimsoll-request-id")).await["cost_nano_usd"].as_i64().expect("a cost")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_loses_its_last_policy_keeps_the_running_one_and_says_so() {
    let rig = under(&hard("$1/month")).await;
    fs::remove_file(rig.policy_file()).expect("a removal");
    let mut policy = Value::Null;
    eventually("the failed reload", async || {
        policy = rig.admin("/api/v1/policy").await.json();
        policy["last_reload"]["ok"] == false
    })
    .await;
    assert!(policy["last_reload"]["diagnostics"].to_string().contains("E004"), "{policy}");
    assert_eq!(running(&rig).await, "r1");
    assert!(used(&rig, "all").await.is_some_and(|used| used > 0), "the budget is gone");
    assert!(rig.admin("/metrics").await.text().contains("plimsoll_policy_last_reload_successful 0"));
    fs::write(rig.policy_file(), hard("$2/month")).expect("a policy");
    in_force(&rig, "r2").await;
    assert_eq!(rig.admin("/api/v1/policy").await.json()["last_reload"]["ok"], true);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_budget_begins_with_what_the_ledger_holds_for_it() {
    let rig = under(&budgets(&soft("all", ""))).await;
    let (digest, checkout) = (paid(&rig, "digest.weekly").await, paid(&rig, "checkout").await);
    assert!(digest > 0 && checkout > 0);
    assert_eq!(used(&rig, "all").await, Some(digest + checkout));
    replace(&rig, &budgets(&soft("all", "match: { endpointTag: digest.* },"))).await;
    assert_eq!(used(&rig, "all").await, Some(digest));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_budget_that_comes_back_counts_every_call_once() {
    let (one, both) = (
        budgets(&soft("one", "")),
        budgets(&format!("{}{}", soft("one", ""), soft("two", "match: { dataMode: real },"))),
    );
    let rig = under(&both).await;
    let mut sum = paid(&rig, "a").await;
    assert_eq!((used(&rig, "one").await, used(&rig, "two").await), (Some(sum), Some(sum)));
    replace(&rig, &one).await;
    sum += paid(&rig, "a").await;
    assert_eq!((used(&rig, "one").await, used(&rig, "two").await), (Some(sum), None));
    replace(&rig, &both).await;
    assert_eq!((used(&rig, "one").await, used(&rig, "two").await), (Some(sum), Some(sum)));
    sum += paid(&rig, "a").await;
    assert_eq!((used(&rig, "one").await, used(&rig, "two").await), (Some(sum), Some(sum)));
    rig.stop().await;
}

/// A stream that is under way until `finish` is called.
async fn under_way(rig: &Rig) -> Exchange {
    let mut body = chat("[[tokens=1000]][[delay=0]]");
    body["stream"] = json!(true);
    let mut answer = Exchange::open(rig.node.data_address(), with(post(CHAT), body.to_string())).await;
    answer.next().await.expect("an event").expect("no cut");
    answer
}

/// Reads a stream to its end and returns what it cost.
async fn finish(rig: &Rig, mut answer: Exchange) -> i64 {
    while let Some(bytes) = answer.next().await {
        bytes.expect("no cut");
    }
    row(rig, &answer.header("plimsoll-request-id")).await["cost_nano_usd"].as_i64().expect("a cost")
}

/// A provider that takes about a second for an answer.
async fn slowly(policy: &str) -> Rig {
    let script =
        plimsoll::sim::Script { token_delay: Duration::from_millis(1), tokens_per_event: 10, ..Default::default() };
    Rig::start(crate::harness::Setup { policy: Some(policy), script, ..Default::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_flight_over_a_reload_is_counted_in_the_new_budget_too() {
    let rig = slowly(&budgets(&soft("one", ""))).await;
    let answer = under_way(&rig).await;
    replace(&rig, &budgets(&format!("{}{}", soft("one", ""), soft("two", "match: { dataMode: real },")))).await;
    assert_eq!(used(&rig, "two").await, Some(0));
    let cost = finish(&rig, answer).await;
    assert!(cost > 0);
    assert_eq!((used(&rig, "one").await, used(&rig, "two").await), (Some(cost), Some(cost)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_flight_while_its_budget_goes_and_comes_back_is_counted_once() {
    let (one, both) = (
        budgets(&soft("one", "")),
        budgets(&format!("{}{}", soft("one", ""), soft("two", "match: { dataMode: real },"))),
    );
    let rig = slowly(&both).await;
    let answer = under_way(&rig).await;
    replace(&rig, &one).await;
    replace(&rig, &both).await;
    let cost = finish(&rig, answer).await;
    assert!(cost > 0);
    assert_eq!((used(&rig, "one").await, used(&rig, "two").await), (Some(cost), Some(cost)));
    rig.stop().await;
}
