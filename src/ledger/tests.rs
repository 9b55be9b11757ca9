//! The ledger, proved on real files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::{Amounts, Dimensions};
use crate::domain::tenant::{Revenue, Tenant, TenantId};
use crate::domain::usage::{Basis, Usage};
use crate::domain::window::Period;
use crate::meter::reservation::Postings;

use super::entry::{Ending, LedgerEntry, TransitionEntry};
use super::*;

mod books;
mod damage;
mod leases;
mod marks;
mod migrations;
mod spend;

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plimsoll.db");
    Place { _folder: folder, path }
}

fn tenant(name: &str) -> Tenant {
    Tenant::unknown(TenantId::new(name).expect("a name"))
}

pub(super) fn entry(id: &str, tenant_name: &str, cost: Option<i64>) -> LedgerEntry {
    LedgerEntry {
        attempt_id: Arc::from(id),
        request_id: Arc::from(id),
        admitted_at: Timestamp::from_seconds(1_795_000_000),
        tenant: Arc::new(Tenant { plan: Some(Arc::from("growth")), ..tenant(tenant_name) }),
        attribution: Arc::new(Attribution::default()),
        key_name: None,
        provider: Arc::from("openai"),
        dialect: Arc::from("openai-chat"),
        path: Arc::from("/v1/chat/completions"),
        model_requested: Some(Arc::from("gpt-4o")),
        model_served: Some(Arc::from("gpt-4o-mini")),
        model_answered: None,
        stream: true,
        logical: true,
        usage: Usage { input: Some(1_000), output: Some(50), ..Usage::default() },
        basis: Basis::Exact,
        price: None,
        cost: cost.map(Money::from_nano),
        status: 200,
        ending: Ending::Complete,
        decision: Arc::from(""),
        would: Arc::from(""),
        policy: Arc::from("r1 9f3c1ae"),
        overhead_us: 412,
        first_byte_us: Some(81_000),
        duration_us: 990_000,
        postings: Postings::new(),
        snapshot: 1,
        correction: None,
    }
}

fn write(ledger: &Ledger, entries: impl IntoIterator<Item = LedgerEntry>) {
    for entry in entries {
        ledger.permit().expect("a free place").send(entry);
    }
    ledger.flush().expect("a written ledger");
}

fn total(ledger: &Ledger) -> SpendTotals {
    ledger.reader().spend(&SpendQuery::default()).expect("sums")[0].totals
}

#[test]
fn an_attempt_reads_back_as_it_was_sent() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let attribution =
        Attribution { extras: vec![("retrieval-k".into(), "12\"".into())], retry_count: 2, ..Attribution::default() };
    write(&ledger, [LedgerEntry { attribution: Arc::new(attribution), ..entry("req_1", "globex", Some(1_234)) }]);
    let found = ledger.reader().request("req_1").expect("rows");
    insta::assert_snapshot!(serde_json::to_string_pretty(&found).expect("JSON"));
    assert!(ledger.reader().request("req_2' OR '1'='1").expect("no rows").is_empty());
}

#[test]
fn rows_survive_a_close_and_a_process_that_ends_without_one() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    assert!(!ledger.opened_after_crash());
    write(&ledger, [entry("a", "globex", Some(1))]);
    ledger.permit().expect("a free place").send(entry("b", "globex", Some(2)));
    ledger.close();
    std::fs::write(place.path.with_extension("db.lock"), "4194304").expect("what a killed process leaves behind");
    let ledger = Ledger::open(&place.path).expect("the same ledger");
    assert!(ledger.opened_after_crash());
    assert_eq!((total(&ledger).attempts, total(&ledger).cost_nano_usd), (2, 3));
    drop(ledger);
    assert!(!Ledger::open(&place.path).expect("the same ledger").opened_after_crash());
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let refusal = Ledger::open(&place.path).expect_err("a held lock").to_string();
    assert!(refusal.contains(&format!("in use by another process (process {})", std::process::id())), "{refusal}");
    write(&ledger, [entry("a", "globex", Some(1))]);
    let reader = LedgerReader::open(&place.path).expect("a reader beside the writer");
    assert_eq!(reader.request("a").expect("rows").len(), 1);
    ledger.close();
    let reader = LedgerReader::open(&place.path).expect("a reader without a writer");
    assert_eq!(reader.request("a").expect("rows").len(), 1);
    assert!(LedgerReader::open(&place.path.with_extension("other")).is_err(), "a reader makes no files");
}

#[test]
fn files_of_others_and_of_the_future_are_refused() {
    let place = place();
    Ledger::open(&place.path).expect("a new ledger").close();
    let connection = rusqlite::Connection::open(&place.path).expect("a database");
    connection.pragma_update(None, "user_version", 7).expect("a version");
    drop(connection);
    let refusal = Ledger::open(&place.path).expect_err("a newer schema").to_string();
    insta::assert_snapshot!(refusal, @"the ledger has schema 7 and this program knows schemas up to 5: run the newer Plimsoll that wrote it");
    assert!(matches!(
        LedgerReader::open(&place.path),
        Err(LedgerError::NewerSchema { found: 7, known: SCHEMA_VERSION })
    ));

    let other = place.path.with_extension("other");
    rusqlite::Connection::open(&other).expect("a database").execute_batch("CREATE TABLE x (y)").expect("a table");
    assert!(matches!(Ledger::open(&other), Err(LedgerError::Foreign { .. })));
    let refusal = schema::refuse_old_sqlite(3_050_004, "3.50.4").expect_err("an old SQLite").to_string();
    assert_eq!(refusal, "SQLite 3.50.4 is too old for the ledger: build with 3.51.3 or newer");
}

#[test]
fn ten_thousand_rows_go_in_by_batches_and_their_places_come_back() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let begun = Instant::now();
    write(&ledger, (0..10_000).map(|n| entry(&format!("req_{n}"), "globex", Some(n))));
    println!("10,000 rows in {:?}", begun.elapsed());
    assert_eq!(total(&ledger).cost_nano_usd, 10_000 * 9_999 / 2);
    assert_eq!((ledger.free_permits(), ledger.lost()), (QUEUE_SLOTS, 0));
    write(&ledger, [entry("req_7", "globex", Some(1))]);
    assert_eq!(total(&ledger).attempts, 10_000, "the same attempt twice is one row");
}

#[test]
fn decisions_are_the_newest_attempts_that_a_policy_touched_or_would_have() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let decided = |id, name, decision: &str, would: &str, second| LedgerEntry {
        decision: Arc::from(decision),
        would: Arc::from(would),
        admitted_at: Timestamp::from_seconds(second),
        ..entry(id, name, None)
    };
    write(
        &ledger,
        [
            decided("a", "globex", "cap=600", "", 1),
            decided("b", "globex", "", "", 2),
            decided("c", "acme-corp", "", "block", 3),
            decided("d", "globex", "block", "", 4),
        ],
    );
    let ids = |tenant: Option<&str>, limit| -> String {
        let rows = ledger.reader().decisions(tenant, limit).expect("rows");
        rows.iter().map(|row| row.request_id.as_str()).collect()
    };
    assert_eq!((ids(None, 10), ids(None, 2), ids(Some("globex"), 10)), ("dca".into(), "dc".into(), "da".into()));
    assert_eq!(ids(Some("' OR ''='"), 10), "");
}

#[test]
fn a_full_queue_gives_no_permit_and_an_unused_permit_gives_its_place_back() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let permits: Vec<Permit> = (0..QUEUE_SLOTS).map_while(|_| ledger.permit()).collect();
    assert_eq!(permits.len(), QUEUE_SLOTS);
    assert!(ledger.permit().is_none());
    drop(permits);
    assert!(ledger.permit().is_some());
    assert_eq!(ledger.lost(), 0);
}

/// A store on a disk that fills up after some batches.
struct BrokenDisk {
    batches_left: u32,
    appends: Arc<AtomicU32>,
}

impl LedgerStore for BrokenDisk {
    fn append(&mut self, _: &[Record]) -> Result<Done, LedgerError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        self.batches_left = self.batches_left.checked_sub(1).ok_or(LedgerError::Failed)?;
        Ok(Done::default())
    }

    fn reopen(&mut self) -> Result<(), LedgerError> {
        unreachable!("only a full disk is tried again")
    }
}

#[test]
fn a_failed_commit_ends_writing_and_the_rows_after_it_go_to_the_spool() {
    let place = place();
    let appends = Arc::default();
    let store = BrokenDisk { batches_left: 1, appends: Arc::clone(&appends) };
    let (queue, receiver) = Queue::new();
    let (overflow, spool) = Overflow::start(&place.path).expect("a thread");
    let thread = writer::start(store, &queue, receiver, overflow.clone()).expect("a thread");
    let flush = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        let wait: Wait<bool> = Box::new(move |written| sender.send(written).expect("a listener"));
        queue.tell(Message::Finish(None, Finish::Flush(wait)));
        receiver.recv_timeout(Duration::from_secs(10)).expect("an answer")
    };
    for (name, written) in [("a", true), ("b", false), ("c", false)] {
        queue.permit().expect("a free place").send(entry(name, "globex", Some(7)));
        assert_eq!(flush(), written, "{name}");
    }
    assert!(!queue.healthy());
    assert_eq!(appends.load(Ordering::SeqCst), 2, "a failed commit is not tried again");
    queue.tell(Message::Stop);
    thread.join().expect("an orderly end");
    overflow.end();
    spool.join().expect("an orderly end");
    assert_eq!((queue.lost(), queue.spooled.load(Ordering::SeqCst), queue.free_slots()), (0, 2, QUEUE_SLOTS));
    queue.permit().expect("a free place").send(entry("d", "globex", None));
    assert_eq!(queue.lost(), 1, "what comes after the end is counted");
    let ledger = Ledger::open(&place.path).expect("a new disk");
    assert_eq!((total(&ledger).attempts, total(&ledger).cost_nano_usd), (2, 14), "the next start takes the spool in");
    drop(ledger);
    let ledger = Ledger::open(&place.path).expect("the same");
    assert_eq!(total(&ledger).attempts, 2, "once");
}

#[test]
fn a_batch_that_does_not_fit_on_the_disk_leaves_no_part_of_itself() {
    let place = place();
    let mut store = SqliteStore::open(&place.path).expect("a new ledger");
    let batch = |from: i64| -> Vec<Record> {
        (from..from + 100).map(|n| Record::Attempt(Box::new(entry(&n.to_string(), "globex", Some(1))))).collect()
    };
    store.append(&batch(0)).expect("a disk with room");
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a number");
    store.connection.pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(())).expect("a limit");
    let refusal = store.append(&batch(100)).expect_err("a full disk").to_string();
    assert!(refusal.contains("full"), "{refusal}");
    let reader = LedgerReader::open(&place.path).expect("a reader");
    assert_eq!(reader.spend(&SpendQuery::default()).expect("sums")[0].totals.attempts, 100);
}

#[test]
fn only_the_first_transition_of_a_step_and_window_counts() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let at = |seconds| TransitionEntry {
        budget: Arc::from("tenant_month"),
        key: Arc::from("globex"),
        window_start: Timestamp::from_seconds(100),
        step: Arc::from("contain"),
        at: Timestamp::from_seconds(seconds),
    };
    ledger.record_transition(at(110));
    ledger.record_transition(at(120));
    ledger.flush().expect("a written ledger");
    assert_eq!(ledger.reader().transitions(Timestamp::default()).expect("rows"), [at(110)]);
    assert!(ledger.reader().transitions(Timestamp::from_seconds(111)).expect("rows").is_empty());
}

#[test]
fn tenants_are_kept_replaced_and_forgotten() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let revenue = Some(Revenue { amount: Money::from_nano(199_000_000_000), per: Period::Month });
    let globex = Tenant { name: Some(Box::from("Globex GmbH")), revenue, ..tenant("globex") };
    ledger.put_tenant(tenant("globex")).expect("a written tenant");
    ledger.put_tenant(tenant("acme-corp")).expect("a written tenant");
    ledger.put_tenant(globex.clone()).expect("a written tenant");
    assert_eq!(ledger.reader().tenants().expect("rows"), [tenant("acme-corp"), globex]);
    ledger.delete_tenant(&tenant("globex").id).expect("a deleted tenant");
    assert_eq!(ledger.reader().tenants().expect("rows"), [tenant("acme-corp")]);
}

#[test]
fn absurd_token_counts_do_not_break_the_sums() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let usage = Usage { input: Some(u64::MAX), output: Some(1 << 40), ..Usage::default() };
    write(&ledger, ["a", "b"].map(|id| LedgerEntry { usage, ..entry(id, "globex", Some(i64::MAX)) }));
    let totals = total(&ledger);
    assert_eq!((totals.input_tokens, totals.cost_nano_usd), (i64::MAX, i64::MAX));
    assert_eq!(totals.output_tokens, 1 << 41);
    let mut seen = Vec::new();
    ledger
        .reader()
        .replay(Timestamp::default(), i64::MAX, &mut |_, _, amounts, _| seen.push(amounts))
        .expect("a replay");
    assert_eq!(seen, [[i64::MAX, i64::MAX, 1]; 2]);
}

#[test]
fn a_replay_comes_with_every_dimension_and_counts_no_refusal() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let at = |id, second, ending| LedgerEntry {
        admitted_at: Timestamp::from_seconds(second),
        ending,
        ..entry(id, "globex", Some(7))
    };
    let unnamed = LedgerEntry { model_requested: None, cost: None, ..at("c", 5, Ending::Complete) };
    let retry = LedgerEntry { logical: false, ..at("d", 9, Ending::ClientGone) };
    write(&ledger, [retry, at("b", 8, Ending::Refused), at("a", 3, Ending::Complete), unnamed]);
    let mut seen = Vec::new();
    let mut post = |moment: Timestamp, of: Dimensions<'_>, amounts: Amounts, _: bool| {
        assert_eq!((of.tenant_id, of.plan, of.segment), ("globex", Some("growth"), None));
        assert_eq!((of.endpoint_tag, of.data_mode, of.environment), ("_untagged", "real", "prod"));
        assert_eq!((of.user_id, of.workflow_id, of.provider), (None, None, "openai"));
        seen.push((moment.seconds(), of.model.to_owned(), amounts));
    };
    ledger.reader().replay(Timestamp::from_seconds(4), i64::MAX, &mut post).expect("a replay");
    seen.sort();
    let named = "gpt-4o".to_owned();
    assert_eq!(seen, [(5, String::new(), [0, 1_050, 1]), (8, named.clone(), [7, 1_050, 0]), (9, named, [7, 1_050, 0])]);
}

#[test]
fn a_query_that_takes_too_long_is_ended() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    write(&ledger, (0..2_000).map(|n| entry(&format!("req_{n}"), "globex", Some(n))));
    let slow = ledger.reader().with(Some(Duration::ZERO), |connection| {
        Ok(connection.query_row("SELECT count(*) FROM entry a, entry b", [], |row| row.get::<_, i64>(0))?)
    });
    assert!(matches!(slow, Err(LedgerError::TooSlow)), "{slow:?}");
    assert_eq!(total(&ledger).attempts, 2_000, "the next query has its own time");
}
