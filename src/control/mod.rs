//! The running policy: one immutable snapshot, swapped whole.
//!
//! A reload reads the folder, validates everything, rebuilds the counters of budgets that are new from the ledger, and then
//! swaps one pointer. On any error nothing changes. A call keeps the snapshot that it was judged by, and never has to free it.

pub mod background;
pub mod folder;
mod past;
mod retired;
#[cfg(test)]
pub(crate) mod tests;
pub mod watch;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arc_swap::ArcSwap;

use crate::allocator::give_back;
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::directory::{Directory, KnownNames};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::price::PriceBook;
use crate::domain::standing::Dimensions;
use crate::domain::tenant::Tenant;
use crate::meter::Meter;
use crate::meter::counter::WindowCounter;
use crate::policy::route::Abilities;
use crate::policy::{self, ModelFacts, Policy};
use crate::wire::Family;

use background::in_background;
use folder::Files;
use retired::Retired;

pub use folder::Change;
pub use past::{Begin, Buckets, CountersOf, History, PastCounter, PastStep, Replay, Replayed, Seed, Seeded};

/// Everything that a call is judged by. Never changes once it is made.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with every swap.
    pub number: u64,
    /// As people see it: `r42 9f3c1ae`.
    pub revision: Arc<str>,
    /// The compiled policy. The ledger counts by it for longer than the tenants are of use.
    pub policy: Arc<Policy>,
    /// The tenants.
    pub directory: Directory,
    /// The tariff.
    pub prices: Arc<PriceBook>,
    /// When it came into force.
    pub loaded_at: Timestamp,
    /// Whether a policy file is behind it.
    has_files: bool,
    /// The texts that it was compiled from.
    pub sources: Vec<Source>,
}

impl Snapshot {
    /// Whether a revision is this one: `r42 9f3c1ae`, or `9f3c1ae` alone. Numbers begin anew with every run, so that `r42` alone could
    /// be another policy.
    pub fn is_called(&self, revision: &str) -> bool {
        *self.revision == *revision || self.revision.split(' ').nth(1) == Some(revision)
    }

    /// The windows that hold `at` of every budget that counts a call of these dimensions, but for calendar windows that are
    /// over.
    pub fn counters(&self, meter: &Meter, at: Timestamp, dimensions: &Dimensions<'_>) -> Vec<WindowCounter> {
        past::counters(&self.policy, meter, at, dimensions)
    }
}

/// What the last attempt to load said.
#[derive(Debug, Clone, Default)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// Whether it is in force.
    pub ok: bool,
    /// Every mistake and warning.
    pub diagnostics: Vec<Diagnostic>,
}

/// A policy that is not taken.
#[derive(Debug)]
pub struct Broken {
    /// Every mistake.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts, for excerpts.
    pub sources: Vec<Source>,
}

/// Why a new policy is not in force.
#[derive(Debug)]
pub enum Refusal {
    /// It has mistakes, or cannot be written.
    Broken(Broken),
    /// Another revision runs than was expected.
    Moved {
        /// The one that runs.
        running: Arc<str>,
    },
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What control needs to begin.
pub struct Surroundings {
    /// The folder of policies.
    pub folder: PathBuf,
    /// The tariff.
    pub prices: Arc<PriceBook>,
    /// Names that `notify:` may use.
    pub notify_targets: Vec<String>,
    /// The live counters.
    pub meter: Arc<Meter>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The past.
    pub history: History,
}

/// Holds the running snapshot and replaces it.
pub struct Control {
    current: ArcSwap<Snapshot>,
    around: Surroundings,
    last: Mutex<Reload>,
    retired: Retired,
    /// The digest of the files that the last attempt read, so that one bad file is reported once.
    seen: Mutex<String>,
}

impl Control {
    /// Loads the folder for the first time. A broken policy is an error here.
    pub fn start(around: Surroundings) -> Result<Self, Broken> {
        let files = Files::read(&around.folder)
            .map_err(|diagnostic| Broken { diagnostics: vec![*diagnostic], sources: Vec::new() })?;
        let (snapshot, warnings) = build(&around, &files, 1)?;
        let snapshot = Arc::new(snapshot);
        past::take_up(&around, &snapshot, None).map_err(|error| forgotten(&error))?;
        let last = Reload { at: snapshot.loaded_at, ok: true, diagnostics: warnings };
        let (current, last, seen) = (ArcSwap::new(snapshot), Mutex::new(last), Mutex::new(files.digest));
        Ok(Self { current, around, last, retired: Retired::default(), seen })
    }

    /// The snapshot in force. Take it once per call.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What the last attempt to load said.
    pub fn last_reload(&self) -> Reload {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a policy file is in force.
    pub fn has_files(&self) -> bool {
        self.load().has_files
    }

    /// The live counters.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.around.meter
    }

    /// The folder that is read.
    pub fn folder(&self) -> &Path {
        &self.around.folder
    }

    /// Reads the folder again and, when it is valid, puts it in force. `None`: the files are as they were.
    pub fn reload(&self) -> Option<Result<Arc<Snapshot>, Broken>> {
        self.look_in_background(false)
    }

    fn look_in_background(&self, again: bool) -> Option<Result<Arc<Snapshot>, Broken>> {
        self.in_background(|| self.look(again)).unwrap_or_else(|_| {
            // What happened is on the log. The running policy stays, and the next change is looked at.
            let fault = Diagnostic::error(
                "E001",
                format!("`{}` cannot be read: a fault of ours", self.around.folder.display()),
            );
            Some(Err(self.rejected(Broken { diagnostics: vec![fault], sources: Vec::new() })))
        })
    }

    /// Does what reads the folder. What that took is returned where it was much: with it goes what is free on the cores.
    fn in_background<T: Send>(&self, work: impl Fn() -> T + Sync) -> thread::Result<T> {
        const MANY: usize = 10_000;
        in_background(|| {
            let done = work();
            if self.load().directory.len() >= MANY {
                give_back();
            }
            done
        })
    }

    fn look(&self, again: bool) -> Option<Result<Arc<Snapshot>, Broken>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if again {
            seen.clear();
        }
        self.retired.free_unheld();
        let (files, mark) = self.read();
        if *seen == mark {
            return None;
        }
        *seen = mark;
        Some(match files {
            Ok(files) => self.take_over(&files),
            Err(fault) => Err(self.rejected(Broken { diagnostics: vec![*fault], sources: Vec::new() })),
        })
    }

    /// The files, or why they cannot be read, and what tells that from another reading.
    fn read(&self) -> (Result<Files, Box<Diagnostic>>, String) {
        let files = Files::read(&self.around.folder);
        let mark = files.as_ref().map_or_else(|fault| fault.one_line(), |files| files.digest.clone());
        (files, mark)
    }

    /// Reads the folder again even when the files are as they were.
    pub fn reload_now(&self) -> Result<Arc<Snapshot>, Broken> {
        self.look_in_background(true).unwrap_or_else(|| Ok(self.load()))
    }

    /// Whether the files are others than those that were read last. Frees what nobody holds any more.
    fn differs(&self) -> bool {
        let differs = self.in_background(|| {
            self.retired.free_unheld();
            let (_, mark) = self.read();
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != mark
        });
        differs.unwrap_or(true)
    }

    /// Does something while no policy comes into force. It waits for a reload that is under way; it must not begin one.
    pub fn between_reloads<T>(&self, work: impl FnOnce() -> T) -> T {
        let _reloading = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Validates a new policy, writes it into the folder, and puts it in force; but only when `expected` runs, where a
    /// revision is expected. No reload comes between that look and the swap.
    pub fn apply(&self, change: &Change, expected: Option<&str>) -> Result<Arc<Snapshot>, Refusal> {
        self.in_background(|| self.push(change, expected)).unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn push(&self, change: &Change, expected: Option<&str>) -> Result<Arc<Snapshot>, Refusal> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.load();
        if expected.is_some_and(|expected| !running.is_called(expected)) {
            return Err(Refusal::Moved { running: Arc::clone(&running.revision) });
        }
        let unreadable = |diagnostic: Box<Diagnostic>| Broken { diagnostics: vec![*diagnostic], sources: Vec::new() };
        let old = Files::read(&self.around.folder).map_err(unreadable)?;
        if expected.is_some() && *running.sources != *old.policies {
            // What somebody saved meanwhile, in force or not, was not planned against and would be lost.
            let running = Arc::from(format!("{} beside files that were edited since", running.revision));
            return Err(Refusal::Moved { running });
        }
        let files = old.clone().with(change);
        build(&self.around, &files, 0).map_err(|broken| self.rejected(broken))?;
        files.write(&self.around.folder, &old).map_err(unreadable)?;
        let read = Files::read(&self.around.folder).map_err(unreadable);
        let put = read.and_then(|read| {
            seen.clone_from(&read.digest);
            self.put_in_force(&read)
        });
        put.map_err(|mut broken| {
            // What is not in force is not left for the next start to take up.
            seen.clone_from(&old.digest);
            if let Some(fault) = broken.diagnostics.pop() {
                broken.diagnostics.push(old.put_back(&self.around.folder, &files, fault));
            }
            Refusal::Broken(broken)
        })
    }

    /// A folder that has lost its last policy is more likely unmounted than meant.
    fn take_over(&self, files: &Files) -> Result<Arc<Snapshot>, Broken> {
        if files.policies.is_empty() && self.load().has_files {
            let fault =
                Diagnostic::error("E004", format!("`{}` holds no policy any more", self.around.folder.display()));
            let fault = fault.help("the running policy stays; to enforce nothing, write one with `mode: dry_run`");
            return Err(self.rejected(Broken { diagnostics: vec![fault], sources: Vec::new() }));
        }
        self.put_in_force(files)
    }

    fn put_in_force(&self, files: &Files) -> Result<Arc<Snapshot>, Broken> {
        let before = self.load();
        let (snapshot, warnings) =
            build(&self.around, files, before.number + 1).map_err(|broken| self.rejected(broken))?;
        let snapshot = Arc::new(snapshot);
        past::take_up(&self.around, &snapshot, Some(&before)).map_err(|error| self.rejected(forgotten(&error)))?;
        self.current.store(Arc::clone(&snapshot));
        past::let_go(&self.around, &snapshot, &before);
        self.retired.keep(before);
        let reload = Reload { at: snapshot.loaded_at, ok: true, diagnostics: warnings };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = reload;
        Ok(snapshot)
    }

    fn rejected(&self, broken: Broken) -> Broken {
        let reload = Reload { at: self.around.clock.now(), ok: false, diagnostics: broken.diagnostics.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = reload;
        broken
    }
}

/// Compiles the files. Warnings come with the snapshot; errors come alone.
fn build(around: &Surroundings, files: &Files, number: u64) -> Result<(Snapshot, Vec<Diagnostic>), Broken> {
    let now = around.clock.now();
    let prices = |model: &str| model_facts(&around.prices, model);
    let price_table = price_table(&around.prices);
    let surroundings = policy::Surroundings {
        prices: &prices,
        price_table: &price_table,
        notify_targets: &around.notify_targets,
        now,
    };
    let compiled = policy::compile(&files.policies, &surroundings);
    let mut diagnostics = compiled.diagnostics;
    let (mut directory, found) = directory(files, compiled.policy.as_ref());
    diagnostics.extend(found);
    directory.add_absent((around.history.tenants)().map_err(|error| forgotten(&error))?);
    if let Some(policy) = &compiled.policy {
        diagnostics.extend(oversubscribed(policy, &directory, now));
    }
    let faulty = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match compiled.policy {
        Some(policy) if !faulty => {
            let digest = files.digest.get(..7).unwrap_or_default();
            let snapshot = Snapshot {
                number,
                revision: Arc::from(format!("r{number} {digest}")),
                policy: Arc::new(policy),
                directory,
                prices: Arc::clone(&around.prices),
                loaded_at: now,
                has_files: !files.policies.is_empty(),
                sources: files.policies.clone(),
            };
            Ok((snapshot, diagnostics))
        }
        _ => Err(Broken { diagnostics, sources: files.sources() }),
    }
}

/// The tenants of `tenants.csv`, judged by the names that the policy defines.
pub fn directory(files: &Files, policy: Option<&Policy>) -> (Directory, Vec<Diagnostic>) {
    let Some(csv) = &files.tenants else { return (Directory::default(), Vec::new()) };
    let (plans, segments) = policy.map(|policy| (policy.plan_names(), policy.segment_names())).unwrap_or_default();
    let known = KnownNames { plans: &plans, segments: &segments };
    Directory::parse(csv, policy.map(|_| known))
}

/// Budgets that those within them can use up, with the tenants that there are.
pub fn oversubscribed(policy: &Policy, directory: &Directory, now: Timestamp) -> Vec<Diagnostic> {
    if policy.budgets.iter().all(|budget| budget.within.is_none()) {
        return Vec::new();
    }
    let tenants: Vec<Tenant> = directory.iter().collect();
    policy.oversubscribed(&tenants, now)
}

/// What a policy is told about a model, whoever serves it.
pub fn model_facts(prices: &PriceBook, model: &str) -> Option<ModelFacts> {
    let mut families = Family::ALL.iter().map(|family| family.as_str());
    let row = families.find_map(|family| prices.find(family, family, model))?;
    Some(ModelFacts {
        input_pico: row.input,
        output_pico: row.output,
        provider: row.provider.as_deref().map(str::to_owned),
        reasoning: row.reasoning,
        abilities: Abilities { context: row.context, max_output: row.max_output, tools: row.tools, vision: row.vision },
    })
}

/// How diagnostics call the tariff.
pub fn price_table(prices: &PriceBook) -> String {
    format!("built-in table {}", prices.as_of())
}

/// Counters that cannot be rebuilt must not begin at zero: then nothing is loaded.
fn forgotten(error: &str) -> Broken {
    let fault = Diagnostic::error("E003", format!("the ledger cannot say what was spent so far: {error}"));
    Broken { diagnostics: vec![fault.help("the running policy stays; mend the ledger first")], sources: Vec::new() }
}
