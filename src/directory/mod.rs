//! The tenants that finance knows: plan, segment, owner, revenue.
//!
//! Read from CSV into one immutable view. A file with an error yields no directory, because a tenant that silently lost
//! its plan would be measured against nothing. Names of plans and segments are only compared with the lists that the
//! caller passes; this module knows no policy.

mod rows;

use std::collections::HashSet;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source};
use crate::domain::by_key::ByKey;
use crate::domain::tenant::{Tenant, TenantId};

/// What the policy defines, to compare rows with.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownNames<'a> {
    /// The plans.
    pub plans: &'a [&'a str],
    /// The segments.
    pub segments: &'a [&'a str],
}

/// Every tenant by its identifier.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    tenants: HashSet<ByKey<Arc<Tenant>>>,
    /// Of them, those that the file does not hold.
    absent: HashSet<TenantId>,
}

impl Directory {
    /// Reads `tenants.csv`.
    ///
    /// Columns in any order: `tenantId` (required), `name`, `plan`, `segment`, `account_owner`, `revenue` (`199/month`),
    /// `upgrade_url`. Every mistake is reported at its line and column; rows with an error are left out. With
    /// `known`, undefined plans and segments are warnings.
    pub fn parse(csv: &Source, known: Option<KnownNames<'_>>) -> (Self, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let tenants = rows::read(csv, known, &mut diagnostics);
        crate::diagnostic::sort(&mut diagnostics);
        (Self::of(tenants), diagnostics)
    }

    /// A directory of these tenants; of two with one identifier the later counts.
    pub fn of(tenants: impl IntoIterator<Item = Tenant>) -> Self {
        let mut directory = Self::default();
        for tenant in tenants {
            directory.tenants.replace(ByKey(Arc::new(tenant)));
        }
        directory
    }

    /// The tenant of that identifier.
    pub fn tenant(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(id).map(|ByKey(tenant)| tenant)
    }

    /// Every tenant, by identifier.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        let mut all: Vec<&Arc<Tenant>> = self.tenants.iter().map(|ByKey(tenant)| tenant).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.into_iter()
    }

    /// Adds a tenant that the file does not hold.
    pub fn add_absent(&mut self, tenant: Tenant) {
        if !self.tenants.contains(tenant.id.as_str()) {
            self.absent.insert(tenant.id.clone());
            self.tenants.insert(ByKey(Arc::new(tenant)));
        }
    }

    /// Whether the file holds a tenant.
    pub fn is_in_file(&self, id: &str) -> bool {
        self.tenants.contains(id) && !self.absent.contains(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

#[cfg(test)]
mod tests;
