//! Who is affected now: the policy that runs and the one to be, both measured with the same counters.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cli::vantage::Vantage;
use crate::domain::attribution::{Attribution, DataMode, Environment};
use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::standing::Standing;
use crate::domain::tenant::{Tenant, TenantId};
use crate::policy::budget::Budget;
use crate::policy::decision::Step;
use crate::policy::hypothesis::{Hypothesis, Usage, standings};
use crate::policy::impact::{Stand, begins};
use crate::policy::past::PastCalls;
use crate::policy::{Policy, evaluate};

/// How long ago the calls are that are tried again.
const LATELY: std::time::Duration = std::time::Duration::from_hours(24);

/// A counter that stands differently under the policy to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Move {
    /// The tenant; `null` for a budget that all share.
    #[serde(rename = "tenantId")]
    pub(super) tenant: Option<String>,
    pub(super) budget: String,
    /// `null` where the budget does not count or limit it.
    pub(super) used_percent_before: Option<u32>,
    pub(super) used_percent_after: Option<u32>,
    pub(super) step_before: Option<&'static str>,
    pub(super) step_after: Option<&'static str>,
    /// What begins at once.
    pub(super) begins: Vec<String>,
}

impl Move {
    pub(super) fn changes_step(&self) -> bool {
        self.step_before != self.step_after
    }
}

/// Every counter of one tenant, or of all, whose share or step changes.
pub(super) fn moves(running: &Vantage, fresh: &Policy, now: Timestamp) -> Result<Vec<Move>, String> {
    let names = |policy: &Policy| policy.budgets.iter().map(|budget| budget.name.to_string()).collect::<Vec<_>>();
    let names: BTreeSet<String> = names(&running.policy).into_iter().chain(names(fresh)).collect();
    let mut moves = Vec::new();
    let everybody = Tenant::unknown(TenantId::unattributed());
    for name in &names {
        let before = shared(running, &running.policy, name, &everybody, now)?;
        let after = shared(running, fresh, name, &everybody, now)?;
        moves.extend(moved(fresh, name, None, (before, after)));
    }
    for tenant in running.tenants()? {
        for name in &names {
            let before = own(running, &running.policy, name, &tenant, now)?;
            let after = own(running, fresh, name, &tenant, now)?;
            moves.extend(moved(fresh, name, Some(&tenant), (before, after)));
        }
    }
    Ok(moves)
}

fn moved(
    fresh: &Policy,
    name: &str,
    tenant: Option<&Tenant>,
    (before, after): (Option<Stand>, Option<Stand>),
) -> Option<Move> {
    if before == after {
        return None;
    }
    let reached = |stand: Option<Stand>| stand.map(|stand| stand.reached).unwrap_or_default();
    let step = |stand: Option<Stand>| stand.and_then(Stand::step).map(Step::as_str);
    let budget = fresh.budget_named(name);
    let begins = budget.map(|budget| begins(fresh, budget, tenant, reached(before), reached(after)));
    Some(Move {
        tenant: tenant.map(|tenant| tenant.id.to_string()),
        budget: name.to_owned(),
        used_percent_before: before.map(|stand| stand.used_percent),
        used_percent_after: after.map(|stand| stand.used_percent),
        step_before: step(before),
        step_after: step(after),
        begins: begins.unwrap_or_default(),
    })
}

/// A budget without `per`.
fn shared(
    running: &Vantage,
    policy: &Policy,
    name: &str,
    everybody: &Tenant,
    now: Timestamp,
) -> Result<Option<Stand>, String> {
    let Some(budget) =
        policy.budget_named(name).filter(|at| policy.budgets.get(*at).is_some_and(|it| it.per.is_empty()))
    else {
        return Ok(None);
    };
    stand(running, policy, (budget, String::new()), everybody, now)
}

/// A budget that has one counter for this tenant.
fn own(
    running: &Vantage,
    policy: &Policy,
    name: &str,
    tenant: &Tenant,
    now: Timestamp,
) -> Result<Option<Stand>, String> {
    let budget = policy.budget_named(name).filter(|budget| policy.concerns(*budget, tenant));
    let budget = budget.filter(|at| policy.budgets.get(*at).is_some_and(Budget::is_per_tenant));
    let Some((budget, key)) = budget.and_then(|budget| Some((budget, policy.tenant_key(budget, tenant)?))) else {
        return Ok(None);
    };
    stand(running, policy, (budget, key), tenant, now)
}

fn stand(
    running: &Vantage,
    policy: &Policy,
    (budget, key): (usize, String),
    tenant: &Tenant,
    now: Timestamp,
) -> Result<Option<Stand>, String> {
    let Some(limit) = policy.limit(budget, tenant, now) else { return Ok(None) };
    let usage = running.usage(policy, budget, &key, now)?;
    let (used, window) = (usage.used.of(limit), policy.window(budget, now));
    let standing = Standing { budget, limit, used, window, decide_opened: usage.decide_opened };
    Ok(Some(Stand::of(policy, &standing, now)))
}

/// How many of the requests on critical endpoints that came in the last 24 hours would be refused if they came now.
pub(super) fn critical_refused(running: &Vantage, fresh: &Policy, now: Timestamp) -> Result<i64, String> {
    let since = Timestamp::from_micros(now.micros().saturating_sub(i64::try_from(LATELY.as_micros()).unwrap_or(0)));
    let tenants: BTreeMap<String, Tenant> =
        running.tenants()?.into_iter().map(|tenant| (tenant.id.to_string(), tenant)).collect();
    let mut refused: i64 = 0;
    for calls in running.past(since, now, &[])? {
        if !fresh.is_critical(&calls.endpoint_tag) || calls.requests == 0 {
            continue;
        }
        let Some(call) = again(&calls, &tenants, running, now) else { continue };
        if is_refused(running, fresh, &call)? {
            refused = refused.saturating_add(calls.requests);
        }
    }
    Ok(refused)
}

fn is_refused(running: &Vantage, fresh: &Policy, call: &Hypothesis) -> Result<bool, String> {
    let facts = call.facts();
    let dimensions = call.dimensions(fresh);
    let mut usages: BTreeMap<usize, Usage> = BTreeMap::new();
    for counted in fresh.counted(&facts) {
        let Some(key) = fresh.counter_key(counted.budget, &dimensions) else { continue };
        usages.insert(counted.budget, running.usage(fresh, counted.budget, &key, call.now)?);
    }
    let standings = standings(fresh, &facts, |budget| usages.get(&budget).copied().unwrap_or_default());
    Ok(evaluate(fresh, &facts, &standings).actions.block.is_some())
}

/// Calls of the past as one that comes now, by what the directory says of its tenant today.
fn again(
    calls: &PastCalls,
    tenants: &BTreeMap<String, Tenant>,
    running: &Vantage,
    now: Timestamp,
) -> Option<Hypothesis> {
    let id = TenantId::new(&calls.tenant_id).ok()?;
    let attribution = Attribution {
        endpoint_tag: calls.endpoint_tag.as_str().into(),
        prompt_version: calls.prompt_version.as_str().into(),
        data_mode: DataMode::parse(&calls.data_mode).unwrap_or(DataMode::Invalid),
        environment: Environment::parse(&calls.environment).unwrap_or(Environment::Invalid),
        user_id: calls.user_id.as_deref().map(Into::into),
        workflow_id: calls.workflow_id.as_deref().map(Into::into),
        ..Attribution::default()
    };
    Some(Hypothesis {
        now,
        tenant: tenants.get(&calls.tenant_id).cloned().unwrap_or_else(|| Tenant::unknown(id)),
        attribution,
        provider: calls.provider.as_str().into(),
        model: calls.model.as_str().into(),
        cap: None,
        thinking_budget: None,
        reasoning: running.model(&calls.model).is_some_and(|facts| facts.reasoning),
        content: Content::passing(&calls.provider),
    })
}
