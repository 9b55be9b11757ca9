//! Whoever an exception names hears that it ends, once before and once when it has.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};

use crate::harness::{Receiver, Rig, Setup};

const POLICY: &str = "version: 1
mode: enforce
budgets:
  b: { per: [tenantId], limit: $1/day, escalation: { contain: { at: 100%, block: all } } }
exceptions:
  - tenantId: globex
    budget: b
    never: [block]
    reason: Design partner until GA
    approved_by: [dana@example.com, cfo@example.com]
    expires: 2026-11-30
    when_expired: { notify: [oncall], before: 14 days }
";

fn at(moment: &str) -> Timestamp {
    Timestamp::from_jiff(moment.parse().expect("a moment"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_exception_is_announced_before_and_after_once_each() {
    let receiver = Receiver::start().await;
    let clock = Arc::new(ManualClock::at(at("2026-11-10T12:00:00Z")));
    let config = format!("notify:\n  oncall: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n", receiver.url());
    let setup = Setup {
        policy: Some(POLICY),
        config: &config,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Setup::default()
    };
    let rig = Rig::start(setup).await;
    // Exceptions are looked at every second.
    let looked = || tokio::time::sleep(Duration::from_millis(1_300));
    looked().await;
    assert!(receiver.kinds().is_empty(), "too early");
    clock.set(at("2026-11-17T12:00:00Z"));
    let told = receiver.wait_for("exception.expiring").await;
    assert_eq!(told["data"]["tenant"]["tenantId"], "globex");
    assert_eq!(
        told["data"]["message"],
        "its exception of budget `b` ends on 2026-11-30; after that the normal rules apply (Design partner until GA; approved by dana@example.com, cfo@example.com)"
    );
    clock.set(at("2026-12-01T00:00:00Z"));
    let told = receiver.wait_for("exception.expired").await;
    assert!(told["data"]["message"].as_str().is_some_and(|text| text.contains("ended on 2026-11-30")), "{told}");
    looked().await;
    assert_eq!(receiver.kinds(), ["exception.expiring", "exception.expired"], "once each");
    rig.stop().await;
}
