//! The clock and the policy change.

use super::*;

impl Life {
    pub(super) fn pass(&mut self, low: i64, high: i64) {
        self.what = "time";
        self.now += self.random.between(low, high);
    }

    pub(super) fn boundary(&mut self) {
        self.what = "a boundary";
        let budget = self.random.index(3);
        let end = self.budgets[budget].window(self.now).end.seconds();
        self.now = end - self.random.between(0, 1);
    }

    pub(super) fn change_a_ceiling(&mut self) {
        self.what = "another limit";
        let (budget, ceiling) = (self.random.index(3), self.random.between(20, 1_500));
        self.budgets[budget].ceiling = ceiling;
        self.snapshot += 1;
    }

    pub(super) fn change_prices(&mut self) {
        self.what = "other prices";
        self.tariff = 1 - self.tariff;
    }

    pub(super) fn delete(&mut self) {
        self.what = "a budget that is deleted";
        let budget = self.random.index(3);
        if self.budgets[budget].alive && self.budgets.iter().filter(|one| one.alive).count() > 1 {
            self.budgets[budget].alive = false;
            self.snapshot += 1;
            self.keep_alive_only();
            let gone = vec![Arc::clone(&self.budgets[budget].identity)];
            self.send(Record::Retire(gone), vec![Effect::Retire { budget }]);
        }
    }

    pub(super) fn keep_alive_only(&mut self) {
        let budgets = &self.budgets;
        self.meter.retain(|identity| budgets.iter().any(|one| one.alive && &*one.identity == identity));
    }

    /// A deleted budget returns: from here on the writer counts in it, and what is in the ledger is added up.
    pub(super) fn bring_back(&mut self) {
        self.what = "a budget that returns";
        let dead: Vec<usize> = (0..3).filter(|budget| !self.budgets[*budget].alive).collect();
        if dead.is_empty() {
            return;
        }
        let budget = dead[self.random.index(dead.len())];
        self.fill_from_rows(budget, self.snapshot + 1);
        self.coming = Some(budget);
    }

    pub(super) fn come_into_force(&mut self) {
        self.what = "a policy that comes into force";
        if let Some(budget) = self.coming.take() {
            // The sums of its rows are on the disk before anybody is judged by them.
            self.commit(self.queue.len(), &[]);
            self.budgets[budget].alive = true;
            self.snapshot += 1;
        }
    }

    /// As `control::past` does it for identities that are new.
    pub(super) fn fill_from_rows(&mut self, budget: usize, snapshot: u64) {
        let one = self.budgets[budget].clone();
        self.meter.retain(|identity| *identity != *one.identity);
        let mut wanted: Vec<Budget> = self.budgets.iter().filter(|one| one.alive).cloned().collect();
        wanted.push(one.clone());
        let meter = Arc::clone(&self.meter);
        let counters = move |entry: &LedgerEntry| {
            let tenant = TENANTS.iter().position(|known| *known == entry.tenant.id.as_str()).expect("a tenant");
            let counting = wanted.iter().filter(|budget| budget.counts(tenant));
            let windows = counting.map(|budget| budget.counter(&meter, tenant, entry.admitted_at.seconds()));
            windows.filter(|counter| counter.window().contains(entry.admitted_at)).collect()
        };
        self.rules = Some(Rules { snapshot, counters: Arc::new(counters) });
        let identities = vec![Arc::clone(&one.identity)];
        self.commit(self.queue.len(), &[]);
        let window = one.window(self.now);
        self.books.begin(budget, window.start.seconds(), self.generations.iter().map(|(name, _)| *name));
        let last = self.commit(0, &[Record::Begin(identities.clone())]).last;
        for past in self.reader.remainders().expect("remainders") {
            if past.name.identity == one.identity && past.window.contains(self.timestamp()) {
                let counter = self.meter.counter(&past.name.identity, Arc::clone(&past.name.key));
                let counter = counter.window(self.timestamp(), || past.window);
                count(&counter, past.posted, past.in_doubt);
                self.meet(&counter, true);
            }
        }
        let mut sums: BTreeMap<usize, (Amounts, Amounts)> = BTreeMap::new();
        let mut take = |at: Timestamp, tenant: usize, amounts: Amounts, in_doubt: bool| {
            if window.contains(at) && one.counts(tenant) {
                let (posted, doubted) = sums.entry(one.key(tenant)).or_default();
                for unit in Unit::ALL {
                    let side = if in_doubt && unit != Unit::Requests { &mut *doubted } else { &mut *posted };
                    side[unit.index()] += amounts[unit.index()];
                }
            }
        };
        let mut replayed = Vec::new();
        let each = &mut |at, dimensions: plimsoll::domain::standing::Dimensions<'_>, amounts, in_doubt| {
            let tenant = TENANTS.iter().position(|known| *known == dimensions.tenant_id).expect("a tenant");
            replayed.push((at, tenant, amounts, in_doubt));
        };
        self.reader.replay(window.start, last, each).expect("rows");
        for (at, tenant, amounts, in_doubt) in &replayed {
            take(*at, *tenant, *amounts, *in_doubt);
        }
        self.check_replay(window.start, &replayed);
        let (mut seeds, mut effects) = (Vec::new(), Vec::new());
        for (key, (posted, in_doubt)) in sums {
            let counter = one.counter(&self.meter, key, self.now);
            count(&counter, posted, in_doubt);
            let name = self.meet(&counter, true);
            effects.push(Effect::Seed { name, posted, in_doubt });
            seeds.push(Seed { counter, posted, in_doubt });
        }
        let since = self.timestamp();
        self.send(Record::Seeded { counters: seeds, identities, since }, effects);
    }
}
