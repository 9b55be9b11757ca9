//! The ledger: the permanent record of every attempt, and the source from which counters are rebuilt.
//!
//! Writing is a slot taken at admission and one send at the end; a thread of its own commits in batches. Reading goes
//! through separate read-only connections. It refuses to make a request wait for the disk, to run twice on one file, and to
//! go on after a failed commit.

mod consumption;
pub mod entry;
mod error;
mod lock;
mod query;
mod reader;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::domain::tenant::{Tenant, TenantId};

use entry::{LedgerEntry, TransitionEntry};
use lock::LockFile;
use writer::Queue;

pub use consumption::{Consumption, Unpriced};
pub use error::LedgerError;
pub use query::{Column, SpendQuery, SpendRow, SpendTotals};
pub use reader::{LedgerReader, StoredAttempt};
pub use schema::{OLDEST_SQLITE, SCHEMA_VERSION};
pub use sqlite::SqliteStore;
pub use writer::{BATCH_ROWS, BATCH_WAIT, Permit, QUEUE_SLOTS};

/// One thing to write down.
#[derive(Debug, Clone)]
pub enum Record {
    /// An attempt that ended. One with a known `attempt_id` is already there and changes nothing.
    Attempt(Box<LedgerEntry>),
    /// A step that a budget's counter reached. Only the first of a window counts.
    Transition(TransitionEntry),
    /// A tenant that the admin API put; it replaces one of the same name.
    Tenant(Box<Tenant>),
    /// A tenant that the admin API deleted.
    TenantGone(TenantId),
}

/// Where records are kept for good.
pub trait LedgerStore: Send {
    /// Writes all of `batch` or nothing. `Ok` means that it survives a crash. After an error it is not called again.
    fn append(&mut self, batch: &[Record]) -> Result<(), LedgerError>;
}

/// The open ledger. Clones share it; the last one to go drains the queue and ends the thread.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    reader: LedgerReader,
    after_crash: bool,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    lock: LockFile,
}

impl Ledger {
    /// Opens or creates the ledger in `path` and starts its writer.
    ///
    /// Refuses when another process writes it, when a newer Plimsoll wrote it, when it is another program's database, and
    /// when the linked SQLite is older than [`OLDEST_SQLITE`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let lock = LockFile::take(path)?;
        let store = SqliteStore::open(path)?;
        let (queue, thread) =
            writer::start(store).map_err(|source| LedgerError::File { path: path.to_owned(), source })?;
        let inner = Inner {
            queue,
            reader: LedgerReader::at(path),
            after_crash: lock.after_crash,
            running: Mutex::new(Some(Running { thread, lock })),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes a place in the queue, without waiting. `None`: [`QUEUE_SLOTS`] attempts are in flight or wait for the disk.
    pub fn permit(&self) -> Option<Permit> {
        self.inner.queue.permit()
    }

    /// Places that are free.
    pub fn free_permits(&self) -> usize {
        self.inner.queue.free_slots()
    }

    /// Notes that a counter reached a step. Never waits.
    pub fn record_transition(&self, transition: TransitionEntry) {
        self.inner.queue.send(Record::Transition(transition));
    }

    /// Keeps a tenant of the admin API; on the disk when this returns. Blocks: call it from a blocking thread.
    pub fn put_tenant(&self, tenant: Tenant) -> Result<(), LedgerError> {
        self.inner.queue.send(Record::Tenant(Box::new(tenant)));
        self.flush()
    }

    /// Forgets a tenant of the admin API; on the disk when this returns. Blocks: call it from a blocking thread.
    pub fn delete_tenant(&self, id: &TenantId) -> Result<(), LedgerError> {
        self.inner.queue.send(Record::TenantGone(id.clone()));
        self.flush()
    }

    /// Waits until everything sent so far is on the disk. Blocks: call it from a blocking thread.
    pub fn flush(&self) -> Result<(), LedgerError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.inner.queue.flush(move |written| {
            // Whoever asked may have stopped waiting.
            let _ = sender.send(written);
        });
        outcome(receiver.recv().unwrap_or(false))
    }

    /// Waits until everything sent so far is on the disk.
    pub async fn flushed(&self) -> Result<(), LedgerError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.inner.queue.flush(move |written| {
            // Whoever asked may have stopped waiting.
            let _ = sender.send(written);
        });
        outcome(receiver.await.unwrap_or(false))
    }

    /// Whether every commit so far succeeded. Once `false` it stays so until a restart.
    pub fn healthy(&self) -> bool {
        self.inner.queue.healthy()
    }

    /// Counts a record that was not even sent.
    pub fn note_lost(&self) {
        self.inner.queue.note_lost();
    }

    /// Records that were sent and did not reach the disk.
    pub fn lost(&self) -> u64 {
        self.inner.queue.lost()
    }

    /// Whether the run before this one did not end cleanly, so that rows of its last moments may be missing.
    pub fn opened_after_crash(&self) -> bool {
        self.inner.after_crash
    }

    /// Read-only access, for blocking threads.
    pub fn reader(&self) -> LedgerReader {
        self.inner.reader.clone()
    }

    /// Writes what is queued and ends the thread. What other clones send afterwards is counted as lost. Blocks.
    pub fn close(self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { thread, lock }) = running else { return };
        self.queue.stop();
        if thread.join().is_err() {
            tracing::error!("the ledger's writer panicked");
        } else if self.queue.lost() == 0 {
            lock.release();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn outcome(written: bool) -> Result<(), LedgerError> {
    if written { Ok(()) } else { Err(LedgerError::Failed) }
}
