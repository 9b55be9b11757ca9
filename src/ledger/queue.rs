//! The callers' side of the ledger: a bounded queue whose places are taken at admission, so that a row at the end of a call
//! is sent without waiting and without fail.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::doubts::Remainder;
use super::entry::LedgerEntry;
use super::error::LedgerError;
use super::lender::Wanted;
use super::record::{Record, Rules};

/// Attempts that may wait for the disk or be in flight at once.
pub const QUEUE_SLOTS: usize = 65_536;

/// Called back once, with what came of it.
pub(super) type Wait<T> = Box<dyn FnOnce(T) + Send>;

/// What the writer thread is told.
pub(super) enum Message {
    Record(Record, Receipt),
    /// A lease is needed, by somebody who waits or ahead of time.
    Lease(Wanted, Option<Wait<bool>>),
    /// Ends the batch, with one more record if there is one, and tells what came of it.
    Finish(Option<Record>, Finish),
    Stop,
}

/// Who waits for a batch.
pub(super) enum Finish {
    /// Whether everything sent before is on the disk.
    Flush(Wait<bool>),
    /// The number of the last entry before these rules; `None` when they are not in force.
    Begin(Rules, Wait<Option<i64>>),
    /// The remainder that was resolved, if it was there.
    Resolve(Wait<Result<Option<Remainder>, LedgerError>>),
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<Message>,
    /// Invariant: slots plus live permits plus attempts in the queue are [`QUEUE_SLOTS`].
    slots: AtomicUsize,
    /// Records that were sent and did not reach the disk.
    lost: AtomicU64,
    /// Records that wait in the spool.
    pub(super) spooled: AtomicU64,
    /// Whether the last commit succeeded. `Relaxed` suffices: it orders nothing but itself.
    pub(super) healthy: AtomicBool,
}

impl Queue {
    pub(super) fn new() -> (Arc<Self>, Receiver<Message>) {
        let (sender, receiver) = channel();
        let queue = Self {
            sender,
            slots: AtomicUsize::new(QUEUE_SLOTS),
            lost: AtomicU64::new(0),
            spooled: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
        };
        (Arc::new(queue), receiver)
    }

    pub(super) fn permit(self: &Arc<Self>) -> Option<Permit> {
        let take = |slots: usize| slots.checked_sub(1);
        self.slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Permit { receipt: Receipt { queue: Arc::clone(self), slot: true, sent: false } })
    }

    /// Follows a record that has no slot.
    pub(super) fn receipt(self: &Arc<Self>) -> Receipt {
        Receipt { queue: Arc::clone(self), slot: false, sent: true }
    }

    /// Sends a record that needs no slot because policies and people bound how many there are.
    pub(super) fn send(self: &Arc<Self>, record: Record) {
        self.tell(Message::Record(record, self.receipt()));
    }

    /// After the thread has ended the message comes back and is dropped here: its receipt counts the loss, and whoever waits
    /// for it is told by the end of the channel.
    pub(super) fn tell(&self, message: Message) {
        drop(self.sender.send(message));
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
        queue.tell(Message::Record(Record::Attempt(Box::new(entry)), self.receipt));
    }
}

/// Follows a record until it is on the disk. Dropped earlier, it counts the record as lost: that holds for a failed
/// commit, for a writer that has ended, and for one that panics.
#[derive(Debug)]
pub(super) struct Receipt {
    queue: Arc<Queue>,
    slot: bool,
    sent: bool,
}

impl Receipt {
    pub(super) fn written(mut self) {
        self.sent = false;
    }

    /// The record is safe in the spool.
    pub(super) fn spooled(mut self) {
        self.sent = false;
        self.queue.spooled.fetch_add(1, Ordering::Relaxed);
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

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message")
    }
}
