//! Budgets with a `when`: they count and block just those calls, live and counted again from the ledger's rows.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Rig, Setup};

const TENANTS: &str = "tenantId,name,plan,segment,account_owner,revenue,upgrade_url\nglobex,Globex GmbH,,,,,\n";

fn policy(condition: &str) -> String {
    format!(
        "version: 1\nmode: enforce\nbudgets:\n  minis:\n    per: [tenantId]\n    match: {{ endpointTag: digest.*, when: \"{condition}\" }}\n    \
         limit: 3 requests/day\n    escalation: {{ contain: {{ at: 100%, block: all }} }}\n"
    )
}

async fn call(rig: &Rig, model: &str) -> StatusCode {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "[[tokens=5]] hello" }] });
    rig.chat("globex", "digest.weekly", &body).await.status
}

async fn used(rig: &Rig) -> Value {
    rig.admin("/api/v1/tenants/globex").await.json()["budgets"][0]["used"].clone()
}

/// Until this many attempts are rows.
async fn written(rig: &Rig, attempts: i64) {
    for _ in 0..500 {
        if rig.admin("/api/v1/spend").await.json()["rows"][0]["attempts"] == attempts {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{attempts} attempts were never written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_counts_and_blocks_its_calls_and_is_counted_again_from_the_rows() {
    let clock = || {
        let noon = Timestamp::from_jiff("2026-11-10T11:00:00Z".parse().expect("a moment"));
        Arc::new(ManualClock::at(noon)) as Arc<dyn Clock>
    };
    let minis = policy("model.endsWith('-mini') && userId == ''");
    let rig =
        Rig::start(Setup { policy: Some(&minis), tenants: Some(TENANTS), clock: clock(), ..Setup::default() }).await;
    for model in ["gpt-4o", "gpt-4o-mini", "gpt-4o-mini", "gpt-4o", "gpt-4o-mini"] {
        assert_eq!(call(&rig, model).await, StatusCode::OK);
    }
    assert_ne!(call(&rig, "gpt-4o-mini").await, StatusCode::OK, "the fourth of three");
    for _ in 0..2 {
        assert_eq!(call(&rig, "gpt-4o").await, StatusCode::OK, "not counted, not blocked");
    }
    written(&rig, 7).await;
    assert_eq!(used(&rig).await, 3);

    let rig = rig.restart(clock()).await;
    assert_eq!(used(&rig).await, 3, "as it stood");
    assert_ne!(call(&rig, "gpt-4o-mini").await, StatusCode::OK);

    // Another condition is another count: from the rows, which hold all that it sees.
    fs::write(rig.policy_file(), policy("!model.endsWith('-mini') && ['gpt', 'o3'].exists(x, model.startsWith(x))"))
        .expect("a policy");
    let rig = rig.restart(clock()).await;
    assert_eq!(used(&rig).await, 4);
    assert_ne!(call(&rig, "gpt-4o").await, StatusCode::OK);
    assert_eq!(call(&rig, "gpt-4o-mini").await, StatusCode::OK);
    rig.stop().await;
}
