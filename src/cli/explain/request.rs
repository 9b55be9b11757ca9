//! One call: of the ledger, as its counters stood then; or one that nobody made.

use serde_json::{Value, json};

use crate::cli::desk::Form;
use crate::cli::vantage::{Vantage, Where, now};
use crate::diagnostic::{self, Source};
use crate::domain::attribution::{Attribution, DataMode, Environment};
use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::money::Money;
use crate::domain::tenant::{Tenant, TenantId};
use crate::domain::window::rfc3339;
use crate::ledger::Column;
use crate::policy::account::Account;
use crate::policy::hypothesis::read::{Reader, Usages};
use crate::policy::hypothesis::{Hypothesis, Usage, Used, standings};
use crate::policy::past;
use crate::policy::trace::Trace;

use super::render::{Head, explanation};

/// A call that nobody made. Counters are as the question says; those that it does not name as the books say.
pub(super) fn hypothetical(text: &str, place: &Where, form: Form) -> Result<Option<String>, String> {
    let now = now();
    let vantage = Vantage::open(place, now)?;
    let source = Source::new("--request", text);
    let models = |name: &str| vantage.model(name);
    let tenants = |id: &str| vantage.tenant(id).ok().flatten();
    let reader = Reader { policy: &vantage.policy, models: &models, tenants: &tenants };
    let question =
        reader.question(&source, now).map_err(|found| diagnostic::render(&found, std::slice::from_ref(&source)))?;
    let call = question.call;
    let vantage = vantage.with_counters(Some(call.tenant.id.as_str()))?;
    let usages = counted(&vantage, &call, question.usages)?;
    let lines = vec![title(&vantage, &call), asked(&vantage, &call, &usages, None)];
    let facts = json!({
        "tenantId": call.tenant.id.as_str(), "endpointTag": &*call.attribution.endpoint_tag,
        "at": rfc3339(call.now, &vantage.policy.zone), "model": &*call.model, "policy": vantage.revision,
    });
    Ok(Some(explain(&vantage, &call, &usages, (lines, facts, Vec::new()), form)))
}

/// What the counters hold that the question does not speak of.
fn counted(vantage: &Vantage, call: &Hypothesis, mut usages: Usages) -> Result<Usages, String> {
    let (policy, dimensions) = (&vantage.policy, call.dimensions(&vantage.policy));
    for counted in policy.counted(&call.facts()) {
        if usages.contains_key(&counted.budget) || !vantage.has_books() {
            continue;
        }
        let Some(key) = policy.counter_key(counted.budget, &dimensions) else { continue };
        usages.insert(counted.budget, vantage.usage(policy, counted.budget, &key, call.now)?);
    }
    Ok(usages)
}

/// A call of the ledger; `None`: there is none of that name.
pub(super) fn past(id: &str, place: &Where, form: Form) -> Result<Option<String>, String> {
    let vantage = Vantage::open(place, now())?;
    let rows = vantage.request(id)?;
    let Some(row) = rows.iter().find(|row| row["adjusts"].is_null()).or(rows.first()) else { return Ok(None) };
    let at = row["admitted_at"].as_str().and_then(|text| text.parse().ok()).map(Timestamp::from_jiff);
    let at = at.ok_or_else(|| format!("error: the row of `{id}` has no time"))?;
    // Exceptions that have expired since were in force then.
    let vantage = vantage.at(at)?;
    let call = call(row, at, &vantage).ok_or_else(|| format!("error: the row of `{id}` names no tenant"))?;
    let vantage = vantage.with_counters(Some(call.tenant.id.as_str()))?;
    let usages = then(&vantage, &call)?;
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let mut notes =
        vec!["used: what the ledger's rows of that window add up to, of calls that were admitted before".to_owned()];
    notes.push(
        "the client's own max_tokens is not in the ledger: a cap shows as asked for even where it asked for less"
            .to_owned(),
    );
    if text("policy") != vantage.revision && !text("policy").ends_with(&vantage.revision) {
        notes.push(format!("`{}` ran then; this is explained by `{}`", text("policy"), vantage.revision));
    }
    let shown = |text: &str| if text.is_empty() { "nothing was done".to_owned() } else { text.to_owned() };
    notes.push(format!("recorded: {}", shown(text("decision"))));
    if !text("would").is_empty() {
        notes.push(format!("recorded of rules in dry run: {}", text("would")));
    }
    if rows.len() > 1 {
        notes.push(format!("{} attempts; this is the first", rows.len()));
    }
    let lines = vec![title(&vantage, &call), asked(&vantage, &call, &usages, Some(row))];
    Ok(Some(explain(&vantage, &call, &usages, (lines, row.clone(), notes), form)))
}

/// What the counters of a call held when it came.
fn then(vantage: &Vantage, call: &Hypothesis) -> Result<Usages, String> {
    let (policy, dimensions) = (&vantage.policy, call.dimensions(&vantage.policy));
    let mut usages = Usages::new();
    for counted in policy.counted(&call.facts()) {
        let (Some(rule), Some(key)) =
            (policy.budgets.get(counted.budget), policy.counter_key(counted.budget, &dimensions))
        else {
            continue;
        };
        let own = rule.is_per_tenant().then(|| (Column::TenantId, call.tenant.id.to_string()));
        let since = policy.window(counted.budget, call.now).start;
        let calls = vantage.past(since, call.now, &own.into_iter().collect::<Vec<_>>())?;
        let used = past::sums(policy, counted.budget, &calls).get(&key).copied().unwrap_or(0);
        let used = Used::Amount(used);
        let decide_opened = vantage.decide_opened(policy, counted.budget, &key, call.now)?;
        usages.insert(counted.budget, Usage { used, decide_opened });
    }
    Ok(usages)
}

/// A row of the ledger as a call.
fn call(row: &Value, at: Timestamp, vantage: &Vantage) -> Option<Hypothesis> {
    let text = |name: &str| row[name].as_str().map(std::sync::Arc::<str>::from);
    let id = TenantId::new(row["tenantId"].as_str()?).ok()?;
    let known = vantage.tenant(id.as_str()).ok().flatten().unwrap_or_else(|| Tenant::unknown(id));
    // What finance changed since does not change what the tenant was then.
    let tenant = Tenant { plan: text("plan"), segment: text("segment"), ..known };
    let attribution = Attribution {
        endpoint_tag: text("endpointTag")?,
        prompt_version: text("promptVersion")?,
        data_mode: row["dataMode"].as_str().and_then(DataMode::parse).unwrap_or(DataMode::Invalid),
        environment: row["environment"].as_str().and_then(Environment::parse).unwrap_or(Environment::Invalid),
        user_id: text("userId"),
        workflow_id: text("workflowId"),
        external_request_id: text("externalRequestId"),
        ..Attribution::default()
    };
    let model = text("model_requested").unwrap_or_default();
    let reasoning = vantage.model(&model).is_some_and(|facts| facts.reasoning);
    let provider = text("provider").unwrap_or_default();
    let content = Content::passing(&provider);
    let (cap, thinking_budget) = (None, None);
    Some(Hypothesis { now: at, tenant, attribution, provider, model, cap, thinking_budget, reasoning, content })
}

/// `globex · digest.weekly · digest_v7 · real/prod · 2026-11-25T10:14:03+01:00   policy r42 9f3c1ae`.
fn title(vantage: &Vantage, call: &Hypothesis) -> String {
    let said = &call.attribution;
    let version = match &*said.prompt_version {
        crate::domain::attribution::UNVERSIONED => String::new(),
        version => format!(" · {version}"),
    };
    format!(
        "{} · {}{version} · {}/{} · {}   policy {}",
        call.tenant.id,
        said.endpoint_tag,
        said.data_mode,
        said.environment,
        rfc3339(call.now, &vantage.policy.zone),
        vantage.revision
    )
}

/// What was asked for, what is served, and what it cost.
fn asked(vantage: &Vantage, call: &Hypothesis, usages: &Usages, row: Option<&Value>) -> String {
    let facts = call.facts();
    let standings = standings(&vantage.policy, &facts, |budget| usages.get(&budget).copied().unwrap_or_default());
    let actions = Trace::of(&vantage.policy, facts, &standings).decision.actions;
    let limit = |cap: Option<u64>| cap.map(|cap| format!(", max_tokens {cap}")).unwrap_or_default();
    let model = |name: &str| if name.is_empty() { "no model".to_owned() } else { name.to_owned() };
    let asked = format!("asked {}{}", model(&call.model), limit(call.cap));
    let Some(row) = row else {
        if let Some(block) = &actions.block {
            return format!("{asked}   refused with {}", block.status);
        }
        let served = actions.route.as_deref().unwrap_or(&call.model);
        return format!("{asked}   served {}{}", model(served), limit(actions.cap.or(call.cap)));
    };
    let status = row["status"].as_u64().unwrap_or_default();
    let cost = row["cost_nano_usd"].as_i64().map_or("unpriced".to_owned(), |nano| Money::from_nano(nano).to_string());
    match row["ending"].as_str() {
        Some("refused") => format!("{asked}   refused with {status}"),
        _ => format!(
            "{asked}   served {}   {cost} ({})",
            model(row["model_served"].as_str().unwrap_or_default()),
            row["basis"].as_str().unwrap_or_default()
        ),
    }
}

fn explain(
    vantage: &Vantage,
    call: &Hypothesis,
    usages: &Usages,
    (lines, facts, notes): (Vec<String>, Value, Vec<String>),
    form: Form,
) -> String {
    let policy = &vantage.policy;
    let standings = standings(policy, &call.facts(), |budget| usages.get(&budget).copied().unwrap_or_default());
    let trace = Trace::of(policy, call.facts(), &standings);
    let account = Account::of_call(policy, call, &trace);
    let tenant = call.tenant.id.to_string();
    explanation(&Head { lines, facts, columns: ["asks for", "result"], notes, tenant }, &account, form)
}
