//! `kill -9` under load, again and again (row D1): no row that was seen committed is lost or doubled, and whatever the provider
//! bills for a hard budget is charged to it, as a row or in doubt.
//!
//! Five rounds; `PLIMSOLL_KILL_CYCLES=100` for the long run. The oracles are outside of the gateway: the provider's own bill,
//! and a reader of the ledger that notes what it sees while the gateway runs.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::StatusCode;
use plimsoll::domain::clock::{Clock, SystemClock};
use plimsoll::domain::price::PriceBook;
use plimsoll::domain::usage::Usage;
use plimsoll::sim::{Provider, Script};
use tokio::task::JoinSet;

use crate::faults::storage::files::first_version;
use crate::process::{Client, Files, HARD, Process, SOFT, chat, number, policy, read};

const CYCLES: &str = "PLIMSOLL_KILL_CYCLES";
/// How many rows the ledger has that must be ready in two seconds; the long run takes ten million (with `cargo test`, as making
/// them takes longer than `nextest` allows).
const ROWS: &str = "PLIMSOLL_RESTART_ROWS";
/// How many clients call at once, and how often each: 500 calls a second together.
const CLIENTS: usize = 32;
const EACH_EVERY: Duration = Duration::from_millis(64);
/// The longest that a restart may take until `/readyz` says yes.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The ledger as somebody else saw it while the gateway ran: what is in here was committed.
type Seen = HashMap<String, Option<i64>>;

/// Notes every row that becomes visible until it is told to stop.
fn watch(ledger: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let connection = read(&ledger);
        let (mut seen, mut last) = (Seen::new(), 0_i64);
        while !stop.load(Ordering::Relaxed) {
            let mut statement = connection
                .prepare_cached("SELECT id, attempt_id, cost_nano_usd FROM entry WHERE id > ? ORDER BY id")
                .expect("a query");
            let rows = statement.query_map([last], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
            for row in rows {
                let (id, attempt, cost): (i64, String, Option<i64>) = row.expect("a row");
                last = id;
                seen.insert(attempt, cost);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        seen
    })
}

/// Answers that clients got whole.
#[derive(Default)]
struct Answers {
    whole: AtomicUsize,
    refused: AtomicUsize,
}

/// Calls until it is told to stop; every second call is of the hard budget, every third is streamed.
fn load(process: &Process, stop: &Arc<AtomicBool>, answers: &Arc<Answers>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (mut client, stop, answers) = (Client::new(process.data), Arc::clone(stop), Arc::clone(answers));
        clients.spawn(async move {
            let mut due = tokio::time::interval(EACH_EVERY);
            for turn in number.. {
                due.tick().await;
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let tenant = if turn % 2 == 0 { HARD } else { SOFT };
                match client.send(chat(tenant, turn % 3 == 0, "tell me something")).await {
                    Some(reply) if reply.status == StatusCode::OK && !reply.cut => &answers.whole,
                    Some(reply) if reply.status != StatusCode::OK => &answers.refused,
                    _ => continue,
                }
                .fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clients
}

/// What the provider asks for the calls to a model, in nano-dollars, and how many they are.
pub(crate) fn bill(provider: &Provider, model: &str) -> (i64, usize) {
    let book = PriceBook::builtin();
    let price = book.find("openai", "openai", model).expect("a price");
    let lines: Vec<_> = provider.bill().into_iter().filter(|line| line.billed && line.asked == model).collect();
    let cost = |input, cached, output| {
        let usage = Usage { input: Some(input), cached_input: Some(cached), output: Some(output), ..Usage::default() };
        price.cost(&usage).expect("a cost").nano()
    };
    let sum = lines.iter().map(|line| cost(line.input_tokens, line.cached_input_tokens, line.output_tokens)).sum();
    (sum, lines.len())
}

/// The bill once the answers to a dead gateway have come to their end.
async fn settled(provider: &Provider) {
    let mut before = provider.totals();
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = provider.totals();
        if now == before {
            return;
        }
        before = now;
    }
}

/// What the ledger file holds, with nobody running on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Books {
    rows: i64,
    /// Costs of the rows of the hard budget's tenant, and how much of that is not exact.
    charged: i64,
    inexact: i64,
    posted: i64,
    in_doubt: i64,
    leased: i64,
    /// Remainders of leases that crashes left, unresolved.
    remainders: i64,
}

impl Books {
    fn of(ledger: &Path) -> Self {
        let connection = read(ledger);
        let sum = |what: &str, from: &str| number(&connection, &format!("SELECT coalesce(sum({what}), 0) FROM {from}"));
        let rows = format!("entry WHERE tenant_id = '{HARD}'");
        let counter = format!("counter WHERE key LIKE '%{HARD}%'");
        Self {
            rows: number(&connection, "SELECT count(*) FROM entry"),
            charged: sum("cost_nano_usd", &rows),
            inexact: sum("cost_nano_usd", &format!("{rows} AND basis <> 'exact'")),
            posted: sum("posted_nano_usd", &counter),
            in_doubt: sum("in_doubt_nano_usd", &counter),
            leased: sum("leased_nano_usd", &counter),
            remainders: sum("amount", "doubt WHERE resolved IS NULL AND unit = 'nano_usd'"),
        }
    }
}

/// The files as a crash left them, read in a place of their own so that nothing is recovered in them.
fn as_it_was_left(ledger: &Path) -> Books {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for end in ["", "-wal"] {
        let name = format!("{}{end}", ledger.file_name().expect("a name").to_string_lossy());
        let from = ledger.with_file_name(&name);
        if from.exists() {
            fs::copy(from, folder.path().join(name)).expect("a copy");
        }
    }
    let copy = folder.path().join(ledger.file_name().expect("a name"));
    // A file with a log wants a connection that may write before anybody can read it.
    let connection = rusqlite::Connection::open(&copy).expect("a copy");
    assert_eq!(number(&connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'entry'"), 1);
    Books::of(&copy)
}

fn rounds() -> usize {
    std::env::var(CYCLES).ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// The used part of a tenant's budget, as the admin API tells it.
pub(crate) async fn used(process: &Process, tenant: &str, budget: &str) -> i64 {
    let view = process.admin(&format!("/api/v1/tenants/{tenant}")).await.json();
    let budgets = view["budgets"].as_array().expect("budgets");
    budgets.iter().find(|one| one["name"] == budget).expect("the budget")["used"].as_i64().expect("a number")
}

/// A moment between 50 and 500 ms, another one in every round and run.
fn moment() -> Duration {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).expect("randomness");
    Duration::from_millis(50 + u64::from(u16::from_le_bytes(bytes)) % 451)
}

/// One life of a gateway, ended by `kill -9`. Everything that was seen committed is added to `seen`.
async fn live_and_die(process: Process, files: &Files, seen: &mut Seen, answers: &Arc<Answers>) {
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(files.ledger.clone(), Arc::clone(&stop));
    let clients = load(&process, &stop, answers);
    tokio::time::sleep(moment()).await;
    process.kill();
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    seen.extend(watcher.join().expect("a watcher"));
}

/// Every row that was seen is there, once and unchanged.
fn nothing_is_lost(ledger: &Path, seen: &Seen) {
    let connection = read(ledger);
    let mut statement = connection.prepare("SELECT attempt_id, cost_nano_usd FROM entry").expect("a query");
    let mut there = Seen::new();
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows") {
        let (attempt, cost): (String, Option<i64>) = row.expect("a row");
        assert!(there.insert(attempt.clone(), cost).is_none(), "`{attempt}` is there twice");
    }
    for (attempt, cost) in seen {
        assert_eq!(there.get(attempt), Some(cost), "`{attempt}` was committed");
    }
    let check: String = connection.query_one("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
}

// Mutations: the remainder of a lease goes back at recovery; leases are granted without a commit; the answer of a grant does
// not wait for its commit; a row is posted to its counter in a transaction of its own. (`synchronous=OFF` cannot be told apart
// here: a killed process leaves its writes with the kernel. That takes a power loss, row D2.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_kill_9_under_load_loses_no_committed_row_and_every_billed_call_of_a_hard_budget_is_charged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Script {
        answer_tokens: 16..=16,
        first_token_delay: Duration::from_millis(10),
        token_delay: Duration::from_millis(1),
        ..Script::default()
    };
    let provider = Provider::start(script).await.expect("a scripted provider");
    let ledger = folder.path().join("plimsoll.db");
    let files = Files::new(folder.path(), &ledger, &provider.base_url(), &policy("$1000/month"));
    let (mut seen, answers) = (Seen::new(), Arc::new(Answers::default()));
    let (mut slowest, mut doubtful, begun) = (Duration::ZERO, 0, Instant::now());
    let mut process = Process::start(&files).await;
    for round in 0..rounds() {
        live_and_die(process, &files, &mut seen, &answers).await;
        settled(&provider).await;
        let left = as_it_was_left(&ledger);
        process = Process::start(&files).await;
        slowest = slowest.max(process.ready_after);
        assert!(process.ready_after < READY_WITHIN, "round {round}: ready after {:?}", process.ready_after);
        nothing_is_lost(&ledger, &seen);
        let (books, charged) = (Books::of(&ledger), used(&process, HARD, "hard").await);
        let (hard, calls) = bill(&provider, "gpt-4o");
        let told =
            format!("round {round}: bill {hard} for {calls} calls, used {charged}, left {left:?}, now {books:?}");
        assert_eq!(books.posted + books.in_doubt, charged, "memory and store: {told}");
        assert_eq!(books.charged + books.remainders, charged, "rows and counters: {told}");
        assert!(hard <= charged, "under-billed: {told}");
        assert!(charged - hard <= books.remainders + books.inexact, "charged without a reason: {told}");
        assert_eq!((books.leased, books.remainders), (0, left.remainders + left.leased), "leases: {told}");
        assert!(books.rows <= i64::try_from(provider.bill().len()).expect("a number"), "more rows than calls: {told}");
        doubtful += i64::from(books.remainders > left.remainders);
    }
    let before = Books::of(&ledger);
    process.stop().await;
    assert_eq!(Books::of(&ledger), before, "a clean stop changes nothing");
    let process = Process::start(&files).await;
    assert_eq!(
        (Books::of(&ledger), used(&process, HARD, "hard").await),
        (before.clone(), before.posted + before.in_doubt)
    );
    process.stop().await;
    report(&format!(
        "{} rounds in {:?}: {} answers, {} refusals, {} rows seen committed, {} rows, slowest restart {slowest:?}, {doubtful} rounds \
         left leases in doubt, {} nano-dollars in all\n",
        rounds(),
        begun.elapsed(),
        answers.whole.load(Ordering::Relaxed),
        answers.refused.load(Ordering::Relaxed),
        seen.len(),
        before.rows,
        before.remainders,
    ));
}

// Mutation: the counters are rebuilt from the rows at every start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_ledger_of_many_rows_is_ready_again_in_two_seconds_after_a_stop_and_after_a_kill() {
    let rows = std::env::var(ROWS).ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = Provider::start(Script::default()).await.expect("a scripted provider");
    let ledger = folder.path().join("plimsoll.db");
    first_version(&ledger, rows, SystemClock.now());
    let everybody = policy("$1000/month").replace(&format!(", match: {{ tenantId: {SOFT} }}"), "");
    let files = Files::new(folder.path(), &ledger, &provider.base_url(), &everybody);
    let process = Process::start(&files).await;
    let first = process.ready_after;
    let before = used(&process, SOFT, "soft").await;
    process.stop().await;
    let process = Process::start(&files).await;
    let clean = process.ready_after;
    assert_eq!(process.call(HARD).await.status, 200);
    assert_eq!(used(&process, SOFT, "soft").await, before);
    process.kill();
    let process = Process::start(&files).await;
    let killed = process.ready_after;
    report(&format!("{rows} rows: first start {first:?}, after a stop {clean:?}, after a kill {killed:?}\n"));
    assert_eq!(used(&process, SOFT, "soft").await, before);
    assert!(used(&process, HARD, "hard").await >= bill(&provider, "gpt-4o").0);
    process.stop().await;
    assert!(clean.max(killed) < READY_WITHIN, "{rows} rows: after a stop {clean:?}, after a kill {killed:?}");
}

fn report(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}
