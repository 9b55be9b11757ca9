//! What an expired exception means today: the limit that its tenant is measured against again, and how much of it is used.

use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::domain::clock::Timestamp;
use crate::domain::tenant::Tenant;
use crate::ledger::LedgerReader;
use crate::policy::advice::Text;
use crate::policy::budget::{Budget, Dimension};
use crate::policy::{Policy, quantity};

/// What the notes are made from.
pub(super) struct Today<'a> {
    pub(super) policy: &'a Policy,
    pub(super) text: &'a Text,
    pub(super) ledger: Option<&'a Path>,
    pub(super) now: Timestamp,
}

impl Today<'_> {
    /// Says of every `W163` which limit is in force again, where the exception names its budget and the tenant is known.
    pub(super) fn note(&self, diagnostics: &mut [Diagnostic], tenant: impl Fn(&str) -> Option<Tenant>) {
        for diagnostic in diagnostics.iter_mut().filter(|one| one.code == "W163") {
            let stood = diagnostic.place.as_ref().and_then(|place| self.text.exception_at(place));
            let known = stood.and_then(|(name, budget)| Some((tenant(name)?, self.policy.budget_named(budget?)?)));
            if let Some(note) = known.and_then(|(tenant, budget)| self.limit(&tenant, budget)) {
                diagnostic.notes = vec![note];
            }
        }
    }

    fn limit(&self, tenant: &Tenant, index: usize) -> Option<String> {
        let budget = self.policy.budgets.get(index)?;
        let limit = self.policy.limit(index, tenant, self.now)?;
        let amount = quantity(limit, budget.unit);
        let used = self.used(tenant, budget).map(|used| i128::from(used) * 100);
        let used = used.and_then(|used| used.checked_div(i128::from(limit)));
        let used = used.map(|percent| format!(" ({percent}% used)")).unwrap_or_default();
        Some(format!("note: {} is measured against its normal {amount}/{} again{used}", tenant.id, budget.span))
    }

    /// What the present window's counter holds, where the tenant has one of its own.
    fn used(&self, tenant: &Tenant, budget: &Budget) -> Option<i64> {
        if budget.per != [Dimension::TenantId] {
            return None;
        }
        let reader = LedgerReader::open(self.ledger?).ok()?;
        let mut used = None;
        let mut take = |counter: crate::ledger::StoredCounter| {
            let name = &counter.name;
            if *name.identity == *budget.identity
                && *name.key == *tenant.id.as_str()
                && counter.window.contains(self.now)
            {
                let unit = budget.unit.index();
                used = Some(counter.posted[unit].saturating_add(counter.in_doubt[unit]));
            }
        };
        reader.counters_open_at(self.now, &mut take).ok()?;
        used
    }
}
