//! Calls: admitted, sent, ended.

use super::*;

impl Life {
    pub(super) fn admit(&mut self) {
        self.what = "a call";
        let tenant = self.random.index(2);
        let price = Arc::clone(&self.prices[self.tariff]);
        let bound = self.random.between(1, 60).unsigned_abs();
        let tokens = match self.random.between(0, 9) {
            0..=5 => self.random.between(0, bound.cast_signed()).unsigned_abs(),
            6..=7 => bound,
            _ => bound + self.random.between(1, 80).unsigned_abs(),
        };
        let hold = nano(&price, bound);
        let mut lines = Vec::new();
        for budget in 0..3 {
            if self.budgets[budget].alive && self.budgets[budget].counts(tenant) {
                let counter = self.budgets[budget].counter(&self.meter, tenant, self.now);
                let name = self.meet(&counter, false);
                lines.push(Line { name, counter, hard: self.random.percent(85) });
            }
        }
        for _ in 0..8 {
            let ceilings = lines.iter().map(|line| self.budgets[line.name.0].ceiling);
            let asks: Vec<Ask<'_>> = lines
                .iter()
                .zip(ceilings)
                .map(|(line, ceiling)| {
                    if line.hard {
                        Ask::hold(&line.counter, Unit::Money, hold, ceiling)
                    } else {
                        Ask::count(&line.counter)
                    }
                })
                .collect();
            match reserve(&asks) {
                Ok(reservation) => {
                    self.check_admission(&lines);
                    let (at, snapshot) = (self.timestamp(), self.snapshot);
                    let id = self.tally.admitted;
                    self.tally.admitted += 1;
                    let flight =
                        Flight { id, tenant, at, reservation, hold, lines, price, tokens, snapshot, left: false };
                    self.flights.push(flight);
                    if self.random.percent(85) {
                        self.leave(self.flights.len() - 1);
                    }
                    return;
                }
                Err(Refusal { ask, why: Misfit::Unleased { missing } }) => {
                    let line = lines[ask].clone();
                    if self.grant(&line.counter, missing) == 0 {
                        self.check_stranding(&line, hold);
                        break;
                    }
                }
                Err(Refusal { ask, why }) => {
                    self.check_refusal(&lines[ask], hold, why);
                    break;
                }
            }
        }
        self.tally.refused += 1;
    }

    /// The first byte goes to the provider: from here on it may bill.
    pub(super) fn leave(&mut self, at: usize) {
        let flight = &mut self.flights[at];
        flight.reservation.admit(true);
        flight.left = true;
        self.left += 1;
    }

    /// One of the calls in flight ends, perhaps one of a window that is long over.
    pub(super) fn end_a_call(&mut self) {
        self.what = "a call's end";
        if self.flights.is_empty() {
            return;
        }
        let at = self.random.index(self.flights.len());
        if self.flights[at].left {
            let flight = self.flights.swap_remove(at);
            self.settle(flight);
        } else if self.random.percent(50) {
            // Perhaps it was let go already, and nothing was sent: no row says so, and no counter may.
            let mut flight = self.flights.swap_remove(at);
            if self.random.percent(50) {
                flight.reservation.admit(true);
            }
            drop(flight);
        } else {
            self.leave(at);
        }
    }

    pub(super) fn settle(&mut self, mut flight: Flight) {
        let how = self.random.between(0, 99);
        let hard = flight.lines.iter().any(|line| line.hard);
        if how < 10 {
            // The provider refused it and bills nothing.
            flight.tokens = 0;
        }
        let cost = flight.cost();
        let in_doubt = (10..25).contains(&how);
        let charged = if in_doubt && hard { cost.max(flight.hold) / 2 + flight.hold } else { cost };
        let usage = Usage { output: Some(flight.tokens), ..Usage::default() };
        let rated = flight.price.cost(&usage).map(Money::nano);
        assert_eq!(rated, Some(cost), "I11 price pin: {}", self.place());
        let id: Arc<str> = Arc::from(format!("req_{}", flight.id));
        let mut entry = LedgerEntry {
            cost: Some(Money::from_nano(charged)),
            basis: if in_doubt { Basis::InDoubt } else { Basis::Exact },
            usage,
            price: Some(Arc::clone(&flight.price)),
            admitted_at: flight.at,
            ..blank(id, flight.tenant)
        };
        let amounts = entry.amounts();
        let Flight { reservation, lines, tenant, at, hold, snapshot, .. } = flight;
        entry.postings = reservation.settle(amounts);
        entry.snapshot = self.snapshot;
        if snapshot != self.snapshot {
            self.catch_up(&mut entry, tenant);
        }
        if let Some(rules) = self.rules.as_ref().filter(|rules| entry.snapshot < rules.snapshot) {
            rules.add_missing(&mut entry);
        }
        let (mut effects, mut due) = (Vec::new(), Vec::new());
        for posting in &entry.postings {
            let name = self.meet(&posting.counter, false);
            let of_tenant = name.1 == self.budgets[name.0].key(tenant);
            assert!(of_tenant, "I9 tenancy: {}", self.place());
            if !posting.counter.window().contains(at) {
                self.books.misdated.insert(name);
                // A counter that came back meanwhile does not know a row of another time.
                let present = self.present(name).is_some_and(|present| present.is(&posting.counter));
                if !present {
                    self.books.forgotten.insert(name);
                }
            }
            effects.push(Effect::Row { name, amounts, covered: posting.covered[0], in_doubt });
            due.push((name, charged.min(cost)));
        }
        let covered: Vec<_> = lines.iter().filter(|line| line.hard).map(|line| (line.name, cost.min(hold))).collect();
        for (name, amount) in &covered {
            self.books.bill(*name).covered += amount;
        }
        self.tally.debts += u64::from(cost > hold && hard);
        self.again = Some(entry.clone());
        let row = Some(Row { tenant, at, amounts, in_doubt });
        self.queue.push(Sent { record: Record::Attempt(Box::new(entry)), effects, row, due, covered });
    }

    /// A call that began under an earlier policy is counted by the one in force too, as `gateway::settle` does it.
    pub(super) fn catch_up(&mut self, entry: &mut LedgerEntry, tenant: usize) {
        let (at, amounts) = (entry.admitted_at, entry.amounts());
        for budget in 0..3 {
            if !self.budgets[budget].alive || !self.budgets[budget].counts(tenant) {
                continue;
            }
            let counter = self.budgets[budget].counter(&self.meter, tenant, at.seconds());
            if !counter.window().contains(at) {
                continue;
            }
            self.meet(&counter, false);
            count_also(&mut entry.postings, &counter, amounts);
        }
    }
}
