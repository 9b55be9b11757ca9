//! The thread that writes, and the bounded queue in front of it. No caller ever waits for the disk here, but for a lease.
//!
//! A batch is committed when it has [`BATCH_ROWS`] records or [`BATCH_WAIT`] has passed since its first; a lease is waited for,
//! so it is committed at once with what is there. A full disk is tried again with a fresh connection while rows wait in memory;
//! any other failed commit ends writing for good, and only a restart opens the file again. Rows that cannot be written go to
//! the spool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::clock::{Clock, SystemClock};

use super::LedgerStore;
use super::error::LedgerError;
use super::lender::{Lender, Wanted};
use super::overflow::Overflow;
use super::queue::{Bell, Finish, Message, Queue, Receipt, Wait};
use super::record::{Done, Record, Rules};

/// The most records of one transaction. So many are there only when the writer has fallen behind; then the more there are, the less
/// each costs, and the longer whoever waits for a lease waits for the rest.
pub const BATCH_ROWS: usize = 1_000;
/// The most leases that go back in one transaction while others may wait for one.
const RETURNED_BESIDE: usize = 500;
/// The most leases that go back in one transaction when it ends. There may be a hundred thousand, of which each takes memory in it.
const RETURNED_AT_ONCE: usize = 5_000;
/// How long the first record of a batch waits for company.
pub const BATCH_WAIT: Duration = Duration::from_millis(5);
/// How long after a full disk the next try is made.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How often leases are looked over.
const TICK: Duration = Duration::from_secs(5);
/// How soon again when more of them are to go back than one batch takes: others wait for leases meanwhile.
const TICK_AGAIN: Duration = Duration::from_millis(100);

/// Starts the thread that owns `store`. Rows that it cannot take go to `overflow`.
pub(super) fn start(
    store: impl LedgerStore + 'static,
    queue: &Arc<Queue>,
    receiver: Receiver<Message>,
    overflow: Overflow,
) -> std::io::Result<JoinHandle<()>> {
    let mut writer = Writer {
        store,
        receiver,
        queue: Arc::clone(queue),
        overflow,
        lender: Lender::default(),
        rules: None,
        state: State::Writing,
        look: Instant::now() + TICK,
        waiting: Vec::new(),
        stopping: false,
    };
    std::thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run())
}

struct Writer<S> {
    store: S,
    receiver: Receiver<Message>,
    queue: Arc<Queue>,
    overflow: Overflow,
    lender: Lender,
    rules: Option<Rules>,
    state: State,
    /// When leases are looked over next.
    look: Instant,
    /// What a full disk has not taken yet.
    waiting: Vec<(Record, Receipt)>,
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Writing,
    /// The disk is full; when to try again.
    Full(Instant),
    /// A commit failed and nobody knows what is on the disk.
    Failed,
}

#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    receipts: Vec<Receipt>,
    wanted: Vec<(Wanted, Option<Wait<bool>>)>,
    /// Who waits for the end of this batch, which was ended for them.
    finish: Option<Finish>,
}

impl<S: LedgerStore> Writer<S> {
    fn run(&mut self) {
        let queue = Arc::clone(&self.queue);
        while !self.stopping {
            match queue.bell.rest(self.patience(), || self.receiver.try_recv().ok()) {
                Some(first) => {
                    let batch = self.gather(first);
                    self.commit(batch);
                }
                None if matches!(self.state, State::Full(_)) => self.try_again(),
                None => {}
            }
            if self.look <= Instant::now() {
                self.look_over();
            }
        }
        while let Ok(message) = self.receiver.try_recv() {
            let batch = self.gather(message);
            self.commit(batch);
        }
        self.end();
    }

    fn patience(&self) -> Duration {
        match self.state {
            State::Full(again) => again.saturating_duration_since(Instant::now()),
            State::Writing | State::Failed => self.look.saturating_duration_since(Instant::now()),
        }
    }

    /// Leases that nobody uses go back, however busy others are.
    fn look_over(&mut self) {
        let writes = self.state == State::Writing;
        let records = if writes { self.lender.idle(RETURNED_BESIDE, SystemClock.now()) } else { Vec::new() };
        self.look = Instant::now() + if records.len() < RETURNED_BESIDE { TICK } else { TICK_AGAIN };
        self.commit(Batch { records, ..Batch::default() });
    }

    /// Collects until the batch is full, its time is up, or somebody waits for it.
    fn gather(&mut self, first: Message) -> Batch {
        let mut batch = Batch::default();
        let mut deadline = Instant::now() + BATCH_WAIT;
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Record(record, receipt) => {
                    batch.records.push(self.counted(record));
                    batch.receipts.push(receipt);
                }
                Message::Lease(wanted, wait) => {
                    if wait.is_some() {
                        deadline = Instant::now();
                    }
                    batch.records.push(Record::Grant(self.lender.grant(&wanted)));
                    batch.wanted.push((wanted, wait));
                }
                Message::Finish(record, finish) => {
                    batch.records.extend(record);
                    batch.finish = Some(finish);
                    break;
                }
                Message::Stop => {
                    self.stopping = true;
                    break;
                }
            }
            if batch.records.len() < BATCH_ROWS {
                next = self.next_until(deadline);
            }
        }
        batch
    }

    fn next_until(&self, deadline: Instant) -> Option<Message> {
        loop {
            let next = self.receiver.try_recv().ok();
            if next.is_some() || deadline <= Instant::now() {
                return next;
            }
            Bell::doze(deadline);
        }
    }

    /// A call that began under an earlier policy: the counters that are new since count it too, here and in memory.
    fn counted(&self, mut record: Record) -> Record {
        if let (Record::Attempt(entry), Some(rules)) = (&mut record, &self.rules)
            && entry.snapshot < rules.snapshot
        {
            rules.add_missing(entry);
        }
        record
    }

    fn commit(&mut self, batch: Batch) {
        let Batch { records, receipts, wanted, finish } = batch;
        if matches!(self.state, State::Full(again) if again <= Instant::now()) {
            self.try_again();
        }
        let done = match self.state {
            State::Writing if records.is_empty() => Some(Done::default()),
            State::Writing => self.append(&records),
            State::Full(_) | State::Failed => None,
        };
        match &done {
            Some(_) => receipts.into_iter().for_each(Receipt::written),
            None => self.put_off(records, receipts),
        }
        self.answer(wanted, done.as_ref());
        if let Some(finish) = finish {
            self.finish(finish, done);
        }
    }

    /// One transaction. A panic in the store must not leave a ledger that looks healthy and writes nothing.
    fn append(&mut self, records: &[Record]) -> Option<Done> {
        let guard = Unwritten(&self.queue);
        let appended = self.store.append(records);
        match appended {
            Ok(done) => {
                std::mem::forget(guard);
                Some(done)
            }
            Err(error) => {
                drop(guard);
                self.state = if error.is_full() { State::Full(Instant::now() + FULL_PAUSE) } else { State::Failed };
                report(&error, records.len());
                None
            }
        }
    }

    /// Keeps what a full disk may take later; hands over to the spool what this run will not write any more.
    fn put_off(&mut self, records: Vec<Record>, receipts: Vec<Receipt>) {
        // Grants and the like have no receipt, and nobody counts on them once their answer was no.
        let kept = records.into_iter().filter(Record::is_kept).zip(receipts);
        if self.state == State::Failed {
            kept.for_each(|(record, receipt)| self.overflow.take(&record, receipt));
        } else {
            self.waiting.extend(kept);
        }
    }

    /// A fresh connection after a full disk. What is written is forgotten here only when it is committed.
    fn try_again(&mut self) {
        if let Err(error) = self.store.reopen() {
            tracing::debug!(%error, "the ledger cannot be opened again yet");
            self.state = State::Full(Instant::now() + FULL_PAUSE);
            return;
        }
        self.state = State::Writing;
        while !self.waiting.is_empty() {
            let rest = self.waiting.split_off(self.waiting.len().min(BATCH_ROWS));
            let (records, receipts): (Vec<Record>, Vec<Receipt>) =
                std::mem::replace(&mut self.waiting, rest).into_iter().unzip();
            if self.append(&records).is_some() {
                receipts.into_iter().for_each(Receipt::written);
            } else {
                let later = std::mem::take(&mut self.waiting);
                self.put_off(records, receipts);
                let (records, receipts) = later.into_iter().unzip();
                return self.put_off(records, receipts);
            }
        }
        self.queue.healthy.store(true, Ordering::Relaxed);
        tracing::info!("the ledger writes again");
    }

    fn answer(&mut self, wanted: Vec<(Wanted, Option<Wait<bool>>)>, done: Option<&Done>) {
        for (index, (wanted, wait)) in wanted.into_iter().enumerate() {
            let amount = done.and_then(|done| done.granted.get(index)).copied().unwrap_or(0);
            self.lender.granted(&wanted, amount);
            if let Some(wait) = wait {
                wait(amount > 0);
            }
        }
    }

    fn finish(&mut self, finish: Finish, done: Option<Done>) {
        match finish {
            Finish::Flush(wait) => wait(done.is_some()),
            Finish::Begin(rules, wait) => {
                if done.is_some() {
                    self.rules = Some(rules);
                }
                wait(done.map(|done| done.last));
            }
            Finish::Resolve(wait) => wait(done.map(|done| done.resolved).ok_or(LedgerError::Failed)),
        }
    }

    /// The last word: leases go back, and what a full disk did not take goes to the spool.
    fn end(&mut self) {
        if matches!(self.state, State::Full(_)) {
            self.try_again();
        }
        if self.state == State::Writing {
            let mut back = std::mem::take(&mut self.lender).all().peekable();
            while back.peek().is_some() {
                let records = back.by_ref().take(RETURNED_AT_ONCE).collect();
                self.commit(Batch { records, ..Batch::default() });
            }
        }
        for (record, receipt) in std::mem::take(&mut self.waiting) {
            self.overflow.take(&record, receipt);
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
    if error.is_full() {
        tracing::error!(rows, "the ledger's disk is full: rows wait in memory, calls of hard budgets are refused");
    } else {
        tracing::error!(%error, rows, "the ledger could not commit; until a restart its rows go to the spool");
    }
}
