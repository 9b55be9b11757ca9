//! By how much budgets that stand within another may use more than it allows. To let them is often meant: not everybody uses up
//! everything. To know by how much is what `check` adds.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::tenant::Tenant;
use crate::domain::window::{Period, Span};

use super::Policy;
use super::budget::{Budget, Dimension};

impl Policy {
    /// `W129` for each budget that the budgets within it can use up, with every tenant of the directory at its limit. Budgets
    /// with a counter per anything but the tenant are left out: nobody knows how many there will be.
    pub fn oversubscribed(&self, tenants: &[Tenant], now: Timestamp) -> Vec<Diagnostic> {
        let mut families: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (child, budget) in self.budgets.iter().enumerate() {
            if let Some(within) = &budget.within {
                families.entry(within.parent).or_default().push(child);
            }
        }
        families.into_iter().filter_map(|(parent, children)| self.family(parent, &children, tenants, now)).collect()
    }

    fn family(&self, parent: usize, children: &[usize], tenants: &[Tenant], now: Timestamp) -> Option<Diagnostic> {
        let known: Vec<usize> = children.iter().copied().filter(|child| is_known(&self.budgets[*child])).collect();
        let budget = &self.budgets[parent];
        let (sum, limit, whose) = if budget.per.is_empty() {
            let limit = self.limit(parent, tenants.first().unwrap_or(&nobody()), now)?;
            let sums = known.iter().map(|child| self.all_of(*child, parent, tenants, now));
            (sums.fold(0, i128::saturating_add), limit, String::new())
        } else if budget.per == [Dimension::TenantId] {
            let of_one = |tenant: &Tenant| {
                let limit = self.limit(parent, tenant, now).filter(|limit| *limit > 0)?;
                let sum = known.iter().map(|child| self.part_of(*child, parent, tenant, now)).sum::<i128>();
                Some((sum, limit, format!(" tenant `{}`", tenant.id)))
            };
            let worst = tenants.iter().filter_map(of_one);
            worst.max_by_key(|(sum, limit, _)| sum.saturating_mul(1_000) / i128::from(*limit))?
        } else {
            return None;
        };
        let over = sum - i128::from(limit);
        if over <= 0 || limit <= 0 {
            return None;
        }
        let names: Vec<String> = known.iter().map(|child| format!("`{}`", self.budgets[*child].name)).collect();
        let (unit, per) = (budget.unit, period(budget));
        let message = format!("budgets within `{}` may use more than it allows{whose}", budget.name);
        let place = &self.budgets[*known.first()?].within.as_ref()?.place;
        let sums = format!(
            "note: {} add up to {}, {}% above {}",
            names.join(", "),
            amount(sum, unit, per),
            over.saturating_mul(100) / i128::from(limit),
            amount(limit.into(), unit, per)
        );
        Some(Diagnostic::warning("W129", message).at(place, "").note(sums))
    }

    /// What a child may use in a period of its parent, all its counters together.
    fn all_of(&self, child: usize, parent: usize, tenants: &[Tenant], now: Timestamp) -> i128 {
        if self.budgets[child].per.is_empty() {
            return self.part_of(child, parent, &nobody(), now);
        }
        let counted = tenants.iter().filter(|tenant| self.concerns(child, tenant));
        counted.map(|tenant| self.part_of(child, parent, tenant, now)).fold(0, i128::saturating_add)
    }

    /// What one counter of a child may use in a period of its parent.
    fn part_of(&self, child: usize, parent: usize, tenant: &Tenant, now: Timestamp) -> i128 {
        let Some(limit) = self.limit(child, tenant, now) else { return 0 };
        let seconds = |budget: usize| i128::from(period(&self.budgets[budget]).nominal_seconds());
        i128::from(limit) * seconds(parent) / seconds(child)
    }
}

const CENT: i64 = 10_000_000;

/// Whether it is known how many counters it has.
fn is_known(budget: &Budget) -> bool {
    matches!(budget.per.as_slice(), [] | [Dimension::TenantId])
}

fn period(budget: &Budget) -> Period {
    match budget.span {
        Span::Calendar(period) => period,
        // Neither parents nor children are of these spans.
        Span::Rolling(_) | Span::Workflow => Period::Month,
    }
}

/// Whose facts a shared budget is asked with: they change nothing about its limit.
fn nobody() -> Tenant {
    Tenant::unknown(crate::domain::tenant::TenantId::unattributed())
}

fn amount(amount: i128, unit: Unit, per: Period) -> String {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    match unit {
        // To the cent: what is converted between periods is no exact amount.
        Unit::Money => format!("{}/{per}", Money::from_nano(amount / CENT * CENT)),
        Unit::Tokens => format!("{amount} tokens/{per}"),
        Unit::Requests => format!("{amount} requests/{per}"),
    }
}
