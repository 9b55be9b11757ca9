//! What the verbs that look into a ledger share: where prices and rows are, and how an answer is written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::config::Settings;
use crate::diagnostic;
use crate::domain::price::PriceBook;
use crate::ledger::{Ledger, LedgerError, LedgerReader};

use super::output;
use super::text::many;

/// What is read when no file is named and it is there.
pub(super) const USUAL_FILE: &str = "plimsoll.yaml";
/// The ledger when nothing names one.
pub(super) const USUAL_LEDGER: &str = "plimsoll.db";

/// Where prices and rows come from.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// The boot configuration: its `prices:` and its `ledger:`. Without one: `plimsoll.yaml`, when it is there.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The ledger's file, instead of the configuration's.
    #[arg(long, value_name = "PATH", global = true)]
    ledger: Option<PathBuf>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Prices and ledger, as the arguments and the configuration say.
pub(super) struct Desk {
    pub(super) prices: PriceBook,
    pub(super) ledger: PathBuf,
}

impl Desk {
    pub(super) fn open(place: &Place) -> Result<Self, String> {
        let usual = Path::new(USUAL_FILE);
        let file = place.config.as_deref().or_else(|| usual.exists().then_some(usual));
        let Some(file) = file else {
            let ledger = place.ledger.clone().unwrap_or_else(|| PathBuf::from(USUAL_LEDGER));
            return Ok(Self { prices: PriceBook::builtin(), ledger });
        };
        let settings = Settings::load(Some(file), &environment)
            .map_err(|broken| diagnostic::render(&broken.diagnostics, &broken.sources))?;
        Ok(Self { prices: settings.prices, ledger: place.ledger.clone().unwrap_or(settings.ledger) })
    }

    /// The ledger to read, beside a running gateway or not.
    pub(super) fn reader(&self) -> Result<LedgerReader, String> {
        self.there()?;
        let name = self.ledger.display();
        LedgerReader::open(&self.ledger).map_err(|error| format!("error: the ledger `{name}` cannot be read: {error}"))
    }

    /// The ledger to write. A running gateway keeps it to itself; `instead` says what helps then.
    pub(super) fn writer(&self, instead: &str) -> Result<Ledger, String> {
        self.there()?;
        let name = self.ledger.display();
        let ledger = Ledger::open(&self.ledger).map_err(|error| match error {
            LedgerError::Locked { .. } => format!("error: a gateway runs on the ledger `{name}`: {instead}"),
            error => format!("error: the ledger `{name}` cannot be opened: {error}"),
        })?;
        // The next start will not say it again.
        if ledger.opened_after_crash() {
            output::note("the last run did not end cleanly: rows of its last moments may be missing");
        }
        if ledger.doubted_leases() > 0 {
            let leases = many(ledger.doubted_leases(), "lease");
            output::note(&format!("{leases} of it now in doubt: `plimsoll ledger in-doubt` lists what is"));
        }
        Ok(ledger)
    }

    /// The ledger to read, when there is one.
    pub(super) fn reader_if_there(&self) -> Result<Option<LedgerReader>, String> {
        if self.ledger.exists() { self.reader().map(Some) } else { Ok(None) }
    }

    fn there(&self) -> Result<(), String> {
        let name = self.ledger.display();
        if self.ledger.exists() {
            return Ok(());
        }
        Err(format!("error: there is no ledger `{name}`; name it with `--ledger PATH` or `--config FILE`"))
    }
}

#[expect(clippy::disallowed_methods, reason = "the door hands the environment to `config`")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says what is wrong, and that it is the caller's.
pub(super) fn fail(text: &str) -> ExitCode {
    output::note(text);
    ExitCode::from(2)
}
