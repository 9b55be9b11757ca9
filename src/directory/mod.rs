//! The tenants that finance knows: plan, segment, owner, revenue.
//!
//! Read from CSV into one immutable view. A file with an error yields no directory, because a tenant that silently lost
//! its plan would be measured against nothing. Names of plans and segments are only compared with the lists that the
//! caller passes; this module knows no policy.

mod entry;
mod rows;

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, Source};
use crate::domain::by_key::{ByKey, Keyed};
use crate::domain::tenant::{Tenant, TenantId};

use self::entry::Entry;

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
    tenants: HashSet<ByKey<Entry>>,
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
        let (mut directory, mut terms) = (Self::default(), HashSet::new());
        for tenant in tenants {
            directory.tenants.replace(ByKey(Entry::new(tenant, &mut terms)));
        }
        directory
    }

    /// The tenant of that identifier.
    pub fn tenant(&self, id: &str) -> Option<Tenant> {
        self.tenants.get(id).map(|ByKey(entry)| entry.tenant())
    }

    /// The same without its name, by which nothing is judged: for who asks for all of them.
    pub fn nameless(&self, id: &str) -> Option<Tenant> {
        self.tenants.get(id).map(|ByKey(entry)| entry.nameless())
    }

    /// Every tenant, by identifier.
    pub fn iter(&self) -> impl Iterator<Item = Tenant> {
        let mut all: Vec<&Entry> = self.tenants.iter().map(|ByKey(entry)| entry).collect();
        all.sort_by(|one, other| one.key().cmp(other.key()));
        all.into_iter().map(Entry::tenant)
    }

    /// Adds those of these tenants that the file does not hold.
    pub fn add_absent(&mut self, tenants: impl IntoIterator<Item = Tenant>) {
        let mut terms = HashSet::new();
        for tenant in tenants {
            if !self.holds(tenant.key()) {
                self.absent.insert(tenant.id.clone());
                self.tenants.insert(ByKey(Entry::new(tenant, &mut terms)));
            }
        }
    }

    /// Whether there is such a tenant.
    pub fn holds(&self, id: &str) -> bool {
        self.tenants.contains(id)
    }

    /// Whether the file holds a tenant.
    pub fn is_in_file(&self, id: &str) -> bool {
        self.holds(id) && !self.absent.contains(id)
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
