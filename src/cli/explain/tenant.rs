//! A tenant: every budget that counts it alone or with everybody, as it stands, and what comes next.

use serde_json::json;

use crate::cli::desk::Form;
use crate::cli::vantage::{Vantage, Where, now};
use crate::domain::standing::Standing;
use crate::domain::tenant::Tenant;
use crate::policy::account::Account;

use super::render::{Head, explanation};

/// The explanation; `None`: nobody knows the tenant.
pub(super) fn explained(id: &str, place: &Where, form: Form) -> Result<Option<String>, String> {
    let now = now();
    let vantage = Vantage::open(place, now)?.with_counters(Some(id))?;
    let Some(tenant) = vantage.tenant(id)? else { return Ok(None) };
    if !vantage.has_books() {
        return Err(
            "error: no ledger says what was used; name one with `--ledger PATH`, or a gateway with `--url`".to_owned()
        );
    }
    let policy = &vantage.policy;
    let (mut standings, mut notes) = (Vec::new(), Vec::new());
    for (at, budget) in policy.budgets.iter().enumerate().filter(|(at, _)| policy.concerns(*at, &tenant)) {
        let Some(key) = policy.tenant_key(at, &tenant) else {
            let per: Vec<&str> = budget.per.iter().map(|dimension| dimension.as_str()).collect();
            notes.push(format!("{} has a counter per {}: explain a request to see one", budget.name, per.join(", ")));
            continue;
        };
        let Some(limit) = policy.limit(at, &tenant, now) else {
            notes.push(format!("{} counts {id} and has no limit for it: no plan or revenue says one", budget.name));
            continue;
        };
        let usage = vantage.usage(policy, at, &key, now)?;
        let window = policy.window(at, now);
        let decide_opened = usage.decide_opened;
        standings.push(Standing { budget: at, limit, used: usage.used.of(limit), window, decide_opened });
    }
    let account = Account::of_tenant(policy, &tenant, &standings, now);
    Ok(Some(explanation(&head(&vantage, &tenant, notes), &account, form)))
}

fn head(vantage: &Vantage, tenant: &Tenant, notes: Vec<String>) -> Head {
    let plan = vantage.policy.plan(tenant).map_or("no plan", |plan| &plan.name);
    let segment = tenant.segment.as_deref().map(|segment| format!(" · {segment}")).unwrap_or_default();
    let owner = tenant.account_owner.as_deref().map(|owner| format!(" · owner {owner}")).unwrap_or_default();
    let name = tenant.name.as_deref().map(|name| format!(" · {name}")).unwrap_or_default();
    Head {
        lines: vec![format!("{}{name} · {plan}{segment}{owner}   policy {}", tenant.id, vantage.revision)],
        facts: json!({ "tenantId": tenant.id.as_str(), "plan": plan, "segment": tenant.segment, "policy": vantage.revision }),
        columns: ["asks for", "next"],
        notes,
        tenant: tenant.id.to_string(),
    }
}
