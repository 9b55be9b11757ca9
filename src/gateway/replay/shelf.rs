//! The kept answers of all tenants: one shelf each, one bound for all. When room is short, the tenant that takes most gives
//! up its oldest answer, so that nobody can push out the answers of somebody who takes less.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::clock::Timestamp;
use crate::domain::tenant::TenantId;

use super::{Asked, Kept, ReplayRules};

/// What an entry takes beside its headers and body, in bytes: keys, queues and allocations.
const OVERHEAD: u64 = 512;

/// One run of a call under its name.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    tenant: TenantId,
    name: Arc<str>,
    /// No two runs have the same.
    number: u64,
}

/// What became of a claim.
#[derive(Debug)]
pub(super) enum Begun {
    /// Run.
    First(Ticket),
    /// The answer is here.
    Again(Arc<Kept>),
    /// The same call is running.
    Running,
    /// The name belongs to another call.
    Other,
}

#[derive(Debug)]
pub(super) struct Shelves {
    rules: ReplayRules,
    by_tenant: HashMap<TenantId, Shelf>,
    /// The tenants that take anything, the heaviest last. Invariant: as `Shelf::weight` says.
    by_weight: BTreeSet<(u64, TenantId)>,
    /// Invariant: the sum of all weights, at most `rules.memory`.
    used: u64,
    next: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    calls: HashMap<Arc<str>, Slot>,
    /// Finished calls, the oldest first. One whose name was taken anew since is passed over.
    finished: VecDeque<Ticket>,
    /// Invariant: the sum over `calls`.
    weight: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    asked: Asked,
    weight: u64,
    /// `None`: it is running.
    answer: Option<(Arc<Kept>, Timestamp)>,
}

impl Shelves {
    pub(super) fn new(rules: ReplayRules) -> Self {
        Self { rules, by_tenant: HashMap::new(), by_weight: BTreeSet::new(), used: 0, next: 0 }
    }

    pub(super) fn begin(&mut self, tenant: &TenantId, name: &Arc<str>, asked: Asked, now: Timestamp) -> Begun {
        let slot = self.by_tenant.get(tenant).and_then(|shelf| shelf.calls.get(name));
        match slot.map(|slot| (slot.asked == asked, &slot.answer, slot.number)) {
            Some((_, Some((_, at)), number)) if now.since(*at) > self.rules.keep => {
                self.free(&Ticket { tenant: tenant.clone(), name: Arc::clone(name), number });
            }
            Some((false, ..)) => return Begun::Other,
            Some((true, None, _)) => return Begun::Running,
            Some((true, Some((kept, _)), _)) => return Begun::Again(Arc::clone(kept)),
            None => {}
        }
        self.next += 1;
        let slot = Slot { number: self.next, asked, weight: 0, answer: None };
        self.by_tenant.entry(tenant.clone()).or_default().calls.insert(Arc::clone(name), slot);
        Begun::First(Ticket { tenant: tenant.clone(), name: Arc::clone(name), number: self.next })
    }

    /// Gives a running call's answer room for `more` bytes. `false`: there is none, and what it had is taken back.
    pub(super) fn grow(&mut self, ticket: &Ticket, more: u64) -> bool {
        let given = self.make_room(more);
        let weight = self.slot(ticket).map_or(0, |slot| slot.weight);
        self.weigh(ticket, if given { weight + more } else { 0 });
        given
    }

    /// Keeps the answer of a running call in place of the room that it had; or not, when there is no room for it.
    pub(super) fn finish(&mut self, ticket: &Ticket, kept: Kept, now: Timestamp) {
        let headers = kept.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        let weight = headers.chain([ticket.name.len(), kept.body.len()]).sum::<usize>() as u64 + OVERHEAD;
        self.weigh(ticket, 0);
        if !self.make_room(weight) {
            return self.free(ticket);
        }
        self.weigh(ticket, weight);
        let Some(own) = self.by_tenant.get_mut(&ticket.tenant) else { return };
        let Some(slot) = own.calls.get_mut(&ticket.name).filter(|slot| slot.number == ticket.number) else { return };
        slot.answer = Some((Arc::new(kept), now));
        own.finished.push_back(ticket.clone());
    }

    /// Frees a name whose call did not end well. One that is kept, or was taken anew, stays.
    pub(super) fn give_up(&mut self, ticket: &Ticket) {
        if self.slot(ticket).is_some_and(|slot| slot.answer.is_none()) {
            self.free(ticket);
        }
    }

    pub(super) fn forget_old(&mut self, now: Timestamp) {
        let tenants: Vec<TenantId> = self.by_tenant.keys().cloned().collect();
        for tenant in tenants {
            while let Some((ticket, at)) = self.oldest(&tenant)
                && now.since(at) > self.rules.keep
            {
                self.free(&ticket);
            }
        }
    }

    /// Makes `more` bytes free, at the cost of whoever takes most.
    fn make_room(&mut self, more: u64) -> bool {
        if more > self.rules.memory {
            return false;
        }
        while self.used.saturating_add(more) > self.rules.memory {
            let heaviest = self.by_weight.last().map(|(_, tenant)| tenant.clone());
            let Some((ticket, _)) = heaviest.and_then(|tenant| self.oldest(&tenant)) else { return false };
            self.free(&ticket);
        }
        true
    }

    /// The tenant's oldest kept answer.
    fn oldest(&mut self, tenant: &TenantId) -> Option<(Ticket, Timestamp)> {
        let own = self.by_tenant.get_mut(tenant)?;
        loop {
            let ticket = own.finished.front()?;
            let slot = own.calls.get(&ticket.name).filter(|slot| slot.number == ticket.number);
            if let Some((_, at)) = slot.and_then(|slot| slot.answer.as_ref()) {
                return Some((ticket.clone(), *at));
            }
            own.finished.pop_front();
        }
    }

    fn slot(&self, ticket: &Ticket) -> Option<&Slot> {
        self.by_tenant.get(&ticket.tenant)?.calls.get(&ticket.name).filter(|slot| slot.number == ticket.number)
    }

    fn free(&mut self, ticket: &Ticket) {
        if self.slot(ticket).is_none() {
            return;
        }
        self.weigh(ticket, 0);
        let Some(own) = self.by_tenant.get_mut(&ticket.tenant) else { return };
        own.calls.remove(&ticket.name);
        if own.calls.is_empty() {
            self.by_tenant.remove(&ticket.tenant);
        }
    }

    /// Says what a call takes now, and keeps every sum true.
    fn weigh(&mut self, ticket: &Ticket, weight: u64) {
        let Some(own) = self.by_tenant.get_mut(&ticket.tenant) else { return };
        let Some(slot) = own.calls.get_mut(&ticket.name).filter(|slot| slot.number == ticket.number) else { return };
        let before = own.weight;
        own.weight = before - slot.weight + weight;
        self.used = self.used - slot.weight + weight;
        slot.weight = weight;
        self.by_weight.remove(&(before, ticket.tenant.clone()));
        if own.weight > 0 {
            self.by_weight.insert((own.weight, ticket.tenant.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::*;

    const MEMORY: u64 = 100_000;
    const KEEP: Duration = Duration::from_secs(100);

    fn shelves() -> Shelves {
        Shelves::new(ReplayRules { keep: KEEP, memory: MEMORY })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn kept(bytes: usize) -> Kept {
        Kept { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from(vec![b'x'; bytes]) }
    }

    fn begin(shelves: &mut Shelves, tenant: &str, name: &str, asked: u8, now: i64) -> Begun {
        let tenant = TenantId::new(tenant).expect("a name");
        shelves.begin(&tenant, &Arc::from(name), [asked; 32], at(now))
    }

    /// Runs a call to its end.
    fn run(shelves: &mut Shelves, tenant: &str, name: &str, bytes: usize, now: i64) {
        let Begun::First(ticket) = begin(shelves, tenant, name, 0, now) else { panic!("{tenant} {name} is taken") };
        shelves.finish(&ticket, kept(bytes), at(now));
    }

    fn knows(shelves: &mut Shelves, tenant: &str, name: &str, now: i64) -> bool {
        match begin(shelves, tenant, name, 0, now) {
            Begun::Again(_) => true,
            Begun::First(ticket) => {
                shelves.give_up(&ticket);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_belongs_to_one_call_from_its_beginning_until_it_is_forgotten() {
        let mut shelves = shelves();
        let Begun::First(ticket) = begin(&mut shelves, "a", "1", 0, 0) else { panic!("not the first") };
        assert!(matches!(begin(&mut shelves, "a", "1", 0, 0), Begun::Running));
        assert!(matches!(begin(&mut shelves, "a", "1", 1, 0), Begun::Other));
        assert!(matches!(begin(&mut shelves, "b", "1", 1, 0), Begun::First(_)), "names are per tenant");
        shelves.finish(&ticket, kept(9), at(50));
        shelves.give_up(&ticket);
        assert!(matches!(begin(&mut shelves, "a", "1", 0, 150), Begun::Again(_)));
        assert!(matches!(begin(&mut shelves, "a", "1", 1, 150), Begun::Other));
        assert!(matches!(begin(&mut shelves, "a", "1", 1, 151), Begun::First(_)));
    }

    #[test]
    fn whoever_takes_most_gives_up_its_oldest() {
        let mut shelves = shelves();
        run(&mut shelves, "small", "s", 10_000, 0);
        for call in 0..50 {
            run(&mut shelves, "large", &call.to_string(), 20_000, call);
        }
        assert!(knows(&mut shelves, "small", "s", 60));
        assert!(knows(&mut shelves, "large", "49", 60) && knows(&mut shelves, "large", "46", 60));
        assert!(!knows(&mut shelves, "large", "45", 60));
        run(&mut shelves, "large", "too large", 99_900, 61);
        assert!(knows(&mut shelves, "large", "49", 61) && !knows(&mut shelves, "large", "too large", 61));
    }

    #[test]
    fn an_answer_that_grows_beyond_the_bound_is_given_up_and_its_name_stays_taken_while_it_runs() {
        let mut shelves = shelves();
        let Begun::First(ticket) = begin(&mut shelves, "a", "1", 0, 0) else { panic!("not the first") };
        assert!(shelves.grow(&ticket, 60_000) && !shelves.grow(&ticket, 60_000));
        assert_eq!(shelves.used, 0);
        assert!(matches!(begin(&mut shelves, "a", "1", 0, 0), Begun::Running));
        shelves.give_up(&ticket);
        assert!(shelves.by_tenant.is_empty());
    }

    proptest! {
        /// Whatever happens in whatever order, the sums are true and the bound holds; after everything has ended and grown
        /// old, nothing is left.
        #[test]
        fn the_sums_are_true_and_the_bound_holds(steps in proptest::collection::vec((0_u8..6, 0_u8..4, 0_u8..5, 0_usize..60_000), 1..200)) {
            let mut shelves = shelves();
            let mut running: Vec<Ticket> = Vec::new();
            for (now, (what, tenant, name, size)) in (0_i64..).zip(steps) {
                match (what, running.pop()) {
                    (0 | 1, last) => {
                        running.extend(last);
                        if let Begun::First(ticket) = begin(&mut shelves, &format!("t{tenant}"), &name.to_string(), 0, now) {
                            running.insert(0, ticket);
                        }
                    }
                    (2, Some(ticket)) => shelves.finish(&ticket, kept(size), at(now)),
                    (3, Some(ticket)) => shelves.give_up(&ticket),
                    (4, Some(ticket)) => {
                        shelves.grow(&ticket, size as u64);
                        running.push(ticket);
                    }
                    (_, last) => {
                        running.extend(last);
                        shelves.forget_old(at(now));
                    }
                }
                let weights: u64 = shelves.by_tenant.values().map(|own| own.weight).sum();
                let slots: u64 = shelves.by_tenant.values().flat_map(|own| own.calls.values()).map(|slot| slot.weight).sum();
                prop_assert_eq!((shelves.used, shelves.used), (weights, slots));
                prop_assert_eq!(shelves.by_weight.iter().map(|(weight, _)| weight).sum::<u64>(), weights);
                prop_assert!(shelves.used <= MEMORY);
            }
            for ticket in &running {
                shelves.give_up(ticket);
            }
            shelves.forget_old(at(10_000));
            prop_assert!(shelves.by_tenant.is_empty() && shelves.by_weight.is_empty() && shelves.used == 0);
        }
    }
}
