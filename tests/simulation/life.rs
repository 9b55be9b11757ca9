//! One life: the events, each done with the product's own parts, and what they ought to come to noted in the books.

mod calls;
mod policy;
mod starts;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::money::Money;
use plimsoll::domain::price::PriceRow;
use plimsoll::domain::standing::{Amounts, Unit};
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::domain::usage::{Basis, Usage};
use plimsoll::domain::window::Window;
use plimsoll::ledger::entry::{Ending, LedgerEntry};
use plimsoll::ledger::{Grant, LedgerReader, LedgerStore, Record, Resolution, Rules, Seed, SqliteStore, StoredCounter};
use plimsoll::meter::Meter;
use plimsoll::meter::counter::WindowCounter;
use plimsoll::meter::reservation::{Ask, Misfit, Postings, Refusal, count_also, reserve};

use super::books::{Books, Effect, Name, Row};
use super::provider::{Flight, Line, nano, tariffs};
use super::random::Random;

pub(super) const TENANTS: [&str; 2] = ["acme", "globex"];

/// What a budget counts; the same for all of a life.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub(super) identity: Arc<str>,
    seconds: i64,
    /// Whether each tenant has a counter of its own.
    per_tenant: bool,
    /// Whether it counts only the first tenant.
    first_only: bool,
    /// Whether the policy in force has it.
    pub(super) alive: bool,
    ceiling: i64,
}

impl Budget {
    fn counts(&self, tenant: usize) -> bool {
        !self.first_only || tenant == 0
    }

    fn key(&self, tenant: usize) -> usize {
        if self.per_tenant { tenant } else { 0 }
    }

    fn key_text(&self, key: usize) -> &'static str {
        if self.per_tenant { TENANTS[key] } else { "" }
    }

    fn window(&self, now: i64) -> Window {
        let start = now.div_euclid(self.seconds) * self.seconds;
        Window { start: Timestamp::from_seconds(start), end: Timestamp::from_seconds(start + self.seconds) }
    }

    fn counter(&self, meter: &Meter, tenant: usize, at: i64) -> WindowCounter {
        let counter = meter.counter(&self.identity, self.key_text(self.key(tenant)));
        counter.window(Timestamp::from_seconds(at), || self.window(at))
    }
}

/// How much happened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) admitted: u64,
    pub(super) refused: u64,
    pub(super) rows: u64,
    pub(super) lost: u64,
    pub(super) debts: u64,
    pub(super) crashes: u64,
    pub(super) resolved: u64,
    pub(super) returned: u64,
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            admitted: a.admitted + b.admitted,
            refused: a.refused + b.refused,
            rows: a.rows + b.rows,
            lost: a.lost + b.lost,
            debts: a.debts + b.debts,
            crashes: a.crashes + b.crashes,
            resolved: a.resolved + b.resolved,
            returned: a.returned + b.returned,
        })
    }
}

/// A record on its way to the disk.
#[derive(Debug)]
pub(super) struct Sent {
    record: Record,
    pub(super) effects: Vec<Effect>,
    /// For an attempt: its row, and what it must be charged with in each counter once it is written.
    row: Option<Row>,
    due: Vec<(Name, i64)>,
    /// What the provider billed of what each hard counter held for it.
    pub(super) covered: Vec<(Name, i64)>,
}

pub(super) struct Life {
    pub(super) seed: u64,
    pub(super) event: usize,
    pub(super) what: &'static str,
    random: Random,
    folder: tempfile::TempDir,
    store: Option<SqliteStore>,
    pub(super) reader: LedgerReader,
    meter: Arc<Meter>,
    now: i64,
    pub(super) budgets: [Budget; 3],
    /// The number of the policy in force.
    snapshot: u64,
    rules: Option<Rules>,
    /// A budget that is on its way back and not in force yet.
    coming: Option<usize>,
    pub(super) queue: Vec<Sent>,
    pub(super) flights: Vec<Flight>,
    /// Every counter in memory since the last start; of one name the last is the present one.
    pub(super) generations: Vec<(Name, WindowCounter)>,
    /// Counters that began empty although the store knows them: their window was not the present one at the start.
    pub(super) unrestored: BTreeSet<Name>,
    pub(super) books: Books,
    pub(super) stored: BTreeMap<Name, StoredCounter>,
    prices: [Arc<PriceRow>; 2],
    tariff: usize,
    again: Option<LedgerEntry>,
    /// The attempts that left, and those of them that a crash took.
    pub(super) left: u64,
    pub(super) lost: u64,
    runs: i64,
    pub(super) tally: Tally,
}

impl Sent {
    pub(super) fn is_row(&self) -> bool {
        self.row.is_some()
    }
}

impl Life {
    pub(super) fn begin(seed: u64) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a temporary folder");
        let path = folder.path().join("life.db");
        let store = SqliteStore::open(&path).expect("a new ledger");
        let budget = |identity: &str, seconds, per_tenant, first_only, ceiling| Budget {
            identity: Arc::from(identity),
            seconds,
            per_tenant,
            first_only,
            alive: true,
            ceiling,
        };
        let mut life = Self {
            seed,
            event: 0,
            what: "the beginning",
            random: Random(seed),
            reader: LedgerReader::open(&path).expect("a reader"),
            folder,
            store: Some(store),
            meter: Arc::default(),
            now: 1_000_000,
            budgets: [
                budget("tenant", 300, true, false, 400),
                budget("first", 1_000, true, true, 700),
                budget("all", 500, false, false, 900),
            ],
            snapshot: 1,
            rules: None,
            coming: None,
            queue: Vec::new(),
            flights: Vec::new(),
            generations: Vec::new(),
            unrestored: BTreeSet::new(),
            books: Books::default(),
            stored: BTreeMap::new(),
            prices: tariffs(),
            tariff: 0,
            again: None,
            left: 0,
            lost: 0,
            runs: 0,
            tally: Tally::default(),
        };
        life.start();
        life.check();
        life
    }

    /// One event.
    pub(super) fn step(&mut self) {
        self.event += 1;
        let quiet = self.coming.is_none();
        match self.random.between(0, 99) {
            0..=33 => self.admit(),
            34..=57 => self.end_a_call(),
            58..=69 => self.commit_some(),
            70..=73 => self.pass(1, 40),
            74..=76 => self.boundary(),
            77..=78 => self.pass(-400, -1),
            79..=80 => self.pass(100, 1_500),
            81..=84 if quiet => self.change_a_ceiling(),
            85..=86 if quiet => self.delete(),
            87..=89 if quiet => self.bring_back(),
            81..=89 => self.come_into_force(),
            90..=91 => self.give_leases_back(),
            92 => self.lease_ahead(),
            93 => self.repeat_a_row(),
            94..=95 => self.resolve(),
            96 => self.change_prices(),
            97..=98 => self.crash(),
            _ => self.restart(),
        }
        self.check();
    }

    /// Ends everything in good order, and reads the whole ledger once more.
    pub(super) fn end(mut self) -> Tally {
        self.restart();
        self.check();
        self.check_rows();
        self.tally.rows = self.books.rows.len() as u64;
        self.tally
    }

    pub(super) fn name(&self, counter: &WindowCounter) -> Name {
        let named = counter.counter();
        let budget = self.budgets.iter().position(|budget| budget.identity == *named.identity()).expect("a budget");
        let key = TENANTS.iter().position(|tenant| **tenant == **named.key()).unwrap_or(0);
        (budget, key, counter.window().start.seconds())
    }

    /// Notes a counter in memory. `filled`: it was told what the store knows.
    fn meet(&mut self, counter: &WindowCounter, filled: bool) -> Name {
        let name = self.name(counter);
        if !self.generations.iter().any(|(_, known)| known.is(counter)) {
            let book = self.books.counters.get(&name);
            let is_new = book.is_none_or(|book| book.money() == (0, 0) && book.posted == [0; 3]);
            let is_queued = self.queue.iter().any(|sent| {
                sent.effects.iter().any(|effect| matches!(effect, Effect::Row { name: known, .. } if *known == name))
            });
            if filled {
                self.unrestored.remove(&name);
            } else if !is_new || is_queued {
                self.unrestored.insert(name);
            }
            self.generations.push((name, counter.clone()));
        }
        name
    }

    pub(super) fn ceiling(&self, name: Name) -> i64 {
        self.budgets[name.0].ceiling
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_seconds(self.now)
    }
}

fn count(counter: &WindowCounter, posted: Amounts, in_doubt: Amounts) {
    for unit in Unit::ALL {
        counter.cell(unit).post(posted[unit.index()] + in_doubt[unit.index()]);
    }
}

/// What every row here says.
fn blank(id: Arc<str>, tenant: usize) -> LedgerEntry {
    let tenant = TenantId::new(TENANTS[tenant]).expect("a valid name");
    LedgerEntry {
        attempt_id: Arc::clone(&id),
        request_id: id,
        admitted_at: Timestamp::default(),
        tenant: Arc::new(Tenant::unknown(tenant)),
        attribution: Arc::new(Attribution::default()),
        key_name: None,
        provider: Arc::from("openai"),
        dialect: Arc::from("openai-chat"),
        path: Arc::from("/v1/chat/completions"),
        model_requested: Some(Arc::from("gpt-4o")),
        model_served: None,
        model_answered: None,
        stream: false,
        logical: true,
        usage: Usage::default(),
        basis: Basis::Exact,
        price: None,
        cost: None,
        status: 200,
        ending: Ending::Complete,
        decision: Arc::from(""),
        would: Arc::from(""),
        policy: Arc::from("r1 simulated"),
        overhead_us: 0,
        first_byte_us: None,
        duration_us: 0,
        postings: Postings::new(),
        snapshot: 0,
        correction: None,
    }
}
