//! The last word before a call leaves: its rate, its place in the ledger's queue, and whether it is a new logical request.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::ledger::{Permit, Wanted};
use crate::meter::pace::{Rate, Remaining, Wait};
use crate::policy::decision::{Actions, Decision};
use crate::telemetry::{Action, Metrics, Mode};
use crate::wire::Peek;

use super::Worker;
use super::admit::{self, Admission, Turned};
use super::call::Call;
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
    pub(super) rate: Option<(Box<str>, u64, Remaining)>,
    pub(super) warning: Option<&'static str>,
}

/// Why a call does not go, or not yet.
pub(super) enum Held {
    /// It is refused.
    Back(Box<Refusal>),
    /// It has to be judged again when this is leased.
    ForLease(Wanted),
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
    /// A hard budget of which too little is leased waits for the store, [`LEASE_PATIENCE`] at most, and is judged again.
    pub(super) async fn judge(&self, call: &Call, peek: &Peek<'_>, body: &Bytes) -> Result<Verdict, Box<Refusal>> {
        let mut until = None;
        for _ in 0..LEASE_TRIES {
            match self.judge_now(call, peek, body) {
                Ok(verdict) => return Ok(verdict),
                Err(Held::Back(refusal)) => return Err(refusal),
                Err(Held::ForLease(wanted)) => {
                    let until = *until.get_or_insert_with(|| tokio::time::Instant::now() + LEASE_PATIENCE);
                    let leased = tokio::time::timeout_at(until, self.gateway.ledger.lease(wanted)).await;
                    if leased.is_err() || !self.gateway.ledger.healthy() {
                        let refused = Refused::unavailable(UNWRITTEN);
                        return Err(Box::new(Refusal { refused, decision: Decision::default(), throttle: None }));
                    }
                }
            }
        }
        // Others were faster every time: what is left is theirs, and some of it comes back.
        let refused = Refused::reserved(call, &Decision::default());
        Err(Box::new(Refusal { refused, decision: Decision::default(), throttle: None }))
    }

    fn judge_now(&self, call: &Call, peek: &Peek<'_>, body: &Bytes) -> Result<Verdict, Held> {
        let gateway = &self.gateway;
        let refusal = |refused, decision, throttle| Held::Back(Box::new(Refusal { refused, decision, throttle }));
        let mut admission = match admit::admit(call, peek, gateway) {
            Ok(admission) => admission,
            Err(Turned::Lease(wanted)) => return Err(Held::ForLease(wanted)),
            Err(Turned::Away(refused)) => return Err(refusal(refused.0, refused.1, None)),
        };
        let rate = match self.pace(call, &admission.decision) {
            Ok(rate) => rate,
            Err(refused) => return Err(refusal(refused, admission.decision, Some("refused"))),
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

    fn pace(&self, call: &Call, decision: &Decision) -> Result<Option<(Box<str>, u64, Remaining)>, Refused> {
        let Some(throttle) = &decision.actions.throttle else { return Ok(None) };
        let rate = Rate { rule: &throttle.rule, requests: throttle.requests, per: throttle.per };
        match self.gateway.pace.check(call.account.tenant.id.as_str(), rate, call.now) {
            Ok(remaining) => {
                let window = throttle.per.nominal_seconds().unsigned_abs();
                Ok(Some((Box::from(&*throttle.rule), window, remaining)))
            }
            Err(Wait(wait)) => Err(Refused::throttled(call, &throttle.rule, wait)),
        }
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
        reply::timing(response.headers_mut(), call.arrived.elapsed(), None);
        let metrics = &self.gateway.metrics;
        if throttle.is_some() {
            metrics.decided(Action::Throttle, Mode::Enforce);
        }
        if decision.actions.block.is_some() || decision.actions.tool_output.is_some() {
            metrics.decided(Action::Block, Mode::Enforce);
        }
        count(metrics, &decision.would, Mode::DryRun, false);
        self.gateway.retries.refused(call, body);
        write_refusal(self, call, Fields { decision: decided, would }, refused.status);
        response
    }
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
