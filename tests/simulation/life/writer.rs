//! The writer: commits, leases, resolutions.

use super::*;

impl Life {
    pub(super) fn commit_some(&mut self) {
        self.what = "a commit";
        let most = i64::try_from(self.queue.len()).expect("a short queue");
        let records = usize::try_from(self.random.between(0, most)).expect("a small number");
        self.commit(records, &[]);
    }

    /// Commits so many records of the queue, and more behind them, in one transaction.
    pub(super) fn commit(&mut self, records: usize, more: &[Record]) -> plimsoll::ledger::Done {
        let sent: Vec<Sent> = self.queue.drain(..records).collect();
        let batch: Vec<Record> = sent.iter().map(|sent| &sent.record).chain(more).cloned().collect();
        let done = self.store.as_mut().expect("an open store").append(&batch).expect("a commit");
        for one in sent {
            one.effects.iter().for_each(|effect| self.books.commit(effect));
            self.books.rows.extend(one.row);
            for (name, due) in one.due {
                self.books.bill(name).due += due;
            }
        }
        self.read_back();
        done
    }

    /// Reads what the store has now.
    pub(super) fn read_back(&mut self) {
        let mut found = Vec::new();
        self.reader.counters_open_at(Timestamp::from_micros(i64::MIN), &mut |one| found.push(one)).expect("counters");
        self.stored = found
            .into_iter()
            .map(|one| (self.name(&WindowCounter::named(one.name.clone(), one.window)), one))
            .collect();
    }

    /// Leases more of a counter, durably, and only then in memory.
    pub(super) fn grant(&mut self, counter: &WindowCounter, need: i64) -> i64 {
        let name = self.name(counter);
        let ceiling = self.budgets[name.0].ceiling;
        let want = need * self.random.between(1, 6);
        let ask = Grant { counter: counter.clone(), unit: Unit::Money, need, want, ceiling };
        let amount = self.commit(self.queue.len(), &[Record::Grant(ask)]).granted[0];
        self.check_grant(name, need, amount);
        if amount > 0 {
            self.books.book(name).leased += amount;
            let highest = self.books.highest.entry(name).or_default();
            *highest = ceiling.max(*highest);
            self.read_back();
            counter.lease(Unit::Money).grant(amount, amount / 2);
        }
        amount
    }

    pub(super) fn lease_ahead(&mut self) {
        self.what = "a lease ahead of need";
        let present: Vec<_> = self
            .generations
            .iter()
            .filter(|(name, _)| self.budgets[name.0].alive)
            .map(|(_, one)| one)
            .cloned()
            .collect();
        if !present.is_empty() {
            let counter = &present[self.random.index(present.len())];
            let need = self.random.between(1, 50);
            self.grant(counter, need);
        }
    }

    pub(super) fn give_leases_back(&mut self) {
        self.what = "leases given back";
        let wanted = self.random.percent(50);
        for (name, counter) in self.generations.clone() {
            if wanted || self.random.percent(30) {
                self.give_back(name, &counter);
            }
        }
    }

    pub(super) fn give_back(&mut self, name: Name, counter: &WindowCounter) {
        let amount = counter.lease(Unit::Money).take_free();
        if amount > 0 {
            self.tally.returned += 1;
            let record = Record::Return { counter: counter.clone(), unit: Unit::Money, amount };
            self.send(record, vec![Effect::Return { name, amount }]);
        }
    }

    pub(super) fn send(&mut self, record: Record, effects: Vec<Effect>) {
        self.queue.push(Sent { record, effects, row: None, due: Vec::new(), covered: Vec::new() });
    }

    /// A row that is there already, once more.
    pub(super) fn repeat_a_row(&mut self) {
        self.what = "a row that is repeated";
        self.commit(self.queue.len(), &[]);
        if let Some(entry) = self.again.clone() {
            self.commit(0, &[Record::Attempt(Box::new(entry))]);
        }
    }

    pub(super) fn resolve(&mut self) {
        self.what = "a doubt that is resolved";
        let open = self.reader.in_doubt().expect("remainders");
        if open.is_empty() {
            return;
        }
        let found = open[self.random.index(open.len())].clone();
        let counter = WindowCounter::named(found.name.clone(), found.window);
        let name = self.name(&counter);
        assert!(found.epoch < self.runs, "I8 fencing: {}", self.place());
        let place = self.place();
        let known = self.books.book(name).remainders.iter_mut();
        let mut known = known.filter(|one| !one.resolved && one.amount == found.amount);
        let known = known.next().unwrap_or_else(|| panic!("I5 completeness: an unknown remainder {found:?}: {place}"));
        known.resolved = true;
        let spent = known.billed;
        let how = Resolution { id: found.id, spent, actor: "ann".to_owned(), reason: "their invoice".to_owned() };
        assert!(self.commit(self.queue.len(), &[Record::Resolve(how.clone())]).resolved.is_some());
        assert!(self.commit(0, &[Record::Resolve(how)]).resolved.is_none(), "I3 once: {}", self.place());
        if let Some(counter) = self.present(name).filter(|_| !self.unrestored.contains(&name)) {
            counter.cell(Unit::Money).post(spent - found.amount);
        }
        self.tally.resolved += 1;
    }

    pub(in crate::simulation) fn present(&self, name: Name) -> Option<&WindowCounter> {
        self.generations.iter().rev().find(|(known, _)| *known == name).map(|(_, counter)| counter)
    }

    /// Whether the meter would judge a call by this counter.
    pub(in crate::simulation) fn is_asked(&self, counter: &WindowCounter) -> bool {
        let named = counter.counter();
        let found = self.meter.find(named.identity(), named.key()).and_then(|found| found.present());
        found.is_some_and(|present| present.is(counter))
    }
}
