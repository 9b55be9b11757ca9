//! A store that is slow (D7): the queue fills, and that shows at admission; nothing is dropped.

use std::time::{Duration, Instant};

use plimsoll::ledger::{Ledger, QUEUE_SLOTS, SpendQuery};
use plimsoll::sim::{Provider, Script};
use rusqlite::Connection;

use crate::kill::bill;
use crate::ledger_crash::attempt;
use crate::process::{Files, HARD, Process, SOFT, eventually, number, policy, read};

/// Somebody else's transaction holds the store still.
fn hold(ledger: &std::path::Path) -> Connection {
    let other = Connection::open(ledger).expect("a second connection");
    other.busy_timeout(Duration::from_secs(5)).expect("a timeout");
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    other
}

// Mutations: `permit` counts nothing and always gives; a full queue drops its oldest.
#[test]
fn d7_a_store_that_stands_still_shows_at_admission_and_every_row_that_got_a_place_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plimsoll.db");
    let ledger = Ledger::open(&path).expect("a new ledger");
    let other = hold(&path);
    let begun = Instant::now();
    let mut sent = 0_usize;
    while let Some(permit) = ledger.permit() {
        permit.send(attempt(&format!("a{sent}"), "globex"));
        sent += 1;
        assert!(sent <= QUEUE_SLOTS, "a queue without an end");
    }
    assert_eq!((sent, ledger.free_permits()), (QUEUE_SLOTS, 0));
    assert!(begun.elapsed() < Duration::from_secs(8), "the store gave up before the queue was full");
    assert!(ledger.permit().is_none(), "a place beyond the last");
    drop(other);
    ledger.flush().expect("a ledger that writes");
    assert_eq!((ledger.lost(), ledger.free_permits()), (0, QUEUE_SLOTS));
    let totals = ledger.reader().spend(&SpendQuery::default()).expect("sums")[0].totals;
    assert_eq!(totals.attempts, i64::try_from(QUEUE_SLOTS).expect("a number"));
}

// Mutations: a call goes although its lease was not granted; the wait for a lease has no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_while_the_store_is_slow_no_call_waits_longer_than_its_lease_may_and_none_goes_unwritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = Provider::start(Script::default()).await.expect("a scripted provider");
    let ledger = folder.path().join("plimsoll.db");
    let files = Files::new(folder.path(), &ledger, &provider.base_url(), &policy("$10/month"));
    let process = Process::start(&files).await;
    let other = hold(&ledger);
    let (mut passed, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        for tenant in [HARD, SOFT] {
            let asked = Instant::now();
            let reply = process.call(tenant).await;
            slowest = slowest.max(asked.elapsed());
            match reply.status.as_u16() {
                200 => passed += 1,
                503 if tenant == HARD => refused += 1,
                status => panic!("{tenant}: {status} {}", reply.text()),
            }
        }
    }
    assert!(refused > 0, "a hard call went without a lease: {passed} passed");
    assert!(slowest < Duration::from_millis(1_500), "a call waited {slowest:?}");
    drop(other);
    let written = async || number(&read(&ledger), "SELECT count(*) FROM entry WHERE ending <> 'refused'") >= passed;
    eventually("every row", Duration::from_secs(10), written).await;
    eventually("a hard call", Duration::from_secs(5), async || process.call(HARD).await.status == 200).await;
    process.stop().await;
    let found = read(&ledger);
    let charged = number(&found, &format!("SELECT sum(cost_nano_usd) FROM entry WHERE tenant_id = '{HARD}'"));
    assert_eq!(
        (charged, passed + 1),
        (bill(&provider, "gpt-4o").0, number(&found, "SELECT count(*) FROM entry WHERE ending <> 'refused'"))
    );
}
