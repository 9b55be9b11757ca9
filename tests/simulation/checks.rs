//! The invariants of the accounting, asserted by their names.

use std::collections::BTreeMap;

use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::standing::{Amounts, Unit};
use plimsoll::meter::counter::WindowCounter;
use plimsoll::meter::reservation::Misfit;

use super::books::{Effect, Name};
use super::life::Life;
use super::provider::Line;

impl Life {
    /// Where in which life.
    pub(super) fn place(&self) -> String {
        format!("PLIMSOLL_SIM_SEED={}, event {}: {}", self.seed, self.event, self.what)
    }

    /// Everything that holds between any two events.
    pub(super) fn check(&self) {
        self.check_store();
        self.check_memory();
        self.check_leases();
        self.check_counters();
        let open = self.flights.iter().filter(|flight| flight.left).count() as u64;
        let queued = self.queue.iter().filter(|sent| sent.is_row()).count() as u64;
        let rows = self.books.rows.len() as u64;
        assert_eq!(self.left, rows + queued + open + self.lost, "I5 completeness: {}", self.place());
    }

    /// The store holds what its records add up to, to the nano-dollar.
    fn check_store(&self) {
        for (name, book) in &self.books.counters {
            let Some(stored) = self.stored.get(name) else {
                let empty = book.money() == (0, 0) && book.posted == [0; 3] && book.leased == 0;
                assert!(empty, "I6 counters = ledger: no {name:?}: {}", self.place());
                continue;
            };
            let money = (stored.posted[0], stored.in_doubt[0]);
            assert_eq!(money, book.money(), "I6 counters = ledger: money of {name:?}: {}", self.place());
            let others = |amounts: Amounts| (amounts[1], amounts[2]);
            assert_eq!(others(stored.posted), others(book.posted), "I6 counters = ledger: {name:?}: {}", self.place());
            assert_eq!(stored.leased[0], book.leased, "I1 conservation: leased of {name:?}: {}", self.place());
        }
        for (name, stored) in &self.stored {
            let known = self.books.counters.contains_key(name);
            let empty = [stored.posted, stored.in_doubt, stored.leased] == [[0; 3]; 3];
            assert!(known || empty, "I6 counters = ledger: an unknown {name:?}: {}", self.place());
        }
    }

    fn held(&self, counter: &WindowCounter) -> i64 {
        let holds = self.flights.iter().map(|flight| {
            let here = flight.lines.iter().any(|line| line.hard && line.counter.is(counter));
            if here { flight.hold } else { 0 }
        });
        holds.sum()
    }

    /// In memory what is used is what the store has posted and in doubt and what is on its way there; committed is that and the
    /// holds.
    fn check_memory(&self) {
        for (name, counter) in &self.generations {
            let cell = counter.cell(Unit::Money);
            let held = self.held(counter);
            assert_eq!(cell.committed() - cell.used(), held, "I1 conservation: held of {name:?}: {}", self.place());
            // Of a window that is over a counter that came back need not know what ends late: nobody asks it any more.
            let present = self.present(*name).is_some_and(|present| present.is(counter));
            let alone = self.generations.iter().filter(|(known, _)| known == name).count() == 1;
            let present = present && (alone || self.is_asked(counter));
            let known = !self.unrestored.contains(name) && !self.books.forgotten.contains(name);
            if !present || !known || !self.budgets[name.0].alive {
                continue;
            }
            let (posted, in_doubt) = self.on_its_way(*name);
            let book = self.books.counters.get(name).cloned().unwrap_or_default();
            let expected = book.money().0 + posted[0] + book.money().1 + in_doubt[0];
            assert_eq!(cell.used(), expected, "I6 memory = ledger: {name:?}: {}", self.place());
            let open = self.flights.iter().filter(|flight| flight.left);
            let open = open.filter(|flight| flight.lines.iter().any(|line| line.counter.is(counter))).count();
            let requests = book.posted[2] + posted[2] + i64::try_from(open).expect("a small number");
            let counted = counter.cell(Unit::Requests).used();
            assert_eq!(counted, requests, "I6 memory = ledger: requests of {name:?}: {}", self.place());
        }
    }

    fn on_its_way(&self, name: Name) -> (Amounts, Amounts) {
        let (mut posted, mut doubted) = ([0; 3], [0; 3]);
        let mut add = |amounts: &Amounts, in_doubt: bool| {
            for unit in Unit::ALL {
                let side = if in_doubt && unit != Unit::Requests { &mut doubted } else { &mut posted };
                side[unit.index()] += amounts[unit.index()];
            }
        };
        for effect in self.queue.iter().flat_map(|sent| &sent.effects) {
            match effect {
                Effect::Row { name: known, amounts, in_doubt, .. } if *known == name => add(amounts, *in_doubt),
                Effect::Seed { name: known, posted, in_doubt } if *known == name => {
                    add(posted, false);
                    add(in_doubt, true);
                }
                _ => {}
            }
        }
        (posted, doubted)
    }

    /// Granted = free + held + settled + returned; and whatever may be spent is on the disk first.
    fn check_leases(&self) {
        let mut owed: BTreeMap<Name, i64> = BTreeMap::new();
        for (name, counter) in &self.generations {
            let free = counter.lease(Unit::Money).free();
            assert!(free >= 0, "I1 conservation: free of {name:?}: {}", self.place());
            *owed.entry(*name).or_default() += free + self.held(counter);
        }
        for effect in self.queue.iter().flat_map(|sent| &sent.effects) {
            match effect {
                Effect::Row { name, covered, .. } => *owed.entry(*name).or_default() += covered,
                Effect::Return { name, amount } => *owed.entry(*name).or_default() += amount,
                Effect::Seed { .. } | Effect::Retire { .. } => {}
            }
        }
        for (name, owed) in owed {
            let leased = self.stored.get(&name).map_or(0, |stored| stored.leased[0]);
            assert!(
                leased >= owed,
                "I4 write-ahead: {owed} of {name:?} may be spent, {leased} are leased: {}",
                self.place()
            );
            assert_eq!(leased, owed, "I1 conservation: leased of {name:?}: {}", self.place());
        }
    }

    /// The ceilings, and the provider's bill.
    fn check_counters(&self) {
        for (name, book) in &self.books.counters {
            let (posted, in_doubt) = book.money();
            let highest = self.books.highest.get(name).copied().unwrap_or(0);
            let uncovered = self.books.uncovered.get(name).copied().unwrap_or(0);
            let total = posted + in_doubt + book.leased;
            assert!(total <= highest + uncovered, "I2 admission: {total} of {name:?}: {}", self.place());
        }
        let names = self
            .books
            .bills
            .keys()
            .chain(self.flights.iter().flat_map(|flight| flight.lines.iter().map(|line| &line.name)));
        for name in names {
            if self.books.forgotten.contains(name) {
                continue;
            }
            let bill = self.books.bills.get(name).copied().unwrap_or_default();
            let open = self.flights.iter().filter(|flight| flight.left && flight.holds(*name));
            let open: i64 = open.map(|flight| flight.cost().min(flight.hold)).sum();
            let highest = self.books.highest.get(name).copied().unwrap_or(0);
            let covered = bill.covered + open;
            assert!(covered <= highest, "the bill of {name:?} is {covered} of {highest}: {}", self.place());
            if !self.budgets[name.0].alive {
                continue;
            }
            let queued = self.queue.iter().flat_map(|sent| &sent.covered).filter(|(known, _)| known == name);
            let queued: i64 = queued.map(|(_, amount)| amount).sum();
            let book = self.books.counters.get(name).cloned().unwrap_or_default();
            let charged = book.money().0 + book.money().1 + book.leased;
            let due = bill.due + queued + open;
            assert!(charged >= due, "I10 under-billing of {name:?}: {charged} for {due}: {}", self.place());
            let remainders = book.remainders.iter().filter(|one| !one.resolved).map(|one| one.amount - one.billed);
            let most = bill.due + book.in_doubt[0] + remainders.sum::<i64>();
            let settled = book.money().0 + book.money().1;
            let refilled = self.books.refilled.contains(name);
            assert!(refilled || settled <= most, "I10 over-billing of {name:?}: {settled}: {}", self.place());
        }
    }

    /// A call was admitted.
    pub(super) fn check_admission(&self, lines: &[Line]) {
        for line in lines.iter().filter(|line| line.hard) {
            let (committed, ceiling) = (line.counter.cell(Unit::Money).committed(), self.ceiling(line.name));
            assert!(
                committed <= ceiling,
                "I2 admission: {committed} over {ceiling} of {:?}: {}",
                line.name,
                self.place()
            );
        }
    }

    /// A call was refused by a counter: there was indeed no room.
    pub(super) fn check_refusal(&self, line: &Line, hold: i64, why: Misfit) {
        let (cell, ceiling) = (line.counter.cell(Unit::Money), self.ceiling(line.name));
        let room = match why {
            Misfit::Held => cell.committed() + hold <= ceiling || cell.used() + hold > ceiling,
            Misfit::Full => cell.used() + hold <= ceiling,
            Misfit::Unleased { .. } => true,
        };
        assert!(!room, "I12 no false kill: {why:?} of {:?}: {}", line.name, self.place());
    }

    /// The store leased what was asked for or had no room for it.
    pub(super) fn check_grant(&self, name: Name, need: i64, amount: i64) {
        let (book, ceiling) = (self.books.counters.get(&name).cloned().unwrap_or_default(), self.ceiling(name));
        let taken = book.money().0 + book.money().1 + book.leased;
        let fits = amount == 0 || (amount >= need && taken + amount <= ceiling);
        assert!(fits, "I2 admission: {amount} leased of {name:?} beside {taken} of {ceiling}: {}", self.place());
        let refused = amount == 0 && taken + need <= ceiling;
        assert!(
            !refused,
            "I12 no false kill: nothing leased of {name:?} beside {taken} of {ceiling}: {}",
            self.place()
        );
    }

    /// Nothing could be leased for a call: at most what older counters of the same name keep free stood in its way.
    pub(super) fn check_stranding(&self, line: &Line, hold: i64) {
        let older = self.generations.iter().filter(|(name, one)| *name == line.name && !one.is(&line.counter));
        let stranded: i64 = older.map(|(_, one)| one.lease(Unit::Money).free()).sum();
        let same = self.generations.iter().filter(|(name, _)| *name == line.name);
        let in_flight: i64 = same.map(|(_, one)| self.held(one)).sum();
        let money = self.books.counters.get(&line.name).map_or((0, 0), super::books::Book::money);
        let remaining = self.ceiling(line.name) - money.0 - money.1 - in_flight;
        assert!(
            remaining < hold + stranded,
            "I12 no false kill: {remaining} left of {:?}: {}",
            line.name,
            self.place()
        );
    }

    /// What a crash took is covered by what is in doubt since.
    pub(super) fn check_lost(&self, billed: &BTreeMap<Name, i64>) {
        for (name, billed) in billed {
            let last = self.books.counters.get(name).and_then(|book| book.remainders.last());
            let amount = last.map_or(0, |remainder| remainder.amount);
            assert!(
                amount >= *billed,
                "I5 completeness: {billed} lost of {name:?}, {amount} in doubt: {}",
                self.place()
            );
        }
    }

    /// After a stop in good order.
    pub(super) fn check_nothing_is_leased(&self) {
        let leased: Vec<_> = self.stored.values().filter(|one| one.leased != [0; 3]).collect();
        assert!(leased.is_empty(), "I1 conservation: leased after a stop: {leased:?}: {}", self.place());
    }

    /// The rows of a time, as the store reads them, are those that were committed.
    pub(super) fn check_replay(&self, since: Timestamp, rows: &[(Timestamp, usize, Amounts, bool)]) {
        let mut expected: Vec<_> = self.books.rows.iter().filter(|row| row.at >= since).collect();
        expected.sort_by_key(|row| (row.at, row.tenant, row.amounts, row.in_doubt));
        let mut expected: Vec<_> = expected.iter().map(|row| (row.at, row.tenant, row.amounts, row.in_doubt)).collect();
        let mut found = rows.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "I3 once, I6 counters = ledger: rows: {}", self.place());
    }

    /// At the end of a life the rows themselves are read.
    pub(super) fn check_rows(&self) {
        let mut rows = Vec::new();
        let each = &mut |at, dimensions: plimsoll::domain::standing::Dimensions<'_>, amounts, in_doubt| {
            let tenant = super::life::TENANTS.iter().position(|known| *known == dimensions.tenant_id);
            rows.push((at, tenant.expect("I9 tenancy"), amounts, in_doubt));
        };
        self.reader.replay(Timestamp::from_micros(i64::MIN), i64::MAX, each).expect("rows");
        self.check_replay(Timestamp::from_micros(i64::MIN), &rows);
    }
}
