//! What the admin API sees of the running gateway, and what it may do.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::SecretString;

use crate::admin::{
    AdminState, BudgetView, CounterView, PolicyView, Push, PushRefusal, ReloadView, SourceView, TenantRefusal,
    TenantView,
};
use crate::control::{Broken, Change, Control, Refusal, Reload, Snapshot};
use crate::diagnostic::{Diagnostic, Source};
use crate::domain::clock::Timestamp;
use crate::domain::standing::{Amounts, Standing, Unit};
use crate::domain::tenant::{Tenant, TenantId};
use crate::domain::window::{Ring, Window, rfc3339};
use crate::gateway::Gateway;
use crate::gateway::panics::caught_so_far;
use crate::meter::counter::{Counter, CounterName};
use crate::policy::budget::Budget;
use crate::policy::decision::State;
use crate::policy::identity::Holder;
use crate::policy::{KEY_SEPARATOR, budget_state};
use crate::telemetry::{BudgetReading, Readings};

/// Everything the admin listener needs.
pub(super) fn state(gateway: &Arc<Gateway>, token: &SecretString) -> AdminState {
    let scraped = Arc::clone(gateway);
    gateway.metrics.read_from(move || readings(&scraped));
    let handle = || Arc::clone(gateway);
    let (zone, all, one, put, gone) = (handle(), handle(), handle(), handle(), handle());
    let (policy, apply, ready, doubts, counters) = (handle(), handle(), handle(), handle(), handle());
    AdminState {
        ledger: gateway.ledger.reader(),
        metrics: Arc::clone(&gateway.metrics),
        token: token.clone(),
        clock: Arc::clone(&gateway.clock),
        zone: Box::new(move || zone.control.load().policy.zone.clone()),
        tenants: Box::new(move || {
            let snapshot = all.control.load();
            snapshot.directory.iter().map(|tenant| tenant_view(&all, &snapshot, &tenant)).collect()
        }),
        tenant: Box::new(move |id| {
            let snapshot = one.control.load();
            let known = snapshot.directory.tenant(id.as_str());
            let tenant = known.or_else(|| one.presences.contains_key(id).then(|| Tenant::unknown(id.clone())));
            tenant.map(|tenant| tenant_view(&one, &snapshot, &tenant))
        }),
        put_tenant: Box::new(move |tenant| put_tenant(&put, tenant)),
        delete_tenant: Box::new(move |id| delete_tenant(&gone, &id)),
        settle_doubt: Box::new(move |(id, evidence)| {
            let live = |name: &CounterName, window| doubts.meter.find(&name.identity, &name.key)?.find(window);
            // A budget that is new meanwhile would not know whether the correction is among the rows that it adds up.
            let settle = || doubts.ledger.settle_doubt(&id, &evidence, &live);
            doubts.control.between_reloads(settle).map_err(|error| error.to_string())
        }),
        policy: Box::new(move || policy_view(&policy.control)),
        counters: Box::new(move |tenant| counter_views(&counters, tenant.as_ref())),
        apply: Box::new(move |Push { change, expected }| push(&apply, change.as_ref(), expected.as_deref())),
        ready: Box::new(move || ready.ledger.healthy()),
    }
}

/// Puts a policy in force, or reads the folder again.
fn push(gateway: &Gateway, change: Option<&Change>, expected: Option<&str>) -> Result<PolicyView, PushRefusal> {
    let outcome = match (change, expected) {
        (Some(change), expected) => gateway.control.apply(change, expected),
        (None, Some(expected)) if !gateway.control.load().is_called(expected) => {
            Err(Refusal::Moved { running: Arc::clone(&gateway.control.load().revision) })
        }
        (None, _) => gateway.control.reload_now().map_err(Refusal::from),
    };
    let outcome = match outcome {
        Err(Refusal::Moved { running }) => return Err(PushRefusal::Moved { running: running.to_string() }),
        Err(Refusal::Broken(broken)) => Err(broken),
        Ok(snapshot) => Ok(snapshot),
    };
    super::note_reload(gateway, &outcome);
    outcome
        .map(|_| policy_view(&gateway.control))
        .map_err(|Broken { diagnostics, .. }| PushRefusal::Broken(as_json(&diagnostics)))
}

/// Counters whose window is not over.
fn counter_views(gateway: &Gateway, tenant: Option<&TenantId>) -> Vec<CounterView> {
    let now = gateway.clock.now();
    let snapshot = gateway.control.load();
    let budgets = snapshot.policy.budgets.iter();
    let rings: HashMap<&str, Ring> =
        budgets.filter_map(|budget| Some((&*budget.identity, budget.span.ring()?))).collect();
    // Read once per identity, of which there can be a hundred thousand counters.
    let mut holders: HashMap<Arc<str>, Option<Holder>> = HashMap::new();
    let mut views = Vec::new();
    gateway.meter.for_each(|identity, key, counter| {
        let Some((Window { start, end }, used)) = held(counter, rings.get(&**identity).copied(), now) else { return };
        if let Some(tenant) = tenant {
            let holder = holders.entry(Arc::clone(identity)).or_insert_with(|| Holder::parse(identity));
            let whose = holder.as_ref().and_then(|holder| holder.tenant_of(key));
            if whose.is_some_and(|whose| whose != tenant.as_str()) {
                return;
            }
        }
        let used = |unit: Unit| used[unit.index()];
        let moment = |at: Timestamp| at.to_string();
        views.push(CounterView {
            identity: identity.to_string(),
            key: key.split(KEY_SEPARATOR).filter(|_| !key.is_empty()).map(str::to_owned).collect(),
            starts_at: Some(start).filter(|start| *start != Window::EVER.start).map(moment),
            resets_at: Some(end).filter(|end| *end != Window::EVER.end).map(moment),
            nano_usd: used(Unit::Money),
            tokens: used(Unit::Tokens),
            requests: used(Unit::Requests),
            decide_opened: counter.present().and_then(|window| window.decide_opened()).map(moment),
        });
    });
    views.sort_by(|one, other| (&one.identity, &one.key).cmp(&(&other.identity, &other.key)));
    views
}

/// What a counter holds now, and the window that this is said of: that of the calendar, or the buckets that count.
fn held(counter: &Arc<Counter>, ring: Option<Ring>, now: Timestamp) -> Option<(Window, Amounts)> {
    if let Some(ring) = ring {
        let standing = |unit| counter.ring_standing(now, ring, (unit, i64::MAX));
        return Some((standing(Unit::Money).1, Unit::ALL.map(|unit| standing(unit).0)));
    }
    let window = counter.present().filter(|present| present.window().contains(now))?;
    Some((window.window(), Unit::ALL.map(|unit| window.cell(unit).used())))
}

fn as_json(diagnostics: &[Diagnostic]) -> Vec<serde_json::Value> {
    diagnostics.iter().filter_map(|diagnostic| serde_json::to_value(diagnostic).ok()).collect()
}

fn policy_view(control: &Control) -> PolicyView {
    let snapshot = control.load();
    let zone = &snapshot.policy.zone;
    let Reload { at, ok, diagnostics } = control.last_reload();
    PolicyView {
        revision: snapshot.revision.to_string(),
        mode: snapshot.policy.mode.as_str().to_owned(),
        loaded_at: rfc3339(snapshot.loaded_at, zone),
        last_reload: ReloadView { ok, at: rfc3339(at, zone), diagnostics: as_json(&diagnostics) },
        sources: snapshot.sources.iter().map(source_view).collect(),
    }
}

fn source_view(source: &Source) -> SourceView {
    SourceView { name: source.name.to_string(), text: source.text.to_string() }
}

fn put_tenant(gateway: &Gateway, tenant: Tenant) -> Result<(), TenantRefusal> {
    if gateway.control.load().directory.is_in_file(tenant.id.as_str()) {
        return Err(TenantRefusal::HeldByCsv);
    }
    gateway.ledger.put_tenant(tenant).map_err(|error| TenantRefusal::Failed(error.to_string()))?;
    reread(gateway)
}

fn delete_tenant(gateway: &Gateway, id: &TenantId) -> Result<(), TenantRefusal> {
    if gateway.control.load().directory.is_in_file(id.as_str()) {
        return Err(TenantRefusal::HeldByCsv);
    }
    if !gateway.control.load().directory.holds(id.as_str()) {
        return Err(TenantRefusal::Unknown);
    }
    gateway.ledger.delete_tenant(id).map_err(|error| TenantRefusal::Failed(error.to_string()))?;
    reread(gateway)
}

fn reread(gateway: &Gateway) -> Result<(), TenantRefusal> {
    gateway.control.reload_now().map(drop).map_err(|broken| {
        let faults: Vec<String> = broken.diagnostics.iter().map(Diagnostic::one_line).collect();
        TenantRefusal::Failed(format!("kept, and not in force until the policy is valid again: {}", faults.join("; ")))
    })
}

fn tenant_view(gateway: &Gateway, snapshot: &Snapshot, tenant: &Tenant) -> TenantView {
    let standings = gateway.standings(snapshot, tenant);
    let budgets = standings
        .iter()
        .map(|standing| budget_view(gateway, snapshot, &snapshot.policy.budgets[standing.budget], standing));
    TenantView { budgets: budgets.collect(), ..TenantView::of(tenant) }
}

fn budget_view(gateway: &Gateway, snapshot: &Snapshot, budget: &Budget, standing: &Standing) -> BudgetView {
    let now = gateway.clock.now();
    let state = budget_state(&snapshot.policy, standing, now);
    let unit = match budget.unit {
        Unit::Money => "nano_usd",
        Unit::Tokens => "tokens",
        Unit::Requests => "requests",
    };
    BudgetView {
        name: budget.name.to_string(),
        unit: unit.to_owned(),
        limit: standing.limit,
        used: standing.used,
        used_percent: state.used_percent,
        state: state.state.as_str().to_owned(),
        step: state.reached.iter().last().map(|step| step.as_str().to_owned()),
        resets_at: standing.window.resets_at().map(|end| rfc3339(end, &snapshot.policy.zone)),
        forecast_percent: forecast(standing, now),
        mode: budget.mode.as_str().to_owned(),
    }
}

/// Used ÷ elapsed share of the window, in percent of the limit, from a fifth of the window on.
fn forecast(standing: &Standing, now: Timestamp) -> Option<u32> {
    if !standing.window.has_length() {
        return None;
    }
    let length = standing.window.end.since(standing.window.start).as_micros();
    let elapsed = now.since(standing.window.start).as_micros();
    if length == 0 || elapsed * 5 < length || standing.limit <= 0 {
        return None;
    }
    let used = u128::try_from(standing.used.max(0)).ok()?;
    let limit = u128::try_from(standing.limit).ok()?;
    u32::try_from(used * 100 * length / (limit * elapsed)).ok()
}

/// Where a counter stands in its present window, if it has one.
fn standing(counter: &Arc<Counter>, (at, budget, limit): (usize, &Budget, i64), now: Timestamp) -> Option<Standing> {
    if let Some(ring) = budget.span.ring() {
        let (used, window) = counter.ring_standing(now, ring, (budget.unit, limit));
        return Some(Standing { budget: at, limit, used, window, decide_opened: None });
    }
    let window = counter.present().filter(|window| window.window().contains(now))?;
    let used = window.cell(budget.unit).used();
    Some(Standing { budget: at, limit, used, window: window.window(), decide_opened: None })
}

/// Every live counter, for a scrape.
fn readings(gateway: &Gateway) -> Readings {
    let snapshot = gateway.control.load();
    let now = gateway.clock.now();
    let policy = &snapshot.policy;
    let by_identity: HashMap<&str, usize> =
        policy.budgets.iter().enumerate().map(|(at, budget)| (&*budget.identity, at)).collect();
    let mut budgets = Vec::new();
    gateway.meter.for_each(|identity, key, counter| {
        let Some(at) = by_identity.get(&**identity).copied() else { return };
        let budget = &policy.budgets[at];
        if budget.per.len() > 1 {
            return;
        }
        let tenant = budget.is_per_tenant().then(|| key.to_owned());
        let facts = tenant.as_deref().and_then(|tenant| snapshot.directory.nameless(tenant));
        let facts = facts.unwrap_or_else(|| Tenant::unknown(TenantId::unattributed()));
        let Some(limit) = policy.limit(at, &facts, now) else { return };
        let Some(standing) = standing(counter, (at, budget, limit), now) else { return };
        let used = standing.used;
        let state = match budget_state(&snapshot.policy, &standing, now).state {
            State::Ok => 0,
            State::Warning => 1,
            State::Exceeded => 2,
        };
        budgets.push(BudgetReading { budget: budget.name.to_string(), tenant, used, limit, state });
    });
    Readings {
        budgets,
        ledger_dropped: gateway.ledger.lost(),
        panics: caught_so_far(),
        throttle_waiting: gateway.lines.waiting(),
        ledger_spooled: gateway.ledger.spooled(),
        ledger_wal_bytes: gateway.ledger.wal_bytes(),
        ledger_healthy: gateway.ledger.healthy(),
    }
}
