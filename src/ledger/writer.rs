//! The thread that writes, and the bounded queue in front of it. No caller ever waits for the disk here.
//!
//! A batch is committed when it has [`BATCH_ROWS`] records or [`BATCH_WAIT`] has passed since its first. A failed commit
//! ends writing for good: what comes later is counted as lost, and only a restart opens a fresh connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::entry::LedgerEntry;
use super::{LedgerError, LedgerStore, Record};

/// Attempts that may wait for the disk or be in flight at once.
pub const QUEUE_SLOTS: usize = 65_536;
/// The most records of one transaction.
pub const BATCH_ROWS: usize = 500;
/// How long the first record of a batch waits for company.
pub const BATCH_WAIT: Duration = Duration::from_millis(5);

/// What the writer thread is told.
enum Message {
    Record(Record, Receipt),
    /// Call back once everything sent before is on the disk, with whether it is.
    Flush(Box<dyn FnOnce(bool) + Send>),
    Stop,
}

/// The callers' side of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<Message>,
    /// Invariant: slots plus live permits plus attempts in the queue are [`QUEUE_SLOTS`].
    slots: AtomicUsize,
    /// Records that were sent and did not reach the disk.
    lost: AtomicU64,
    /// Whether every commit so far succeeded. `Relaxed` suffices: it orders nothing but itself.
    healthy: AtomicBool,
}

impl Queue {
    pub(super) fn permit(self: &Arc<Self>) -> Option<Permit> {
        let take = |slots: usize| slots.checked_sub(1);
        self.slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Permit { receipt: Receipt { queue: Arc::clone(self), slot: true, sent: false } })
    }

    /// Sends a record that needs no slot because policies and people bound how many there are.
    pub(super) fn send(self: &Arc<Self>, record: Record) {
        self.post(record, Receipt { queue: Arc::clone(self), slot: false, sent: true });
    }

    /// After the thread has ended the message comes back and is dropped here; its receipt counts the loss.
    fn post(&self, record: Record, receipt: Receipt) {
        drop(self.sender.send(Message::Record(record, receipt)));
    }

    /// Calls `done` once everything sent before is on the disk. It is dropped uncalled when the thread has ended.
    pub(super) fn flush(&self, done: impl FnOnce(bool) + Send + 'static) {
        drop(self.sender.send(Message::Flush(Box::new(done))));
    }

    pub(super) fn stop(&self) {
        drop(self.sender.send(Message::Stop));
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn note_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn free_slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }
}

/// A place in the ledger's queue, taken at admission. Dropped unused it goes back.
#[derive(Debug)]
#[must_use = "a permit that is dropped writes nothing"]
pub struct Permit {
    receipt: Receipt,
}

impl Permit {
    /// Hands the finished attempt to the writer. Never fails and never waits.
    pub fn send(mut self, entry: LedgerEntry) {
        self.receipt.sent = true;
        let queue = Arc::clone(&self.receipt.queue);
        queue.post(Record::Attempt(Box::new(entry)), self.receipt);
    }
}

/// Follows a record until it is on the disk. Dropped earlier, it counts the record as lost: that holds for a failed
/// commit, for a writer that has ended, and for one that panics.
#[derive(Debug)]
struct Receipt {
    queue: Arc<Queue>,
    slot: bool,
    sent: bool,
}

impl Receipt {
    fn written(mut self) {
        self.sent = false;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.slot {
            self.queue.slots.fetch_add(1, Ordering::Relaxed);
        }
        if self.sent {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts the thread that owns `store`.
pub(super) fn start(store: impl LedgerStore + 'static) -> std::io::Result<(Arc<Queue>, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let queue = Arc::new(Queue {
        sender,
        slots: AtomicUsize::new(QUEUE_SLOTS),
        lost: AtomicU64::new(0),
        healthy: AtomicBool::new(true),
    });
    let mut writer = Writer { store, receiver, queue: Arc::clone(&queue), stopping: false };
    let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run())?;
    Ok((queue, thread))
}

struct Writer<S> {
    store: S,
    receiver: Receiver<Message>,
    queue: Arc<Queue>,
    stopping: bool,
}

#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    receipts: Vec<Receipt>,
    flushes: Vec<Box<dyn FnOnce(bool) + Send>>,
}

impl<S: LedgerStore> Writer<S> {
    fn run(&mut self) {
        while !self.stopping {
            let Ok(first) = self.receiver.recv() else { return };
            let batch = self.gather(first);
            self.commit(batch);
        }
        while let Ok(message) = self.receiver.try_recv() {
            let batch = self.gather(message);
            self.commit(batch);
        }
    }

    /// Collects until the batch is full, its time is up, or somebody asks for a flush or the end.
    fn gather(&mut self, first: Message) -> Batch {
        let mut batch = Batch::default();
        let deadline = Instant::now() + BATCH_WAIT;
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Record(record, receipt) => {
                    batch.records.push(record);
                    batch.receipts.push(receipt);
                }
                Message::Flush(done) => {
                    batch.flushes.push(done);
                    break;
                }
                Message::Stop => {
                    self.stopping = true;
                    break;
                }
            }
            if batch.records.len() < BATCH_ROWS {
                next = self.next_before(deadline);
            }
        }
        batch
    }

    fn next_before(&self, deadline: Instant) -> Option<Message> {
        self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    fn commit(&mut self, batch: Batch) {
        if self.queue.healthy() && !batch.records.is_empty() {
            // A panic in the store must not leave a ledger that looks healthy and writes nothing.
            let guard = Unwritten(&self.queue);
            match self.store.append(&batch.records) {
                Ok(()) => std::mem::forget(guard),
                Err(error) => report(&error, batch.records.len()),
            }
        }
        let healthy = self.queue.healthy();
        if healthy {
            batch.receipts.into_iter().for_each(Receipt::written);
        } else {
            drop(batch.receipts);
        }
        for done in batch.flushes {
            done(healthy);
        }
    }
}

/// Dropped, it marks the ledger as failed.
struct Unwritten<'a>(&'a Queue);

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        self.0.healthy.store(false, Ordering::Relaxed);
    }
}

fn report(error: &LedgerError, rows: usize) {
    tracing::error!(%error, rows, "the ledger could not commit; it writes nothing more until a restart");
}
