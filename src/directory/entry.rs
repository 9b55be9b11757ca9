//! A tenant as the directory keeps it: what many have in common stands once, and nothing is kept of one that a call does not need
//! before it comes.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::by_key::Keyed;
use crate::domain::tenant::{Revenue, Tenant, TenantId};

/// One tenant.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    id: TenantId,
    name: Option<Box<str>>,
    terms: Arc<Terms>,
}

/// What tenants have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    plan: Option<Arc<str>>,
    segment: Option<Arc<str>>,
    account_owner: Option<Arc<str>>,
    revenue: Option<Revenue>,
    upgrade_url: Option<Arc<str>>,
}

impl Entry {
    /// Of a tenant, whose terms may be among those that are known.
    pub(super) fn new(tenant: Tenant, known: &mut HashSet<Arc<Terms>>) -> Self {
        let Tenant { id, name, plan, segment, account_owner, revenue, upgrade_url } = tenant;
        let terms = Terms { plan, segment, account_owner, revenue, upgrade_url };
        let terms = if let Some(known) = known.get(&terms) {
            Arc::clone(known)
        } else {
            let terms = Arc::new(terms);
            known.insert(Arc::clone(&terms));
            terms
        };
        Self { id, name, terms }
    }

    /// The tenant.
    pub(super) fn tenant(&self) -> Tenant {
        Tenant { name: self.name.clone(), ..self.nameless() }
    }

    /// The tenant without its name.
    pub(super) fn nameless(&self) -> Tenant {
        let Terms { plan, segment, account_owner, revenue, upgrade_url } = &*self.terms;
        Tenant {
            id: self.id.clone(),
            name: None,
            plan: plan.clone(),
            segment: segment.clone(),
            account_owner: account_owner.clone(),
            revenue: *revenue,
            upgrade_url: upgrade_url.clone(),
        }
    }
}

impl Keyed for Entry {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Money;
    use crate::domain::window::Period;

    // Mutations: each tenant has its own terms; all have those of the first.
    #[test]
    fn what_tenants_have_in_common_is_kept_once_and_nothing_is_lost() {
        let text = |text: &str| Some(Arc::from(text));
        let revenue = |nano| Some(Revenue { amount: Money::from_nano(nano), per: Period::Month });
        let tenant = |id, plan, nano| Tenant {
            id: TenantId::new(id).expect("an identifier"),
            name: Some(Box::from(id.to_uppercase())),
            plan: text(plan),
            segment: text("retail"),
            account_owner: text("dana"),
            revenue: revenue(nano),
            upgrade_url: text("https://example.com/more"),
        };
        let all =
            [tenant("a", "growth", 5), tenant("b", "growth", 5), tenant("c", "growth", 6), tenant("d", "free", 5)];
        let mut known = HashSet::new();
        let entries = all.clone().map(|tenant| Entry::new(tenant, &mut known));
        assert_eq!(entries.each_ref().map(Entry::tenant), all);
        assert_eq!(entries[0].nameless(), Tenant { name: None, ..all[0].clone() });
        assert_eq!(known.len(), 3);
        assert!(Arc::ptr_eq(&entries[0].terms, &entries[1].terms));
    }
}
