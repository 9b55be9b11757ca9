//! Usage becomes money, money settles the hold, and the attempt is written down: arithmetic and one send, nothing that
//! waits or fails.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::money::Money;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::usage::Basis;
use crate::ledger::entry::{Ending, LedgerEntry, tokens};
use crate::ledger::{Permit, QUEUE_SLOTS};
use crate::meter::reservation::{Postings, count_also};
use crate::wire::tap::Answer as Reading;

use crate::telemetry::Finished;

use super::admit::Admission;
use super::announce;
use super::bill::Bill;
use super::call::Call;
use super::panics::caught;
use super::reply::Fields;
use super::watching::{self, Ended};
use super::{Gateway, Worker};

/// An attempt that has left, and all that is needed to close its books.
pub(super) struct Attempt {
    pub(super) worker: Rc<Worker>,
    pub(super) call: Call,
    /// `None`: the ledger takes nothing, and the row is counted as lost.
    pub(super) permit: Option<Permit>,
    /// Its reservation is taken when the books are closed.
    pub(super) admission: Box<Admission>,
    /// The books are closed.
    closed: bool,
    pub(super) fields: Fields,
    pub(super) stream: bool,
    pub(super) logical: bool,
    /// Tokens that the input was estimated at, for answers without usage.
    pub(super) input_estimate: u64,
    /// The most output tokens that the request as it was sent may produce, all choices together. `None`: nothing says.
    pub(super) most_output: Option<u64>,
    /// How many answers were asked for.
    pub(super) choices: u64,
    /// Whether a byte may have reached the provider. Shared with whoever decides if the call goes on without its client.
    pub(super) dispatched: Rc<Cell<bool>>,
    /// Whether the provider itself ended the answer, well or not. Otherwise we hung up, and it may still bill.
    pub(super) heard_out: bool,
    pub(super) overhead: Duration,
    pub(super) left: Instant,
    pub(super) first_byte: Option<Duration>,
    pub(super) status: u16,
}

impl Attempt {
    /// Books a call that was admitted and is about to leave.
    pub(super) fn new(
        worker: &Rc<Worker>,
        call: Call,
        admission: Box<Admission>,
        permit: Option<Permit>,
        fields: Fields,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            permit,
            admission,
            closed: false,
            fields,
            stream: false,
            logical: true,
            input_estimate: 0,
            most_output: None,
            choices: 1,
            dispatched: Rc::default(),
            heard_out: false,
            overhead: Duration::ZERO,
            left: call.arrived,
            first_byte: None,
            status: 0,
            call,
        }
    }

    /// Closes the books. `seen_output` is about how many output tokens passed, for an answer that says nothing itself.
    pub(super) fn settle(mut self, reading: Option<&Reading>, seen_output: u64, ending: Ending) {
        self.close(reading, seen_output, ending);
    }

    fn close(&mut self, reading: Option<&Reading>, seen_output: u64, ending: Ending) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let reservation = std::mem::take(&mut self.admission.reservation);
        let bill = self.bill(reading, seen_output);
        let bill = self.in_doubt(bill, reading, &reservation, ending);
        let amounts = [bill.cost.map_or(0, Money::nano), tokens(&bill.usage), i64::from(self.logical)];
        let held = reservation.held(Unit::Money);
        if held > 0 && amounts[0] > held {
            let (provider, id) = (&self.call.provider.name, &self.call.id);
            tracing::warn!(%provider, request_id = %id, held, cost = amounts[0], "a call cost more than was held for it (nano-dollars): the excess is debt");
        }
        let mut postings = reservation.settle(amounts);
        let (gateway, call) = (&self.worker.gateway, &self.call);
        measure(gateway, call, self.status, &bill);
        gateway.metrics.overhead(u32::try_from(self.overhead.as_micros()).unwrap_or(u32::MAX));
        let snapshot = catch_up(gateway, call, amounts, &mut postings);
        announce::crossed(gateway, call, &self.admission.counted, || gateway.clock.now());
        let said = matches!(bill.basis, Basis::Exact | Basis::Partial).then_some(reading).flatten();
        watching::look(gateway, call, Ended { logical: self.logical, input: said.and_then(|said| said.usage.input) });
        // When the clock jumped back over the start of a window, the newer one counts the call, and the row says so.
        let starts = postings.iter().map(|posting| posting.counter.window().start);
        let entry = LedgerEntry {
            admitted_at: starts.fold(call.now, Ord::max),
            model_served: self.admission.model_served.clone(),
            model_answered: reading.and_then(|reading| reading.model.as_deref()).map(Arc::from),
            stream: self.stream,
            logical: self.logical,
            status: self.status,
            ending,
            overhead_us: u32::try_from(self.overhead.as_micros()).unwrap_or(u32::MAX),
            first_byte_us: self.first_byte.map(|wait| u32::try_from(wait.as_micros()).unwrap_or(u32::MAX)),
            postings,
            snapshot,
            ..entry(call, bill, &self.fields)
        };
        match self.permit.take() {
            Some(permit) => permit.send(entry),
            None => gateway.ledger.send_without_permit(&entry),
        }
    }

    /// Closes the books of an attempt of which nothing left: the hold is released, the row says so.
    pub(super) fn void(mut self, status: u16) {
        self.status = status;
        self.settle(None, 0, Ending::ProviderError);
    }
}

/// Counts a call that began under an earlier policy in the budgets that are new since. One that went and came back has a
/// counter of its own in memory, so counters are compared and not budgets. Returns the number of the snapshot that the
/// postings belong to; what comes into force after this is counted by the ledger's writer.
fn catch_up(gateway: &Gateway, call: &Call, amounts: Amounts, postings: &mut Postings) -> u64 {
    let snapshot = gateway.control.load();
    if snapshot.number == call.snapshot.number {
        return snapshot.number;
    }
    for counter in snapshot.counters(&gateway.meter, call.now, &call.dimensions()) {
        count_also(postings, &counter, amounts);
    }
    snapshot.number
}

fn measure(gateway: &Gateway, call: &Call, status: u16, bill: &Bill) {
    call.account.traffic(&call.provider.name, &gateway.metrics).finished(&Finished {
        status,
        input_tokens: bill.usage.input,
        cached_input_tokens: bill.usage.cached_input,
        cache_write_tokens: bill.usage.cache_write,
        output_tokens: bill.usage.output,
        reasoning_tokens: bill.usage.reasoning,
        cost_nano_usd: bill.cost.map(Money::nano),
        unpriced: bill.cost.is_none() && bill.usage.is_known(),
    });
}

impl Drop for Attempt {
    /// However a call ends, its books are closed: a panic, or a stop that did not wait.
    fn drop(&mut self) {
        caught("settling", || self.close(None, 0, Ending::ClientGone));
    }
}

/// Writes down a call that the policy turned away. It cost nothing and counts nowhere.
pub(super) fn write_refusal(worker: &Worker, call: &Call, fields: &Fields, status: u16) {
    let unsent = Bill::free(Basis::Exact);
    measure(&worker.gateway, call, status, &unsent);
    // Refusals cost nothing to send, so they may not crowd out the rows of calls that were served.
    let ledger = &worker.gateway.ledger;
    let roomy = ledger.free_permits() > QUEUE_SLOTS / 2;
    let Some(permit) = ledger.permit().filter(|_| roomy) else { return ledger.note_lost() };
    permit.send(LedgerEntry { status, ending: Ending::Refused, ..entry(call, unsent, fields) });
}

/// Writes down an answer that was given again. It cost nothing, and the request was counted when it ran.
pub(super) fn write_replay(worker: &Worker, call: &Call, status: u16) {
    let unsent = Bill::free(Basis::Exact);
    let ledger = &worker.gateway.ledger;
    measure(&worker.gateway, call, status, &unsent);
    let Some(permit) = ledger.permit() else { return ledger.note_lost() };
    permit.send(LedgerEntry {
        status,
        ending: Ending::Replayed,
        logical: false,
        ..entry(call, unsent, &Fields::default())
    });
}

/// What every row of a call says.
fn entry(call: &Call, bill: Bill, fields: &Fields) -> LedgerEntry {
    let now = Instant::now();
    let took = now.saturating_duration_since(call.arrived).as_micros();
    LedgerEntry {
        attempt_id: Arc::clone(&call.id),
        request_id: Arc::clone(&call.id),
        admitted_at: call.now,
        tenant: Arc::clone(&call.account.tenant),
        attribution: Arc::clone(&call.attribution),
        key_name: call.key_name.clone(),
        provider: Arc::clone(&call.provider.name),
        dialect: Arc::from(call.dialect_name()),
        path: Arc::clone(&call.path),
        model_requested: call.model.clone(),
        model_served: None,
        model_answered: None,
        stream: false,
        logical: true,
        usage: bill.usage,
        basis: bill.basis,
        price: bill.price,
        cost: bill.cost,
        status: 0,
        ending: Ending::Complete,
        decision: Arc::from(fields.decision.as_str()),
        would: Arc::from(fields.would.as_str()),
        policy: Arc::clone(&call.snapshot.revision),
        overhead_us: u32::try_from(call.overhead(now).as_micros()).unwrap_or(u32::MAX),
        first_byte_us: None,
        duration_us: u64::try_from(took).unwrap_or(u64::MAX),
        postings: Postings::new(),
        snapshot: call.snapshot.number,
        correction: None,
    }
}
