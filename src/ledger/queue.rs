//! The callers' side of the ledger: a bounded queue whose places are taken at admission, so that a row at the end of a call
//! is sent without waiting and without fail.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

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

impl Message {
    /// Whether somebody waits for it.
    fn is_urgent(&self) -> bool {
        match self {
            Self::Record(..) | Self::Lease(_, None) => false,
            Self::Lease(_, Some(_)) | Self::Finish(..) | Self::Stop => true,
        }
    }
}

/// Wakes the writer when nothing was there for it to do, or when somebody waits for it, and not for every row: a wake-up is
/// a system call of the sender's, and a switch of threads on somebody's core.
#[derive(Debug, Default)]
pub(super) struct Bell {
    writer: OnceLock<Thread>,
    /// The writer sleeps because the queue was empty.
    idle: AtomicBool,
}

impl Bell {
    fn ring(&self, urgent: bool) {
        // With the fence of `rest`: either the writer sees the message, or this sees that it rests.
        fence(Ordering::SeqCst);
        let rests = self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::Relaxed);
        if (urgent || rests)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// The writer's: sleeps for at most `patience` while there is nothing to do. `None`: nothing came.
    pub(super) fn rest<T>(&self, patience: Duration, mut next: impl FnMut() -> Option<T>) -> Option<T> {
        self.writer.get_or_init(std::thread::current);
        let until = Instant::now() + patience;
        loop {
            self.idle.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(message) = next() {
                self.idle.store(false, Ordering::Relaxed);
                return Some(message);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.idle.store(false, Ordering::Relaxed);
                return None;
            }
            std::thread::park_timeout(left);
        }
    }

    /// The writer's: sleeps until `until`, or until somebody waits for it. Rows that come meanwhile do not wake it.
    pub(super) fn doze(until: Instant) {
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<Message>,
    pub(super) bell: Bell,
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
            bell: Bell::default(),
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
        let urgent = message.is_urgent();
        drop(self.sender.send(message));
        self.bell.ring(urgent);
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
