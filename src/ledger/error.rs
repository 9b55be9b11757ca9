//! What can go wrong with the ledger, in the operator's words. It never carries a customer's text.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why the ledger cannot do what it was asked.
#[derive(Debug)]
pub enum LedgerError {
    /// Another process writes this ledger.
    Locked {
        /// The ledger's file.
        path: PathBuf,
        /// The process that holds it, when it left its number.
        holder: Option<u32>,
    },
    /// The linked SQLite is older than the oldest one that we trust with money.
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// The file was written by a newer Plimsoll.
    NewerSchema {
        /// The file's schema version.
        found: u32,
        /// The newest one that this program knows.
        known: u32,
    },
    /// The file was written by an older Plimsoll and not brought up to date yet.
    OlderSchema {
        /// The file's schema version.
        found: u32,
        /// The one that this program reads.
        known: u32,
    },
    /// The file is a SQLite database of some other program.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A commit failed earlier; nothing is written until a restart.
    Failed,
    /// The file does not hold what every ledger holds.
    Damaged,
    /// A query took longer than its limit.
    TooSlow,
    /// What SQLite said.
    Sqlite(rusqlite::Error),
    /// What the file system said.
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path, holder } => {
                let holder = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
                write!(
                    f,
                    "`{}` is in use by another process{holder}: stop it, or name another file under `ledger:`",
                    path.display()
                )
            }
            Self::OldSqlite { found } => {
                let oldest = super::schema::OLDEST_SQLITE;
                write!(
                    f,
                    "SQLite {found} is too old for the ledger: build with {}.{}.{} or newer",
                    oldest / 1_000_000,
                    oldest / 1_000 % 1_000,
                    oldest % 1_000
                )
            }
            Self::NewerSchema { found, known } => write!(
                f,
                "the ledger has schema {found} and this program knows schemas up to {known}: run the newer Plimsoll \
                 that wrote it"
            ),
            Self::OlderSchema { found, known } => write!(
                f,
                "the ledger has schema {found} and this program reads schema {known}: `plimsoll serve` brings it up to date \
                 when it starts"
            ),
            Self::Foreign { path } => {
                write!(f, "`{}` is a database of another program: name another file under `ledger:`", path.display())
            }
            Self::Failed => f.write_str(
                "the ledger stopped writing after a failed commit: check the disk, then restart to continue",
            ),
            Self::Damaged => f.write_str("the ledger's file is damaged: `plimsoll ledger verify` says where"),
            Self::TooSlow => {
                f.write_str("the query took too long: ask for a shorter time, fewer dimensions or more filters")
            }
            Self::Sqlite(error) => write!(f, "SQLite: {error}"),
            Self::File { path, source } => write!(f, "`{}`: {source}", path.display()),
        }
    }
}

impl LedgerError {
    /// Whether the disk is full: the transaction was rolled back, and the same may succeed later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sqlite(error) => Some(error),
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => Self::TooSlow,
            _ => Self::Sqlite(error),
        }
    }
}
