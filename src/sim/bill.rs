//! The provider's own books: what it bills, and what reached it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};

/// One call on the provider's bill. Tokens are on one footing for all dialects: input includes cached input, output includes
/// reasoning and all choices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BillLine {
    /// What the request called itself (`x-sim-nonce`), so that a test finds its line; empty without.
    pub nonce: String,
    /// The path that was called, without its query.
    pub path: String,
    /// The model that was asked for.
    pub asked: String,
    /// The model that answered, dated where the provider dates its models.
    pub model: String,
    /// All input tokens.
    pub input_tokens: u64,
    /// The part of the input that came from the provider's cache.
    pub cached_input_tokens: u64,
    /// All output tokens, as far as they are billed.
    pub output_tokens: u64,
    /// The part of the output that was hidden reasoning.
    pub reasoning_tokens: u64,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Whether the answer was a stream.
    pub streamed: bool,
    /// Whether money is asked for this call: errors and token counts are free.
    pub billed: bool,
    /// Whether the answer was sent to its end.
    pub finished: bool,
    /// Whether the answer is still on its way: its output is not final.
    pub open: bool,
}

/// One request exactly as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers; names are lower case.
    pub headers: HeaderMap,
    /// The body after removal of the transfer coding.
    pub body: Bytes,
}

/// Sums over the whole bill, kept without locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests that arrived.
    pub requests: u64,
    /// Input tokens of billed calls.
    pub input_tokens: u64,
    /// Output tokens of billed calls whose answer has ended.
    pub output_tokens: u64,
}

/// The books behind a provider.
#[derive(Debug, Default)]
pub(super) struct Book {
    lines: Mutex<Vec<(u64, BillLine)>>,
    seen: Mutex<Vec<Seen>>,
    next: AtomicU64,
    requests: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

/// A poisoned lock guards plain lists, which are never half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn saw(&self, seen: Seen) {
        lock(&self.seen).push(seen);
    }

    /// Counts a call of which no line is kept.
    pub(super) fn count_fast(&self, input: u64, output: u64) {
        self.input.fetch_add(input, Ordering::Relaxed);
        self.output.fetch_add(output, Ordering::Relaxed);
    }

    /// A line that will not change.
    pub(super) fn enter(&self, line: BillLine) -> u64 {
        if line.billed {
            self.count_fast(line.input_tokens, if line.finished { line.output_tokens } else { 0 });
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.lines).push((id, line));
        id
    }

    /// A line for an answer that is about to be sent: `full` is what it will cost at its end.
    pub(super) fn open(self: &Arc<Self>, full: BillLine, bills_after_cancel: bool) -> Tab {
        let line = BillLine { output_tokens: 0, finished: false, open: true, ..full.clone() };
        let id = self.enter(line);
        Tab { book: Arc::clone(self), id, full, bills_after_cancel, closed: false, sent: 0 }
    }

    fn change(&self, id: u64, edit: impl FnOnce(&mut BillLine)) {
        if let Some((_, line)) = lock(&self.lines).iter_mut().rev().find(|(other, _)| *other == id) {
            edit(line);
        }
    }

    pub(super) fn lines(&self) -> Vec<BillLine> {
        lock(&self.lines).iter().map(|(_, line)| line.clone()).collect()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            requests: self.requests.load(Ordering::Relaxed),
            input_tokens: self.input.load(Ordering::Relaxed),
            output_tokens: self.output.load(Ordering::Relaxed),
        }
    }

    pub(super) fn clear(&self) {
        lock(&self.lines).clear();
        lock(&self.seen).clear();
        for sum in [&self.requests, &self.input, &self.output] {
            sum.store(0, Ordering::Relaxed);
        }
    }
}

/// The open line of an answer on its way. Dropped before its end, it settles as the script says for cancelled calls.
#[derive(Debug)]
pub(super) struct Tab {
    book: Arc<Book>,
    id: u64,
    full: BillLine,
    bills_after_cancel: bool,
    closed: bool,
    sent: u64,
}

impl Tab {
    /// So many more output tokens have left.
    pub(super) fn sent(&mut self, tokens: u64) {
        if tokens > 0 && !self.closed {
            self.sent = self.sent.saturating_add(tokens).min(self.full.output_tokens);
            let sent = self.sent;
            self.book.change(self.id, |line| line.output_tokens = sent);
        }
    }

    /// The answer was sent to its end.
    pub(super) fn finish(&mut self) {
        self.close(self.full.output_tokens, true);
    }

    /// The provider itself broke the answer off.
    pub(super) fn break_off(&mut self) {
        self.close(self.sent, false);
    }

    fn close(&mut self, output: u64, finished: bool) {
        if self.closed {
            return;
        }
        self.closed = true;
        if self.full.billed {
            self.book.count_fast(0, output);
        }
        self.book.change(self.id, |line| {
            line.output_tokens = output;
            line.finished = finished;
            line.open = false;
        });
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let output = if self.bills_after_cancel { self.full.output_tokens } else { self.sent };
        self.close(output, false);
    }
}
