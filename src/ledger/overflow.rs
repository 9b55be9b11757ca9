//! Rows that the store cannot take go to the spool, on a thread of their own; the next start takes them in. What does not fit
//! there either is counted as lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::entry::LedgerEntry;
use super::queue::Receipt;
use super::record::Record;
use super::row;
use super::spool::{self, Spool};

/// How large the spool may become.
const CAP_BYTES: u64 = 256 << 20;
/// Rows that may wait for the spool.
const WAITING: usize = 16_384;
/// Rows that are made durable together.
const TOGETHER: usize = 500;

/// A row on its way; `None` is the end.
type Row = Option<(Vec<u8>, Receipt)>;

/// The way to the spool. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Overflow {
    sender: Sender<Row>,
    /// How many rows are on it. A channel with that limit would hold the memory of all of them from the start.
    waiting: Arc<AtomicUsize>,
}

/// Where the spool of a ledger is.
pub(super) fn spool_path(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(".spool");
    PathBuf::from(name)
}

impl Overflow {
    /// Starts the thread. No file is made before the first row comes.
    pub(super) fn start(ledger: &Path) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (way, receiver) = Self::new();
        let (path, waiting) = (spool_path(ledger), Arc::clone(&way.waiting));
        let work = move || write(&path, &receiver, &waiting);
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(work)?;
        Ok((way, thread))
    }

    fn new() -> (Self, Receiver<Row>) {
        let (sender, receiver) = channel();
        (Self { sender, waiting: Arc::default() }, receiver)
    }

    /// Takes a row; anything else is lost, and counted so. Never waits.
    pub(super) fn take(&self, record: &Record, receipt: Receipt) {
        if let Record::Attempt(entry) = record {
            self.row(entry, receipt);
        }
    }

    /// Takes a row. Never waits.
    pub(super) fn row(&self, entry: &LedgerEntry, receipt: Receipt) {
        // `Relaxed`: the count orders nothing. What does not fit, or comes back, is dropped: its receipt counts the loss.
        if self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING {
            drop(self.sender.send(Some((row::frame(entry), receipt))));
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        let _ = self.sender.send(None);
    }
}

fn write(path: &Path, receiver: &Receiver<Row>, waiting: &AtomicUsize) {
    let mut spool = None;
    while let Ok(Some(first)) = receiver.recv() {
        let mut ended = false;
        let (mut frames, mut receipts) = (vec![first.0], vec![first.1]);
        while frames.len() < TOGETHER
            && let Ok(next) = receiver.try_recv()
        {
            let Some((frame, receipt)) = next else {
                ended = true;
                break;
            };
            frames.push(frame);
            receipts.push(receipt);
        }
        waiting.fetch_sub(frames.len(), Ordering::Relaxed);
        let taken = append(&mut spool, path, &frames);
        let lost = receipts.split_off(taken.min(receipts.len()));
        receipts.into_iter().for_each(Receipt::spooled);
        if !lost.is_empty() {
            tracing::error!(rows = lost.len(), "rows were lost: neither the ledger nor its spool can take them");
        }
        if ended {
            return;
        }
    }
}

fn append(spool: &mut Option<Spool>, path: &Path, frames: &[Vec<u8>]) -> usize {
    let opened = match spool.take() {
        Some(spool) => Ok(spool),
        None => Spool::open(path, CAP_BYTES),
    };
    let appended = opened.and_then(|mut opened| {
        let taken = opened.append(frames);
        *spool = Some(opened);
        taken
    });
    appended.unwrap_or_else(|error| {
        tracing::error!(%error, "the ledger's spool cannot be written");
        0
    })
}

/// What is in the spool of a ledger, for its store to take in.
pub(super) fn read(ledger: &Path) -> std::io::Result<spool::Read> {
    spool::read(&spool_path(ledger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::queue::Queue;
    use crate::ledger::tests::entry;

    // Mutations: nothing is ever too much; what is too much counts as waiting, or what was written does.
    #[test]
    fn a_spool_that_is_behind_takes_so_many_rows_and_counts_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let (queue, _receiver) = Queue::new();
        let (way, rows) = Overflow::new();
        let row = entry("a", "globex", None);
        for _ in 0..WAITING + 3 {
            way.row(&row, queue.receipt());
        }
        assert_eq!((queue.lost(), way.waiting.load(Ordering::Relaxed)), (3, WAITING));
        way.end();
        write(&folder.path().join("spool"), &rows, &way.waiting);
        assert_eq!((queue.lost(), way.waiting.load(Ordering::Relaxed)), (3, 0));
        assert_eq!(queue.spooled.load(Ordering::Relaxed), WAITING as u64);
    }
}
