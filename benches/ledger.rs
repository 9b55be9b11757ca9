//! `cargo bench --bench ledger`: what a row costs the thread that writes, and how many a second it can take.
//!
//! Rows are as a gateway under load makes them, and the file stands below the folder for temporary files: point `TMPDIR` at
//! the disk in question. Times of the processor are those of the writer's thread, as Linux counts them.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::money::Money;
use plimsoll::domain::standing::Unit;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::domain::usage::{Basis, Usage};
use plimsoll::domain::window::Window;
use plimsoll::ledger::entry::{Ending, LedgerEntry};
use plimsoll::ledger::{Grant, Ledger, LedgerStore, Record, SqliteStore};
use plimsoll::meter::counter::{CounterName, WindowCounter};
use plimsoll::meter::reservation::{Posting, Postings};

const ROWS: u64 = 100_000;
/// What a row costs, in nano-dollars.
const COST: i64 = 184_800;
/// Two orders in which tenants take turns.
const TURN: u64 = 7_919;
const OTHER_TURN: u64 = 6_131;
/// What they are of: a few that are known, and as many as there are rows.
const TENANTS: [u64; 2] = [500, 100_000];
/// 2026-11-01 and a month later.
const WINDOW: (i64, i64) = (1_793_491_200, 1_796_083_200);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    for tenants in TENANTS {
        println!("{ROWS} rows of {tenants} tenants, each in two counters, synchronous = FULL");
        let rows = Rows::of(tenants);
        for batch in [50, 100, 500] {
            transactions(&folder.path().join(format!("{tenants}-in-batches-of-{batch}.db")), &rows, batch)?;
        }
        queued(&folder.path().join(format!("{tenants}-queued.db")), &rows)?;
        for batch in [500, 1_000] {
            again(&folder.path().join(format!("{tenants}-again-in-batches-of-{batch}.db")), &rows, batch)?;
        }
    }
    Ok(())
}

/// The store alone, in transactions of one size.
fn transactions(path: &Path, rows: &Rows, batch: u64) -> Result<(), Box<dyn Error>> {
    let mut store = SqliteStore::open(path)?;
    let (mut spent, mut took) = (Duration::ZERO, Duration::ZERO);
    for first in (0..ROWS).step_by(usize::try_from(batch)?) {
        let records: Vec<Record> =
            (first..first + batch).map(|number| Record::Attempt(Box::new(rows.entry(number)))).collect();
        let (before, began) = (own_time("self")?, Instant::now());
        store.append(&records)?;
        spent += own_time("self")?.saturating_sub(before);
        took += began.elapsed();
    }
    report(&format!("transactions of {batch}"), spent, took);
    Ok(())
}

/// Tenants that are known call again, in another order than before, and one of their two counters has a lease.
fn again(path: &Path, rows: &Rows, batch: u64) -> Result<(), Box<dyn Error>> {
    let mut store = SqliteStore::open(path)?;
    let known = rows.tenants.len() as u64;
    for first in (0..known).step_by(500) {
        let numbers = first..known.min(first + 500);
        let leases = numbers.clone().map(|number| Record::Grant(rows.lease(number)));
        let calls = numbers.map(|number| Record::Attempt(Box::new(rows.entry(number))));
        store.append(&leases.chain(calls).collect::<Vec<_>>())?;
    }
    let (mut spent, mut took) = (Duration::ZERO, Duration::ZERO);
    for first in (known..known + ROWS).step_by(usize::try_from(batch)?) {
        let records: Vec<Record> =
            (first..first + batch).map(|number| Record::Attempt(Box::new(rows.leased_entry(number)))).collect();
        let (before, began) = (own_time("self")?, Instant::now());
        store.append(&records)?;
        spent += own_time("self")?.saturating_sub(before);
        took += began.elapsed();
    }
    report(&format!("again, leased, of {batch}"), spent, took);
    Ok(())
}

/// The whole ledger: as many rows as it takes, from one thread that never waits.
fn queued(path: &Path, rows: &Rows) -> Result<(), Box<dyn Error>> {
    let ledger = Ledger::open(path)?;
    let writer = writer_thread()?;
    let (before, began) = (own_time(&writer)?, Instant::now());
    for number in 0..ROWS {
        let entry = rows.entry(number);
        let permit = loop {
            match ledger.permit() {
                Some(permit) => break permit,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        permit.send(entry);
    }
    ledger.flush()?;
    let spent = own_time(&writer)?.saturating_sub(before);
    report("through the queue", spent, began.elapsed());
    let lost = ledger.lost();
    ledger.close();
    if lost > 0 { Err(format!("{lost} rows were lost").into()) } else { Ok(()) }
}

fn report(what: &str, spent: Duration, took: Duration) {
    let each = spent.as_nanos() / u128::from(ROWS);
    let rate = u128::from(ROWS) * 1_000_000_000 / took.as_nanos().max(1);
    println!("{what:<24} {rate:>8} rows/s {:>4}.{:02} CPU-µs per row", each / 1_000, each % 1_000 / 10);
}

/// The time that a thread had a processor.
fn own_time(thread: &str) -> Result<Duration, Box<dyn Error>> {
    let path = if thread == "self" { "/proc/thread-self/schedstat".to_owned() } else { format!("{thread}/schedstat") };
    let text = fs::read_to_string(path)?;
    let ran = text.split_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(ran.parse()?))
}

/// A thread has its name when it has run.
fn writer_thread() -> Result<String, Box<dyn Error>> {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        for task in fs::read_dir("/proc/self/task")? {
            let path = task?.path();
            if fs::read_to_string(path.join("comm"))?.trim() == "ledger" {
                return Ok(path.display().to_string());
            }
        }
    }
    Err("no thread is called `ledger`".into())
}

/// What rows have in common.
struct Rows {
    tenants: Vec<(Arc<Tenant>, Postings)>,
    attribution: Arc<Attribution>,
    words: [Arc<str>; 6],
}

impl Rows {
    fn of(tenants: u64) -> Self {
        let identities: [Arc<str>; 2] = [
            Arc::from(r#"{"budget":"monthly_cost","match":{},"per":["tenantId"],"span":"month","zone":"UTC"}"#),
            Arc::from(
                r#"{"budget":"digests","match":{"all":{"endpointTag":["digest.*"]}},"per":["tenantId"],"span":"month","zone":"UTC"}"#,
            ),
        ];
        let window = Window { start: Timestamp::from_seconds(WINDOW.0), end: Timestamp::from_seconds(WINDOW.1) };
        let tenant = |number: u64| {
            let id = TenantId::new(&format!("tenant-{number:06}")).expect("a tenant's name");
            let mut postings = Postings::new();
            for identity in &identities {
                let name = CounterName { identity: Arc::clone(identity), key: Arc::from(id.as_str()) };
                let counter = WindowCounter::named(name, window);
                postings.push(Posting { counter, covered: [0; 3] });
            }
            let tenant =
                Tenant { plan: Some(Arc::from("growth")), segment: Some(Arc::from("smb")), ..Tenant::unknown(id) };
            (Arc::new(tenant), postings)
        };
        let attribution = Attribution { endpoint_tag: Arc::from("digest.daily"), ..Attribution::default() };
        let words = ["openai", "openai-chat", "/v1/chat/completions", "gpt-4o-mini", "r1 9f3c1ae", ""].map(Arc::from);
        Self { tenants: (0..tenants).map(tenant).collect(), attribution: Arc::new(attribution), words }
    }

    /// A lease of the first counter of the tenant of a row.
    fn lease(&self, number: u64) -> Grant {
        let counter = self.tenants[self.turn(number, TURN)].1[0].counter.clone();
        Grant { counter, unit: Unit::Money, need: COST, want: COST * 1_000, ceiling: i64::MAX }
    }

    /// A row that a lease covers, of the tenant whose turn it is in another order.
    fn leased_entry(&self, number: u64) -> LedgerEntry {
        let (tenant, postings) = &self.tenants[self.turn(number, OTHER_TURN)];
        let mut postings = postings.clone();
        postings[0].covered = [COST, 0, 0];
        LedgerEntry { tenant: Arc::clone(tenant), postings, ..self.entry(number) }
    }

    /// Each tenant has its turn, and none beside its neighbour, for a prime that does not divide their number.
    fn turn(&self, number: u64, prime: u64) -> usize {
        usize::try_from(number * prime).unwrap_or(0) % self.tenants.len()
    }

    fn entry(&self, number: u64) -> LedgerEntry {
        // Any odd number spreads: what matters is that ids do not come in order within a moment.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id: Arc<str> = Arc::from(format!("req_{:08x}{:012x}", number / 16, mixed >> 16));
        let (tenant, postings) = &self.tenants[self.turn(number, TURN)];
        let [provider, dialect, path, model, policy, nothing] = &self.words;
        LedgerEntry {
            attempt_id: Arc::clone(&id),
            request_id: id,
            admitted_at: Timestamp::from_micros(WINDOW.0 * 1_000_000 + i64::try_from(number * 90).unwrap_or(0)),
            tenant: Arc::clone(tenant),
            attribution: Arc::clone(&self.attribution),
            key_name: Some(Arc::from("backend")),
            provider: Arc::clone(provider),
            dialect: Arc::clone(dialect),
            path: Arc::clone(path),
            model_requested: Some(Arc::clone(model)),
            model_served: Some(Arc::clone(model)),
            model_answered: Some(Arc::clone(model)),
            stream: false,
            logical: true,
            usage: Usage { input: Some(512), cached_input: Some(0), output: Some(180), ..Usage::default() },
            basis: Basis::Exact,
            price: None,
            cost: Some(Money::from_nano(COST)),
            status: 200,
            ending: Ending::Complete,
            decision: Arc::clone(nothing),
            would: Arc::clone(nothing),
            policy: Arc::clone(policy),
            overhead_us: 41,
            first_byte_us: Some(812_345),
            duration_us: 2_345_678,
            postings: postings.clone(),
            snapshot: 1,
            correction: None,
        }
    }
}
