//! Notices when a counter reaches a step for the first time in its window: one row in the ledger, one notification, both off
//! the path of the call. Which caller sees a step first is decided by one atomic per window.

use std::sync::Arc;

use crate::alert::notification::Amount;
use crate::alert::notification::{
    BudgetFacts, Facts, Kind, Links, Next, Notification, Question, TenantFacts, Transition, Used,
};
use crate::alert::target::LOG;
use crate::domain::clock::Timestamp;
use crate::domain::standing::Standing;
use crate::domain::window::{Span, Window, rfc3339};
use crate::ledger::entry::TransitionEntry;
use crate::meter::counter::WindowCounter;
use crate::policy::budget::Budget;
use crate::policy::decision::{Step, StepSet};
use crate::policy::ladder::NotifyTarget;
use crate::policy::{Policy, budget_state, in_words, reached};

use super::Gateway;
use super::call::Call;
use super::counting::{Counting, ring_standing};
use super::panics::caught;

/// Looks at every counter of a call as it stands now. A fault in telling never reaches the call that is told of.
pub(super) fn crossed(gateway: &Gateway, call: &Call, counting: &Counting, now: impl FnOnce() -> Timestamp) {
    caught("announcing", || look(gateway, call, counting, now()));
}

fn look(gateway: &Gateway, call: &Call, counting: &Counting, now: Timestamp) {
    let policy = &call.snapshot.policy;
    for (at, (standing, window)) in counting.standings.iter().zip(&counting.windows).enumerate() {
        let Some(budget) = policy.budgets.get(standing.budget) else { continue };
        let ring = counting.ring(at);
        let standing = match ring {
            Some((counter, ring)) => ring_standing(counter, (standing.budget, budget, standing.limit), ring, now),
            None => {
                Standing { used: window.cell(budget.unit).used(), decide_opened: window.decide_opened(), ..*standing }
            }
        };
        let steps = reached(policy, standing.budget, &standing, now);
        if steps == StepSet::default() {
            continue;
        }
        let (fresh, announced) = match ring {
            Some((counter, ring)) => (counter.announce_again(steps.0, now, ring), counter.announced_within(now, ring)),
            None => (window.announce(steps.0), window.announced()),
        };
        let (fresh, before) = (StepSet(fresh), StepSet(announced & !fresh));
        // A step of a ring is written down under the bucket in which it was reached.
        let start = ring.map_or(window.window().start, |(_, ring)| ring.bucket(now).start);
        for step in fresh.iter() {
            let news = News { gateway, call, budget, standing: &standing, window, start, step, before, now };
            news.spread();
        }
    }
}

/// One step reached for the first time.
struct News<'a> {
    gateway: &'a Gateway,
    call: &'a Call,
    budget: &'a Budget,
    standing: &'a Standing,
    window: &'a WindowCounter,
    /// The start of the window, or bucket, in which it was reached.
    start: Timestamp,
    step: Step,
    /// Every step that was announced before.
    before: StepSet,
    now: Timestamp,
}

impl News<'_> {
    fn spread(&self) {
        let policy = &self.call.snapshot.policy;
        let key = policy.counter_key(self.standing.budget, &self.call.dimensions()).unwrap_or_default();
        let opened = if self.step == Step::Decide { self.window.open_decision(self.now) } else { self.now };
        self.gateway.ledger.record_transition(TransitionEntry {
            budget: Arc::clone(&self.budget.name),
            key: Arc::from(key),
            window_start: self.start,
            step: Arc::from(self.step.as_str()),
            at: opened,
        });
        self.gateway.courier.send(self.notification(policy), &self.recipients());
    }

    /// Those whom the step names; a step that names nobody goes to those of the step before. The log hears everything.
    fn recipients(&self) -> Vec<String> {
        let rungs = self.budget.ladder.rungs.iter().rev().filter(|rung| rung.step <= self.step);
        let mut names: Vec<String> = rungs
            .map(|rung| {
                let asked = rung.ask.as_ref().map(|ask| ask.whom.as_str());
                rung.notify.iter().map(NotifyTarget::as_str).chain(asked).map(str::to_owned).collect::<Vec<_>>()
            })
            .find(|names| !names.is_empty())
            .unwrap_or_default();
        names.push(LOG.to_owned());
        names
    }

    fn kind(&self) -> Kind {
        let asks = self.budget.ladder.rung(self.step).is_some_and(|rung| rung.ask.is_some());
        match self.step {
            Step::Warning => Kind::BudgetWarning,
            Step::SpendAlert => Kind::BudgetSpendAlert,
            Step::Contain if self.standing.used >= self.standing.limit => Kind::BudgetExceeded,
            Step::Decide if asks => Kind::DecisionRequested,
            Step::Contain | Step::Degrade | Step::Decide => Kind::StepEntered,
        }
    }

    fn notification(&self, policy: &Policy) -> Notification {
        let tenant = &self.call.account.tenant;
        let standing = self.standing;
        let state = budget_state(policy, standing, self.now);
        let next = policy.next_steps(standing.budget, state.reached);
        Notification {
            kind: self.kind(),
            timestamp: self.now,
            facts: Facts {
                tenant: self.budget.is_per_tenant().then(|| TenantFacts::from(&**tenant)),
                budget: Some(BudgetFacts {
                    name: Arc::clone(&self.budget.name),
                    limit: Amount::of(self.budget.unit, standing.limit),
                    used: Used::of(self.budget.unit, standing.used, standing.limit),
                    period: period(self.budget, &standing.window, policy),
                    resets_at: standing.window.resets_at().map(|end| rfc3339(end, &policy.zone)),
                    forecast: None,
                }),
                transition: Some(Transition {
                    from: self.state_before(),
                    to: state.state.as_str(),
                    step: Arc::from(self.step.as_str()),
                    mode: Arc::from(self.budget.mode.as_str()),
                    policy: Arc::clone(&self.call.snapshot.revision),
                }),
                decision: self.question(policy),
                watch: None,
                message: None,
                next: next.into_iter().map(|(_, at, action)| Next { at, action }).collect(),
                links: Links { tenant: None, upgrade: policy.upgrade_url(tenant).map(Arc::clone) },
            },
        }
    }

    /// The state that the steps announced before this moment amount to.
    fn state_before(&self) -> &'static str {
        let old = self.before;
        let acted = [Step::Contain, Step::Degrade, Step::Decide].into_iter().any(|step| old.contains(step));
        match (acted, old.contains(Step::Warning)) {
            (true, _) => "exceeded",
            (false, true) => "warning",
            (false, false) => "ok",
        }
    }

    fn question(&self, policy: &Policy) -> Option<Question> {
        if self.step != Step::Decide {
            return None;
        }
        let ask = self.budget.ladder.rung(Step::Decide)?.ask.as_ref()?;
        Some(Question {
            ask: Arc::from(ask.whom.as_str()),
            until: rfc3339(self.now.after(ask.within), &policy.zone),
            otherwise: policy.describe(self.standing.budget, Step::Decide),
        })
    }
}

/// A window's name: `2026-11`, `2026-W47`, `2026-11-21`, its first moment, `rolling 1 hour`, or `a workflow`.
fn period(budget: &Budget, window: &Window, policy: &Policy) -> String {
    use crate::domain::window::Period;
    let start = || window.start.to_jiff().to_zoned_datetime(policy.zone.clone());
    match budget.span {
        Span::Calendar(Period::Month) => start().strftime("%Y-%m").to_string(),
        Span::Calendar(Period::Week) => start().strftime("%G-W%V").to_string(),
        Span::Calendar(Period::Day) => start().strftime("%Y-%m-%d").to_string(),
        Span::Calendar(_) => rfc3339(window.start, &policy.zone),
        Span::Rolling(length) => format!("rolling {}", in_words(length)),
        Span::Workflow => "a workflow".to_owned(),
    }
}
