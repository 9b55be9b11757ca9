//! The last word before a call leaves: its rate, its place in the ledger's queue, and whether it is a new logical request.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;

use crate::ledger::{Permit, Wanted};
use crate::meter::pace::{Rate, Remaining, Wait};
use crate::policy::decision::{Actions, Decision, Throttle};
use crate::telemetry::{Action, Metrics, Mode};
use crate::wire::Peek;

use super::Worker;
use super::account::is_taken;
use super::admit::{self, Admission, Turned};
use super::call::{Call, content};
use super::line::Turn;
use super::refuse::{Refused, Shape};
use super::reply::{self, Done, Fields, Marks};
use super::settle::write_refusal;
use super::tap::Answer;

/// What clients are told when their call will not be in the ledger.
const UNWRITTEN: &str = "the ledger is unavailable";
/// How long a call waits for a lease.
const LEASE_PATIENCE: Duration = Duration::from_millis(250);
/// How often a call that was given a lease may find that others have used it.
const LEASE_TRIES: usize = 8;

/// A call that goes.
pub(super) struct Verdict {
    pub(super) admission: Box<Admission>,
    /// A place in the ledger's queue. `None`: the row goes to the spool.
    pub(super) permit: Option<Permit>,
    /// Whether this is a new request, and not another attempt of one.
    pub(super) logical: bool,
    /// What is left of the rate that the call was held to.
    pub(super) rate: Option<Paced>,
    pub(super) warning: Option<&'static str>,
}

/// A rate that let a call pass: its rule, its period in seconds, and what is left of it.
type Paced = (Box<str>, u64, Remaining);

/// Why a call does not go, or not yet.
pub(super) enum Held {
    /// It is refused.
    Back(Box<Refusal>),
    /// It has to be judged again when this is leased.
    ForLease(Wanted),
    /// It has to be judged again when its turn comes.
    ForTurn(Box<Waits>),
}

/// A call that is too early for its rate.
pub(super) struct Waits {
    throttle: Throttle,
    /// How long it is too early; of one behind others, how long the first of them is.
    wait: Duration,
    decision: Decision,
}

/// A call that does not go.
pub(super) struct Refusal {
    refused: Refused,
    decision: Decision,
    throttle: Option<&'static str>,
}

impl Worker {
    /// Decides, reserves, and checks what the policy's own function cannot know.
    ///
    /// A call that is too early for a rate with a `queue` stands in line for it, and is judged anew when its turn comes, by what is
    /// in force then. Until then it holds nothing but its places.
    pub(super) async fn judge(
        &self,
        call: &mut Call,
        peek: &Peek<'_>,
        body: &Bytes,
        marks: &mut Marks,
    ) -> Result<Verdict, Box<Refusal>> {
        let came = tokio::time::Instant::now();
        let (mut place, mut turn) = (None, None);
        loop {
            let waits = match self.judge_leased(call, peek, body, turn.as_ref()).await {
                Ok(verdict) => {
                    if call.queued.is_some() {
                        self.gateway.metrics.decided(Action::Throttle, Mode::Enforce);
                    }
                    return Ok(verdict);
                }
                Err(Held::ForTurn(waits)) => waits,
                Err(Held::Back(refusal)) => return Err(refusal),
                Err(Held::ForLease(_)) => return Err(withheld(Refused::internal())),
            };
            place = place.or_else(|| call.account.line_up(self.gateway.options.limits.streams_per_tenant));
            let (stands, until) = (Instant::now(), came + waits.throttle.queue.unwrap_or_default());
            turn = if place.is_some() { self.stand(call, &waits, turn, until).await } else { None };
            call.queued = Some(call.queued.unwrap_or_default() + stands.elapsed());
            if turn.is_none() {
                return Err(self.too_early(call, *waits));
            }
            self.renew(call, peek, body, marks)?;
        }
    }

    /// The moment of its turn is when a call is judged, and the policy and the prices those of the moment.
    fn renew(&self, call: &mut Call, peek: &Peek<'_>, body: &Bytes, marks: &mut Marks) -> Result<(), Box<Refusal>> {
        call.now = self.gateway.clock.now();
        let snapshot = self.gateway.control.load();
        if snapshot.number == call.snapshot.number {
            return Ok(());
        }
        let mut accounts = self.accounts.borrow_mut();
        let account = accounts.account(&call.account.tenant.id, &snapshot, &self.gateway.presences);
        call.price = call.model.as_ref().and_then(|model| accounts.price(&call.provider, model, &snapshot));
        call.content = content(&snapshot.policy, &account.tenant, call.operation, peek, body);
        (call.snapshot, call.account) = (snapshot, account);
        reply::revision(marks, call);
        if is_taken(&call.account.tenant.id, &call.snapshot.policy) {
            Ok(())
        } else {
            Err(withheld(Refused::missing_tenant()))
        }
    }

    /// Waits for a turn, or at its head for the rate. `None`: that would take too long.
    async fn stand(&self, call: &Call, waits: &Waits, turn: Option<Turn>, until: tokio::time::Instant) -> Option<Turn> {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if waits.wait > left {
            return None;
        }
        let rule = &waits.throttle.rule;
        if let Some(turn) = turn.filter(|turn| turn.rule == *rule) {
            tokio::time::sleep(waits.wait).await;
            return Some(turn);
        }
        let line = self.gateway.lines.line(call.account.tenant.id.as_str(), rule);
        line.stand(&waits.throttle, waits.wait, until).await
    }

    /// A hard budget of which too little is leased waits for the store, [`LEASE_PATIENCE`] at most, and is judged again.
    async fn judge_leased(
        &self,
        call: &Call,
        peek: &Peek<'_>,
        body: &Bytes,
        turn: Option<&Turn>,
    ) -> Result<Verdict, Held> {
        let mut until = None;
        for _ in 0..LEASE_TRIES {
            let wanted = match self.judge_now(call, peek, body, turn) {
                Err(Held::ForLease(wanted)) => wanted,
                other => return other,
            };
            let until = *until.get_or_insert_with(|| tokio::time::Instant::now() + LEASE_PATIENCE);
            let leased = tokio::time::timeout_at(until, self.gateway.ledger.lease(wanted)).await;
            if leased.is_err() || !self.gateway.ledger.healthy() {
                return Err(Held::Back(withheld(Refused::unavailable(UNWRITTEN))));
            }
        }
        // Others were faster every time: what is left is theirs, and some of it comes back.
        Err(Held::Back(withheld(Refused::reserved(call, &Decision::default()))))
    }

    fn judge_now(&self, call: &Call, peek: &Peek<'_>, body: &Bytes, turn: Option<&Turn>) -> Result<Verdict, Held> {
        let gateway = &self.gateway;
        let refusal = |refused, decision, throttle| Held::Back(Box::new(Refusal { refused, decision, throttle }));
        let mut admission = match admit::admit(call, peek, gateway) {
            Ok(admission) => admission,
            Err(Turned::Lease(wanted)) => return Err(Held::ForLease(wanted)),
            Err(Turned::Away(refused)) => return Err(refusal(refused.0, refused.1, None)),
        };
        let rate = match self.pace(call, &admission.decision, turn) {
            Ok(rate) => rate,
            Err((throttle, wait)) => {
                // The admission is dropped here: whoever waits holds nothing.
                return Err(Held::ForTurn(Box::new(Waits { throttle, wait, decision: admission.decision })));
            }
        };
        let permit = gateway.ledger.permit();
        let unwritten = permit.is_none() || !gateway.ledger.healthy();
        let refuses = call.snapshot.policy.defaults.on_ledger_unavailable.refuses && admit::can_cost(call.operation);
        if unwritten && (refuses || !admission.decision.ceilings.is_empty()) {
            return Err(refusal(Refused::unavailable(UNWRITTEN), admission.decision, None));
        }
        let logical = admit::can_cost(call.operation) && gateway.retries.begins(call, body);
        admission.reservation.admit(logical);
        count(&gateway.metrics, &admission.decision.actions, Mode::Enforce, admission.clamped);
        count(&gateway.metrics, &admission.decision.would, Mode::DryRun, false);
        admission.ask_ahead(call, &gateway.ledger);
        let warning = unwritten.then_some(UNWRITTEN);
        Ok(Verdict { admission, permit, logical, rate, warning })
    }

    /// Asks for the rate that the call is held to; else says how early it is. Nobody overtakes those who stand in line.
    fn pace(
        &self,
        call: &Call,
        decision: &Decision,
        turn: Option<&Turn>,
    ) -> Result<Option<Paced>, (Throttle, Duration)> {
        let Some(throttle) = &decision.actions.throttle else { return Ok(None) };
        let tenant = call.account.tenant.id.as_str();
        let turn = turn.filter(|turn| turn.rule == throttle.rule);
        let line =
            (throttle.queue.is_some() && turn.is_none()).then(|| self.gateway.lines.line(tenant, &throttle.rule));
        if let Some(line) = line.as_ref().filter(|line| line.is_waited_in()) {
            return Err((throttle.clone(), line.first_waits(call.now)));
        }
        let rate = Rate { rule: &throttle.rule, requests: throttle.requests, per: throttle.per };
        match self.gateway.pace.check(tenant, rate, call.now) {
            Ok(remaining) => {
                let window = throttle.per.nominal_seconds().unsigned_abs();
                Ok(Some((Box::from(&*throttle.rule), window, remaining)))
            }
            Err(Wait(wait)) => {
                if let Some(line) = line.as_deref().or(turn.map(Turn::line)) {
                    line.first_goes(call.now, wait);
                }
                Err((throttle.clone(), wait))
            }
        }
    }

    /// The refusal of a call that is too early and cannot wait.
    fn too_early(&self, call: &Call, waits: Waits) -> Box<Refusal> {
        let Waits { throttle, wait, decision } = waits;
        let line = throttle.queue.map(|_| self.gateway.lines.line(call.account.tenant.id.as_str(), &throttle.rule));
        let wait = line.map_or(wait, |line| line.wait(call.now, &throttle).max(wait));
        let refused = Refused::throttled(call, &throttle.rule, wait);
        Box::new(Refusal { refused, decision, throttle: Some("refused") })
    }

    /// Writes a refusal down and puts it into the dialect's shape.
    pub(super) fn refuse(&self, call: &Call, body: &Bytes, refusal: Refusal, wants: Shape) -> Response<Answer> {
        let Refusal { refused, decision, throttle } = refusal;
        let policy = &call.snapshot.policy;
        let decided = reply::decision_field(&decision.actions, policy, Done { clamp: None, throttle });
        let would = reply::would_field(&decision, policy);
        let mut response = refused.response(call.provider.family, &call.id, wants);
        let mut marks = Marks::default();
        reply::refused(&mut marks, call, &decided, &would);
        marks.write(response.headers_mut());
        reply::timing(response.headers_mut(), call.overhead(Instant::now()), None);
        let metrics = &self.gateway.metrics;
        if throttle.is_some() {
            metrics.decided(Action::Throttle, Mode::Enforce);
        }
        if decision.actions.block.is_some() || decision.actions.tool_output.is_some() {
            metrics.decided(Action::Block, Mode::Enforce);
        }
        count(metrics, &decision.would, Mode::DryRun, false);
        self.gateway.retries.refused(call, body);
        write_refusal(self, call, &Fields { decision: decided, would }, refused.status);
        response
    }
}

/// A refusal that no rule asked for.
fn withheld(refused: Refused) -> Box<Refusal> {
    Box::new(Refusal { refused, decision: Decision::default(), throttle: None })
}

/// Counts what was done to a call that goes; in dry run, what would have been.
fn count(metrics: &Metrics, actions: &Actions, mode: Mode, clamped: bool) {
    let done = [
        (Action::Clamp, clamped),
        (Action::Cap, actions.cap.is_some() && !clamped),
        (Action::Throttle, mode == Mode::DryRun && actions.throttle.is_some()),
        (Action::Route, actions.route.is_some() || actions.service_tier.is_some()),
        (Action::Block, actions.block.is_some() || actions.tool_output.is_some()),
    ];
    for (action, _) in done.into_iter().filter(|(_, done)| *done) {
        metrics.decided(action, mode);
    }
}
