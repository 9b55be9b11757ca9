//! Rows that the store cannot take go to the spool, on a thread of their own; the next start takes them in. What does not fit
//! there either is counted as lost.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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

/// The way to the spool. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Overflow {
    sender: SyncSender<Option<(Vec<u8>, Receipt)>>,
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
        let (sender, receiver) = sync_channel(WAITING);
        let path = spool_path(ledger);
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || write(&path, &receiver))?;
        Ok((Self { sender }, thread))
    }

    /// Takes a row; anything else is lost, and counted so. Never waits.
    pub(super) fn take(&self, record: &Record, receipt: Receipt) {
        if let Record::Attempt(entry) = record {
            self.row(entry, receipt);
        }
    }

    /// Takes a row. Never waits.
    pub(super) fn row(&self, entry: &LedgerEntry, receipt: Receipt) {
        // What does not fit comes back and is dropped: its receipt counts the loss.
        drop(self.sender.try_send(Some((row::frame(entry), receipt))));
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        let _ = self.sender.send(None);
    }
}

fn write(path: &Path, receiver: &Receiver<Option<(Vec<u8>, Receipt)>>) {
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
