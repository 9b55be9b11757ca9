//! One process writes a ledger. The lock is the operating system's, so it goes when the process does, however it ends.
//!
//! The lock file holds the number of the process that writes; a number that is still there when nobody holds the lock
//! means that the last run did not end cleanly.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::error::LedgerError;

/// The right to write one ledger, until it is dropped.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    /// Whether the run before this one ended without [`LockFile::release`].
    pub(super) after_crash: bool,
}

impl LockFile {
    /// Takes the lock of the ledger at `ledger`, or says who holds it.
    pub(super) fn take(ledger: &Path) -> Result<Self, LedgerError> {
        let path = lock_path(ledger);
        let failed = |source| LedgerError::File { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let locked = file.try_lock();
        let holder = process_number(&mut file);
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked { path: ledger.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        replace(&mut file, &std::process::id().to_string()).map_err(failed)?;
        Ok(Self { file, after_crash: holder.is_some() })
    }

    /// Notes a clean end and lets go.
    pub(super) fn release(mut self) {
        if let Err(error) = replace(&mut self.file, "") {
            tracing::warn!(%error, "the ledger's lock file could not be cleared; the next start will report a crash");
        }
    }
}

/// Beside the file itself: a link to a ledger has no lock of its own.
fn lock_path(ledger: &Path) -> PathBuf {
    let mut name = ledger.canonicalize().unwrap_or_else(|_| ledger.to_owned()).into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

fn process_number(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn replace(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
