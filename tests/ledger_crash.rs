//! What a `kill -9` leaves of the ledger: every row whose flush was answered.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::money::Money;
use plimsoll::domain::price::PriceBook;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::domain::usage::{Basis, Usage};
use plimsoll::ledger::entry::{Ending, LedgerEntry};
use plimsoll::ledger::{Ledger, SpendQuery};
use plimsoll::meter::reservation::Postings;

const LEDGER: &str = "PLIMSOLL_TEST_CRASH_LEDGER";

/// A plain attempt that cost one nano-dollar.
pub(crate) fn attempt(id: &str, tenant: &str) -> LedgerEntry {
    LedgerEntry {
        attempt_id: Arc::from(id),
        request_id: Arc::from(id),
        admitted_at: Timestamp::from_seconds(1_795_000_000),
        tenant: Arc::new(Tenant::unknown(TenantId::new(tenant).expect("a name"))),
        attribution: Arc::new(Attribution::default()),
        key_name: None,
        provider: Arc::from("openai"),
        dialect: Arc::from("openai-chat"),
        path: Arc::from("/v1/chat/completions"),
        model_requested: Some(Arc::from("gpt-4o")),
        model_served: Some(Arc::from("gpt-4o")),
        model_answered: Some(Arc::from("gpt-4o-2024-08-06")),
        stream: false,
        logical: true,
        usage: Usage { input: Some(100), output: Some(10), ..Usage::default() },
        basis: Basis::Exact,
        price: PriceBook::builtin().find("openai", "openai", "gpt-4o").cloned(),
        cost: Some(Money::from_nano(1)),
        status: 200,
        ending: Ending::Complete,
        decision: Arc::from(""),
        would: Arc::from(""),
        policy: Arc::from("r1 9f3c1ae"),
        overhead_us: 400,
        first_byte_us: None,
        duration_us: 1_000,
        postings: Postings::new(),
        snapshot: 1,
        correction: None,
    }
}

/// The process that is killed. Without its variable it has nothing to do.
#[test]
fn the_process_to_be_killed_writes_and_says_what_is_on_the_disk() {
    let Some(path) = std::env::var_os(LEDGER) else { return };
    let ledger = Ledger::open(path.as_ref()).expect("a ledger");
    for round in 0_u64.. {
        for number in 0..50 {
            ledger.permit().expect("a free place").send(attempt(&format!("{round}-{number}"), "globex"));
        }
        ledger.flush().expect("a written ledger");
        let mut out = std::io::stderr();
        writeln!(out, "written {}", (round + 1) * 50).expect("a listener");
    }
}

#[test]
fn a_killed_process_loses_no_row_that_was_written_and_the_next_one_knows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plimsoll.db");
    let mut written = 0_i64;
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "ledger_crash::the_process_to_be_killed_writes_and_says_what_is_on_the_disk",
                "--nocapture",
            ])
            .env(LEDGER, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stderr.take().expect("its words")).lines().map_while(Result::ok);
        let last = lines.filter_map(|line| line.strip_prefix("written ")?.parse::<i64>().ok()).nth(7);
        child.kill().expect("a killed process");
        child.wait().expect("its end");
        written = written.max(last.expect("rows on the disk"));
        let ledger = Ledger::open(&path).expect("a ledger whose lock went with its process");
        assert!(ledger.opened_after_crash());
        let found = ledger.reader().spend(&SpendQuery::default()).expect("sums")[0].totals;
        assert!(found.attempts >= written, "{} of {written} rows", found.attempts);
        assert_eq!(found.cost_nano_usd, found.attempts, "no row is there twice or in part");
    }
}
