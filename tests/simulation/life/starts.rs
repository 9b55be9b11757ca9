//! Starts, crashes and stops.

use super::*;

impl Life {
    /// Opens the store and takes up what it knows, as `control::past` does it.
    pub(super) fn start(&mut self) {
        self.runs += 1;
        self.read_back();
        let complete = self.reader.complete_identities().expect("identities");
        for budget in 0..3 {
            let whole = complete.contains(&self.budgets[budget].identity);
            match (self.budgets[budget].alive, whole) {
                (false, true) => {
                    let gone = vec![Arc::clone(&self.budgets[budget].identity)];
                    self.send(Record::Retire(gone), vec![Effect::Retire { budget }]);
                }
                (true, true) => self.take_up(budget),
                (true, false) => {
                    self.fill_from_rows(budget, self.snapshot);
                    self.commit(self.queue.len(), &[]);
                }
                (false, false) => {}
            }
        }
    }

    pub(super) fn take_up(&mut self, budget: usize) {
        let present = self
            .stored
            .clone()
            .into_iter()
            .filter(|(name, one)| name.0 == budget && one.window.contains(self.timestamp()));
        for (_, past) in present.collect::<Vec<_>>() {
            let counter = self.meter.counter(&past.name.identity, Arc::clone(&past.name.key));
            let counter = counter.window(self.timestamp(), || past.window);
            count(&counter, past.posted, past.in_doubt);
            self.meet(&counter, true);
        }
    }

    /// kill -9: what was not committed is gone, and the provider bills what had left.
    pub(super) fn crash(&mut self) {
        self.what = "a crash";
        self.tally.crashes += 1;
        let mut billed: BTreeMap<Name, i64> = BTreeMap::new();
        for flight in self.flights.drain(..).filter(|flight| flight.left) {
            self.lost += 1;
            for line in flight.lines.iter().filter(|line| line.hard) {
                let covered = flight.cost().min(flight.hold);
                *billed.entry(line.name).or_default() += covered;
                self.books.bill(line.name).covered += covered;
            }
        }
        for sent in self.queue.drain(..) {
            self.lost += u64::from(sent.row.is_some());
            for (name, covered) in sent.covered {
                *billed.entry(name).or_default() += covered;
            }
        }
        self.tally.lost = self.lost;
        self.again = None;
        for (name, amount) in &billed {
            self.books.bill(*name).due += amount;
        }
        let expected = self.books.crash(&billed);
        self.open_again(expected);
        self.check_lost(&billed);
    }

    /// A stop in good order: every call ends, everything is written, every lease goes back.
    pub(super) fn restart(&mut self) {
        self.what = "a restart";
        self.come_into_force();
        while let Some(flight) = self.flights.pop() {
            if flight.left {
                self.settle(flight);
            }
        }
        for (name, counter) in self.generations.clone() {
            self.give_back(name, &counter);
        }
        self.commit(self.queue.len(), &[]);
        self.check_nothing_is_leased();
        self.open_again(0);
    }

    pub(super) fn open_again(&mut self, doubted: usize) {
        self.coming = None;
        self.rules = None;
        self.queue.clear();
        self.generations.clear();
        self.unrestored.clear();
        self.meter = Arc::default();
        drop(self.store.take());
        let mut store = SqliteStore::open(&self.folder.path().join("life.db")).expect("the same ledger");
        let found = store.begin_run(&[]).expect("a run");
        assert_eq!(found, doubted, "I5 completeness: leases found open: {}", self.place());
        self.store = Some(store);
        self.start();
    }
}
