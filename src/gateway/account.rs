//! One tenant as one core sees it: the directory's facts and the handles to its counters, resolved once per policy
//! revision, so that a call of a tenant that calls often reaches its atomics without a shared map.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque, hash_set};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::control::Snapshot;
use crate::domain::attribution::INVALID;
use crate::domain::by_key::{ByKey, Keyed};
use crate::domain::clock::Timestamp;
use crate::domain::price::PriceRow;
use crate::domain::standing::Dimensions;
use crate::domain::tenant::{Tenant, TenantId, UNATTRIBUTED};
use crate::domain::window::Span;
use crate::meter::Meter;
use crate::meter::counter::Counter;
use crate::policy::Policy;
use crate::policy::budget::{Budget, Dimension};
use crate::policy::plan::OnMissingTenant;
use crate::telemetry::{Metrics, Traffic};

use super::upstream::Provider;
use super::users::Users;
use super::watching::{Watched, Watching};

/// Tenants that one core remembers without a doubt, and as many of those that were there before them. Who calls rarely is forgotten: to
/// resolve a tenant takes a few microseconds, to remember it half a kilobyte on every core.
const REMEMBERED: usize = 2_048;
/// How many steps each call takes in forgetting them. It adds an account and a revision at most, so that what is to be forgotten
/// gets less.
const FORGOTTEN_AT_ONCE: usize = 4;
/// Names of models whose prices one core remembers.
const REMEMBERED_MODELS: usize = 1_024;
/// Counters with further dimensions (users, workflows) that one account remembers.
const REMEMBERED_KEYS: usize = 1_024;

/// Whether a policy takes calls of this tenant, or turns away those that name none.
pub(super) fn is_taken(tenant: &TenantId, policy: &Policy) -> bool {
    ![UNATTRIBUTED, INVALID].contains(&tenant.as_str()) || policy.defaults.on_missing_tenant != OnMissingTenant::Reject
}

/// Whether one tenant meets only one counter of the budget, whatever its calls say.
fn is_tenants_at_most(budget: &Budget) -> bool {
    matches!(budget.per.as_slice(), [] | [Dimension::TenantId])
}

/// What all cores share of each tenant.
pub(super) type Presences = DashMap<TenantId, Arc<Presence>>;

/// One tenant's calls in flight, the users and workflows it named today, and what its segment watches.
#[derive(Debug, Default)]
pub struct Presence {
    in_flight: AtomicU32,
    /// Of them, those that stand in line for a rate.
    in_line: AtomicU32,
    /// Answers whose client has gone and that are read on.
    drains: AtomicU32,
    // Few policies count users or workflows, and few tenants are watched.
    named: OnceLock<Box<Named>>,
}

/// Whom a tenant names, and what is watched of it.
#[derive(Debug, Default)]
struct Named {
    users: Users,
    workflows: Users,
    watching: Watching,
}

impl Presence {
    /// What is counted of calls that are watched.
    pub(super) fn watching(&self) -> &Watching {
        &self.named().watching
    }

    fn named(&self) -> &Named {
        self.named.get_or_init(Box::default)
    }

    /// Whether it must be kept though no core and no call refers to it: to forget today's names would give room for more, and
    /// what was told today would be told again.
    pub fn remembers_today(&self, now: Timestamp) -> bool {
        let Some(Named { users, workflows, watching }) = self.named.get().map(Box::as_ref) else { return false };
        users.any(now) || workflows.any(now) || watching.any(now)
    }
}

/// A tenant under one policy revision, on one core.
pub(super) struct Account {
    pub(super) tenant: Arc<Tenant>,
    presence: Arc<Presence>,
    /// Whether a budget of the policy has a counter per user.
    counts_users: bool,
    /// Whether one has a counter per workflow.
    counts_workflows: bool,
    watched: Option<Watched>,
    /// The counters of budgets that have one for this tenant, sorted by budget.
    direct: RefCell<ByBudget>,
    keyed: RefCell<HashMap<(usize, String), Arc<Counter>, RandomState>>,
    traffic: RefCell<ByProvider>,
}

type ByBudget = SmallVec<[(usize, Arc<Counter>); 2]>;
type ByProvider = SmallVec<[(Arc<str>, Arc<Traffic>); 1]>;

/// The accounts of one core, and the prices that its calls asked for.
#[derive(Default)]
pub(super) struct Accounts {
    revision: u64,
    /// Whether a budget of that revision has a counter per user, and whether one has a counter per workflow.
    counts: (bool, bool),
    by_tenant: ByTenant,
    /// Those that have not called since `by_tenant` was full the last time.
    before: ByTenant,
    /// What is to be forgotten. To let go of thousands at once would hold up every call of this core.
    outdated: VecDeque<hash_set::IntoIter<ByKey<Rc<Account>>>>,
    prices: HashMap<Box<str>, Offers, RandomState>,
}

type ByTenant = HashSet<ByKey<Rc<Account>>, RandomState>;

/// What each provider takes for a model: `None` when its price is not known.
type Offers = SmallVec<[(Arc<str>, Option<Arc<PriceRow>>); 1]>;

impl Accounts {
    /// The account of `tenant` under `snapshot`.
    pub(super) fn account(&mut self, tenant: &TenantId, snapshot: &Snapshot, presences: &Presences) -> Rc<Account> {
        if self.revision != snapshot.number {
            // Neither those of now nor those of before are of use.
            self.turn_over();
            self.outdated.push_back(std::mem::take(&mut self.before).into_iter());
            self.prices.clear();
            let counts = |dimension| snapshot.policy.budgets.iter().any(|budget| budget.per.contains(&dimension));
            self.counts = (counts(Dimension::UserId), counts(Dimension::WorkflowId));
            self.revision = snapshot.number;
        }
        self.forget_some();
        if let Some(ByKey(account)) = self.by_tenant.get(tenant.as_str()) {
            return Rc::clone(account);
        }
        if self.by_tenant.len() >= REMEMBERED {
            self.turn_over();
        }
        let before = self.before.take(tenant.as_str()).map(|ByKey(account)| account);
        let account = before.unwrap_or_else(|| self.resolve(tenant, snapshot, presences));
        self.by_tenant.insert(ByKey(Rc::clone(&account)));
        account
    }

    /// Those of now become those of before, which are to be forgotten.
    fn turn_over(&mut self) {
        let fresh = HashSet::with_capacity_and_hasher(self.by_tenant.len(), RandomState::default());
        let now = std::mem::replace(&mut self.by_tenant, fresh);
        self.outdated.push_back(std::mem::replace(&mut self.before, now).into_iter());
    }

    fn resolve(&self, tenant: &TenantId, snapshot: &Snapshot, presences: &Presences) -> Rc<Account> {
        let (counts_users, counts_workflows) = self.counts;
        let facts = facts(tenant, snapshot);
        let known = presences.get(tenant).map(|presence| Arc::clone(&presence));
        Rc::new(Account {
            watched: watched(&facts, snapshot),
            presence: known.unwrap_or_else(|| Arc::clone(&presences.entry(facts.id.clone()).or_default())),
            tenant: facts,
            counts_users,
            counts_workflows,
            direct: RefCell::default(),
            keyed: RefCell::default(),
            traffic: RefCell::default(),
        })
    }

    fn forget_some(&mut self) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some(oldest) = self.outdated.front_mut() else { return };
            if oldest.next().is_none() {
                self.outdated.pop_front();
            }
        }
    }

    /// The price of a model at a provider. Releases are named after the day they were made, and each is looked for once.
    pub(super) fn price(&mut self, provider: &Provider, model: &str, snapshot: &Snapshot) -> Option<Arc<PriceRow>> {
        let find = || snapshot.prices.find(&provider.name, provider.family.as_str(), model).cloned();
        if self.revision != snapshot.number {
            return find();
        }
        let offers = self.prices.get(model);
        let known = offers.and_then(|offers| offers.iter().find(|(name, _)| *name == provider.name));
        if let Some((_, price)) = known {
            return price.clone();
        }
        if self.prices.len() >= REMEMBERED_MODELS {
            self.prices.clear();
        }
        let price = find();
        let offer = (Arc::clone(&provider.name), price.clone());
        self.prices.entry(Box::from(model)).or_default().push(offer);
        price
    }
}

/// The directory's facts, with the plan that the policy applies, so that rows say what the call was judged by.
fn facts(tenant: &TenantId, snapshot: &Snapshot) -> Arc<Tenant> {
    let known = snapshot.directory.tenant(tenant.as_str()).unwrap_or_else(|| Tenant::unknown(tenant.clone()));
    let plan = snapshot.policy.plan(&known).map(|plan| Arc::clone(&plan.name));
    Arc::new(Tenant { plan, ..known })
}

/// What the tenant's segment watches.
fn watched(tenant: &Tenant, snapshot: &Snapshot) -> Option<Watched> {
    let segment = snapshot.policy.segment(tenant)?;
    Some(Watched { segment: Arc::clone(&segment.name), watch: Arc::clone(segment.watch.as_ref()?) })
}

impl Keyed for Account {
    fn key(&self) -> &str {
        self.tenant.key()
    }
}

impl Account {
    /// The counter of a budget for a call of these dimensions. `None`: the budget has no counter for it.
    pub(super) fn counter(
        &self,
        budget: usize,
        dimensions: &Dimensions<'_>,
        snapshot: &Snapshot,
        meter: &Meter,
    ) -> Option<Arc<Counter>> {
        let policy = &snapshot.policy;
        let identity = &policy.budgets.get(budget)?.identity;
        if is_tenants_at_most(&policy.budgets[budget]) {
            let mut direct = self.direct.borrow_mut();
            let at = match direct.binary_search_by_key(&budget, |(known, _)| *known) {
                Ok(at) => at,
                Err(at) => {
                    // What `counter_key` says, and no copy of it.
                    let is_shared = policy.budgets[budget].per.is_empty();
                    let key = if is_shared { Arc::default() } else { Arc::clone(self.tenant.id.as_arc()) };
                    direct.insert(at, (budget, meter.counter(identity, key)));
                    at
                }
            };
            return direct.get(at).map(|(_, counter)| Arc::clone(counter));
        }
        if policy.budgets[budget].span == Span::Workflow {
            // A workflow ends soon, and its counter is forgotten only when nobody keeps it.
            return Some(meter.counter(identity, policy.counter_key(budget, dimensions)?));
        }
        let key = (budget, policy.counter_key(budget, dimensions)?);
        let mut keyed = self.keyed.borrow_mut();
        if keyed.len() > REMEMBERED_KEYS {
            keyed.clear();
        }
        let counter = keyed.entry(key).or_insert_with_key(|(_, key)| meter.counter(identity, key.as_str()));
        Some(Arc::clone(counter))
    }

    /// The tenant's counters for Prometheus.
    pub(super) fn traffic(&self, provider: &Arc<str>, metrics: &Metrics) -> Arc<Traffic> {
        let mut known = self.traffic.borrow_mut();
        if let Some((_, traffic)) = known.iter().find(|(name, _)| Arc::ptr_eq(name, provider)) {
            return Arc::clone(traffic);
        }
        let traffic = metrics.traffic(self.tenant.id.as_str(), provider);
        known.push((Arc::clone(provider), Arc::clone(&traffic)));
        traffic
    }

    /// What is watched of the tenant's calls.
    pub(super) fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    /// What is counted for that.
    pub(super) fn watching(&self) -> &Watching {
        self.presence.watching()
    }

    /// Takes one of the tenant's places for calls in flight.
    pub(super) fn enter(&self, limit: u32) -> Option<Place> {
        self.place(|presence| &presence.in_flight, limit)
    }

    /// Takes one of the tenant's places in lines, of which there are as many as half of its calls in flight: who waits leaves room
    /// for those that need not.
    pub(super) fn line_up(&self, limit: u32) -> Option<Place> {
        self.place(|presence| &presence.in_line, (limit / 2).max(1))
    }

    /// Takes one of the tenant's places for answers that are read on without their client.
    pub(super) fn read_on(&self, limit: u32) -> Option<Place> {
        self.place(|presence| &presence.drains, limit)
    }

    fn place(&self, of: fn(&Presence) -> &AtomicU32, limit: u32) -> Option<Place> {
        let place = Place { presence: Arc::clone(&self.presence), of };
        (of(&self.presence).fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }

    /// Whether a call may be counted under this user's name: when a budget counts users, a tenant names so many a day at
    /// most, or its inventions would fill the memory.
    pub(super) fn takes(&self, user: &str, now: Timestamp, limit: usize) -> bool {
        !self.counts_users || self.presence.named().users.admit(user, now, limit)
    }

    /// The same for the name of a workflow.
    pub(super) fn takes_workflow(&self, workflow: &str, now: Timestamp, limit: usize) -> bool {
        !self.counts_workflows || self.presence.named().workflows.admit(workflow, now, limit)
    }
}

/// One of a tenant's places; given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    presence: Arc<Presence>,
    of: fn(&Presence) -> &AtomicU32,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.presence).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{over, write};

    // Mutation: the accounts are cleared at once, or never.
    #[test]
    fn a_new_revision_costs_no_call_more_than_a_few_accounts() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "$1/month");
        let control = over(folder.path());
        let (presences, mut accounts) = (Presences::new(), Accounts::default());
        let tenant = |number: usize| TenantId::new(&format!("tenant-{number}")).expect("an id");
        for number in 0..1_000 {
            accounts.account(&tenant(number), &control.load(), &presences);
        }
        write(folder.path(), "$2/month");
        control.reload_now().expect("another policy");
        let snapshot = control.load();
        let held = || presences.iter().filter(|entry| Arc::strong_count(entry.value()) > 1).count();
        let mut before = held();
        assert_eq!(before, 1_000);
        for call in 0..260 {
            accounts.account(&tenant(5_000), &snapshot, &presences);
            let now = held();
            assert!(before.saturating_sub(now) <= FORGOTTEN_AT_ONCE, "{call}: {before} then {now}");
            before = now;
        }
        assert_eq!(before, 1, "of the tenants before, none is held any more");
        assert!(accounts.outdated.is_empty());
    }

    // Mutations: nothing is turned over; a tenant of before is resolved anew, or forgotten though it calls.
    #[test]
    fn a_core_remembers_so_many_tenants_and_those_that_call() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "$1/month");
        let snapshot = over(folder.path()).load();
        let (presences, mut accounts) = (Presences::new(), Accounts::default());
        let tenant = |number: usize| TenantId::new(&format!("tenant-{number}")).expect("an id");
        let first = accounts.account(&tenant(0), &snapshot, &presences);
        for number in 1..10 * REMEMBERED {
            accounts.account(&tenant(number), &snapshot, &presences);
            if number % (REMEMBERED / 2) == 0 {
                assert!(Rc::ptr_eq(&first, &accounts.account(&tenant(0), &snapshot, &presences)), "{number}");
            }
        }
        let held = presences.iter().filter(|entry| Arc::strong_count(entry.value()) > 1).count();
        assert!((REMEMBERED..=3 * REMEMBERED).contains(&held), "{held} are remembered");
    }
}
