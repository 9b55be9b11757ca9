//! What clients see of their budgets (`defaults.expose_to_clients`): shares, amounts, or nothing. Only ever budgets that have a
//! counter per tenant: shared totals would tell one customer about another.

use serde_json::{Map, Value, json};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::{Standing, Unit};
use crate::domain::window::rfc3339;
use crate::policy::decision::{BudgetState, Decision};
use crate::policy::plan::Exposure;
use crate::policy::{Policy, budget_state};

use super::call::Call;
use super::counting::Counting;
use super::reply::{number, quote};

/// `plimsoll-budget`.
pub(super) fn header(call: &Call, decision: &Decision, counting: &Counting) -> String {
    let mut field = String::new();
    let exposure = call.snapshot.policy.defaults.expose_to_clients.budget;
    if exposure == Exposure::Never {
        return field;
    }
    for state in &decision.states {
        let Some(budget) = call.snapshot.policy.budgets.get(state.budget) else { continue };
        let standing = counting.standings.iter().find(|standing| standing.budget == state.budget);
        let Some(standing) = standing.filter(|_| budget.is_per_tenant()) else { continue };
        if field.is_empty() {
            field.reserve(64);
        } else {
            field.push_str(", ");
        }
        quote(&budget.name, &mut field);
        for part in [";state=", state.state.as_str(), ";used="] {
            field.push_str(part);
        }
        number(&mut field, state.used_percent);
        if let Some(end) = standing.window.resets_at() {
            field.push_str(";t=");
            number(&mut field, end.since(call.now).as_secs());
        }
        if exposure == Exposure::Amount {
            for (name, value) in [(";spent=", standing.used), (";limit=", standing.limit)] {
                field.push_str(name);
                quote(&amount(budget.unit, value), &mut field);
            }
            field.push_str(";unit=");
            quote(unit(budget.unit), &mut field);
        }
    }
    field
}

/// One budget of `GET /plimsoll/v1/quota`; `None` where nothing is shown.
pub(super) fn quota(policy: &Policy, standing: &Standing, now: Timestamp) -> Option<Value> {
    let exposure = policy.defaults.expose_to_clients.budget;
    let budget = policy.budgets.get(standing.budget).filter(|_| exposure != Exposure::Never)?;
    let BudgetState { state, used_percent, .. } = budget_state(policy, standing, now);
    let mut shown: Map<String, Value> = Map::new();
    let end = standing.window.resets_at();
    shown.insert("budget".to_owned(), json!(&*budget.name));
    shown.insert("state".to_owned(), json!(state.as_str()));
    shown.insert("used_percent".to_owned(), json!(used_percent));
    shown.insert("resets_at".to_owned(), json!(end.map(|end| rfc3339(end, &policy.zone))));
    shown.insert("resets_in_seconds".to_owned(), json!(end.map(|end| end.since(now).as_secs())));
    if exposure == Exposure::Amount {
        shown.insert("used".to_owned(), json!(amount(budget.unit, standing.used)));
        shown.insert("limit".to_owned(), json!(amount(budget.unit, standing.limit)));
        shown.insert("unit".to_owned(), json!(unit(budget.unit)));
    }
    Some(Value::Object(shown))
}

/// Dollars as a decimal, or a plain number.
fn amount(unit: Unit, value: i64) -> String {
    if unit == Unit::Money { Money::from_nano(value).to_decimal() } else { value.to_string() }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Money => "USD",
        Unit::Tokens => "tokens",
        Unit::Requests => "requests",
    }
}
