//! The ledger: the permanent record of every attempt, and the source from which counters are rebuilt.
//!
//! Writing is a slot taken at admission and one send at the end; a thread of its own commits in batches. Reading goes
//! through separate read-only connections. It refuses to make a request wait for the disk, to run twice on one file, and to
//! go on after a failed commit.

mod chain;
mod changes;
mod consumption;
mod corrections;
mod counters;
mod doubts;
pub mod entry;
mod error;
mod kept;
mod lender;
mod lock;
mod original;
mod overflow;
mod query;
mod queue;
mod reader;
mod record;
mod rerate;
mod row;
mod schema;
mod spool;
mod sqlite;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::domain::clock::Timestamp;
use crate::domain::tenant::{Tenant, TenantId};

use entry::{LedgerEntry, TransitionEntry};
use lock::LockFile;
use overflow::Overflow;
use queue::{Finish, Message, Queue, Wait};

pub use changes::Grant;
pub use consumption::{Consumption, Unpriced};
pub use corrections::{Evidence, InDoubt, Settled};
pub use counters::{StoredCounter, unit_of, unit_word};
pub use doubts::{Remainder, Resolution};
pub use error::LedgerError;
pub use lender::Wanted;
pub use original::Live;
pub use query::{Column, SpendQuery, SpendRow, SpendTotals};
pub use queue::{Permit, QUEUE_SLOTS};
pub use reader::{LedgerReader, StoredAttempt};
pub use record::{CountersOf, Done, Record, Rules, Seed};
pub use rerate::{Rerated, Rerating, Tariff};
pub use schema::{OLDEST_SQLITE, SCHEMA_VERSION};
pub use sqlite::SqliteStore;
pub use verify::Verification;
pub use writer::{BATCH_ROWS, BATCH_WAIT};

/// Where records are kept for good.
pub trait LedgerStore: Send {
    /// Writes all of `batch` or nothing. `Ok` means that it survives a crash. After an error it is not called again, unless the
    /// disk was full and [`LedgerStore::reopen`] succeeded.
    fn append(&mut self, batch: &[Record]) -> Result<Done, LedgerError>;

    /// Begins anew with a fresh connection.
    fn reopen(&mut self) -> Result<(), LedgerError>;
}

/// The open ledger. Clones share it; the last one to go drains the queue and ends the thread.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    overflow: Overflow,
    reader: LedgerReader,
    after_crash: bool,
    doubted: usize,
    /// One correction after the other: each reads what the ones before have made of its row.
    correcting: Mutex<()>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    threads: [JoinHandle<()>; 2],
    lock: LockFile,
}

impl Ledger {
    /// Opens or creates the ledger in `path` and starts its writer.
    ///
    /// Refuses when another process writes it, when a newer Plimsoll wrote it, when it is another program's database, and
    /// when the linked SQLite is older than [`OLDEST_SQLITE`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let lock = LockFile::take(path)?;
        let mut store = SqliteStore::open(path)?;
        let failed = |source| LedgerError::File { path: path.to_owned(), source };
        let spooled = overflow::read(path).map_err(failed)?;
        let doubted = store.begin_run(&spooled.frames)?;
        spool::remove(&overflow::spool_path(path), &spooled).map_err(failed)?;
        let (queue, receiver) = Queue::new();
        let (overflow, spool_thread) = Overflow::start(path).map_err(failed)?;
        let thread = writer::start(store, &queue, receiver, overflow.clone()).map_err(failed)?;
        let inner = Inner {
            queue,
            overflow,
            reader: LedgerReader::at(path),
            after_crash: lock.after_crash,
            doubted,
            correcting: Mutex::default(),
            running: Mutex::new(Some(Running { threads: [thread, spool_thread], lock })),
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
        let written = self.ask(|wait| Message::Finish(None, Finish::Flush(wait)));
        outcome(written.unwrap_or(false))
    }

    /// From now on rows are counted by `rules` too, and the counters of `identities` begin anew. Returns the number of the
    /// last entry before that: what it and the ones before it add to the new counters comes by [`Ledger::seeded`]. Blocks.
    pub fn begin(&self, rules: Rules, identities: Vec<Arc<str>>) -> Result<i64, LedgerError> {
        let record = Record::Begin(identities);
        let begun = self.ask(|wait| Message::Finish(Some(record), Finish::Begin(rules, wait)));
        begun.flatten().ok_or(LedgerError::Failed)
    }

    /// The counters of new identities, as the rows before [`Ledger::begin`] have them, of windows that had not ended at
    /// `since`; on the disk when this returns. Blocks.
    pub fn seeded(&self, counters: Vec<Seed>, identities: Vec<Arc<str>>, since: Timestamp) -> Result<(), LedgerError> {
        self.inner.queue.send(Record::Seeded { counters, identities, since });
        self.flush()
    }

    /// Nobody counts these identities any more.
    pub fn retire(&self, identities: Vec<Arc<str>>) {
        if !identities.is_empty() {
            self.inner.queue.send(Record::Retire(identities));
        }
    }

    /// Replaces a remainder in doubt by what the evidence says; on the disk when this returns. `None`: there is no such one. Blocks.
    fn resolve(&self, how: Resolution) -> Result<Option<Remainder>, LedgerError> {
        let resolved = self.ask(|wait| Message::Finish(Some(Record::Resolve(how)), Finish::Resolve(wait)));
        resolved.unwrap_or(Err(LedgerError::Failed))
    }

    /// Leases more of a hard counter to this node, durably. `false`: there is no room for what is needed, or nothing can
    /// be written. This is the one thing that a request ever waits for.
    pub async fn lease(&self, wanted: Wanted) -> bool {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let wait: Wait<bool> = Box::new(move |granted| {
            // Whoever asked may have stopped waiting.
            let _ = sender.send(granted);
        });
        self.inner.queue.tell(Message::Lease(wanted, Some(wait)));
        receiver.await.unwrap_or(false)
    }

    /// The same ahead of need, without waiting.
    pub fn lease_ahead(&self, wanted: Wanted) {
        self.inner.queue.tell(Message::Lease(wanted, None));
    }

    /// Sends a message and waits for its answer. `None`: the writer has ended.
    fn ask<T: Send + 'static>(&self, message: impl FnOnce(Wait<T>) -> Message) -> Option<T> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let wait: Wait<T> = Box::new(move |answer| {
            // Whoever asked may have stopped waiting.
            let _ = sender.send(answer);
        });
        self.inner.queue.tell(message(wait));
        receiver.recv().ok()
    }

    /// Waits until everything sent so far is on the disk.
    pub async fn flushed(&self) -> Result<(), LedgerError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let wait: Wait<bool> = Box::new(move |written| {
            // Whoever asked may have stopped waiting.
            let _ = sender.send(written);
        });
        self.inner.queue.tell(Message::Finish(None, Finish::Flush(wait)));
        outcome(receiver.await.unwrap_or(false))
    }

    /// Whether the last commit succeeded. After a full disk it may again; after any other failure only a restart helps.
    pub fn healthy(&self) -> bool {
        self.inner.queue.healthy()
    }

    /// Counts a record that was not even sent.
    pub fn note_lost(&self) {
        self.inner.queue.note_lost();
    }

    /// Writes a row for which there was no place in the queue: to the spool, if that has room.
    pub fn send_without_permit(&self, entry: &LedgerEntry) {
        self.inner.overflow.row(entry, self.inner.queue.receipt());
    }

    /// Records that wait in the spool for the next start.
    pub fn spooled(&self) -> u64 {
        self.inner.queue.spooled.load(Ordering::Relaxed)
    }

    /// The size of the write-ahead log, in bytes. It is cut at every checkpoint that no long reader holds back.
    pub fn wal_bytes(&self) -> u64 {
        let mut name = self.inner.reader.path().into_os_string();
        name.push("-wal");
        std::fs::metadata(name).map_or(0, |found| found.len())
    }

    /// How many leases of the run before were never settled; what they held is in doubt.
    pub fn doubted_leases(&self) -> usize {
        self.inner.doubted
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
        let Some(Running { threads, lock }) = running else { return };
        self.queue.tell(Message::Stop);
        let [writer, spool] = threads;
        let wrote = writer.join();
        self.overflow.end();
        if wrote.and(spool.join()).is_err() {
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
