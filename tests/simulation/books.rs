//! What the store ought to hold, kept beside it by additions that are done once more and differently: per counter, from the
//! records that were committed.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::standing::Amounts;

use super::provider::Billed;

/// Which budget, which of its keys, which window (its start in seconds).
pub(super) type Name = (usize, usize, i64);

/// One counter.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// What its rows add up to.
    pub(super) posted: Amounts,
    pub(super) in_doubt: Amounts,
    /// Granted, and neither settled nor returned.
    pub(super) leased: i64,
    /// What older runs had leased.
    pub(super) remainders: Vec<Remainder>,
}

/// What a run that died had leased of a counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remainder {
    pub(super) amount: i64,
    /// What the provider billed of it.
    pub(super) billed: i64,
    pub(super) resolved: bool,
}

impl Book {
    pub(super) fn open_remainders(&self) -> i64 {
        self.remainders.iter().filter(|one| !one.resolved).map(|one| one.amount).sum()
    }

    pub(super) fn resolved(&self) -> i64 {
        self.remainders.iter().filter(|one| one.resolved).map(|one| one.billed).sum()
    }

    /// Money as the counter shows it: rows and remainders.
    pub(super) fn money(&self) -> (i64, i64) {
        (self.posted[0] + self.resolved(), self.in_doubt[0] + self.open_remainders())
    }
}

/// What a record does to one counter when it is committed.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    Row { name: Name, amounts: Amounts, covered: i64, in_doubt: bool },
    Return { name: Name, amount: i64 },
    Seed { name: Name, posted: Amounts, in_doubt: Amounts },
    Retire { budget: usize },
}

/// A row that was committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) tenant: usize,
    pub(super) at: Timestamp,
    pub(super) amounts: Amounts,
    pub(super) in_doubt: bool,
}

/// All counters, and what is known of them beside their amounts.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) counters: BTreeMap<Name, Book>,
    pub(super) bills: BTreeMap<Name, Billed>,
    pub(super) rows: Vec<Row>,
    /// The highest ceiling under which something was leased.
    pub(super) highest: BTreeMap<Name, i64>,
    /// What came into a counter without a lease: debt, calls outside the promise, rows of a time when it was deleted.
    pub(super) uncovered: BTreeMap<Name, i64>,
    /// Counters of other windows than the present when their budget came back: they are not rebuilt, only their rows stay.
    pub(super) forgotten: BTreeSet<Name>,
    /// Counters whose rows are not those of their window, because the clock stood elsewhere.
    pub(super) misdated: BTreeSet<Name>,
    /// Counters that were filled from rows.
    pub(super) refilled: BTreeSet<Name>,
}

impl Books {
    pub(super) fn book(&mut self, name: Name) -> &mut Book {
        self.counters.entry(name).or_default()
    }

    pub(super) fn bill(&mut self, name: Name) -> &mut Billed {
        self.bills.entry(name).or_default()
    }

    pub(super) fn commit(&mut self, effect: &Effect) {
        match effect {
            Effect::Row { name, amounts, covered, in_doubt } => {
                let book = self.book(*name);
                add(book, *amounts, *in_doubt);
                book.leased -= covered;
                *self.uncovered.entry(*name).or_default() += amounts[0] - covered;
            }
            Effect::Return { name, amount } => self.book(*name).leased -= amount,
            Effect::Seed { name, posted, in_doubt } => {
                let book = self.book(*name);
                add(book, *posted, false);
                add(book, *in_doubt, true);
                *self.uncovered.entry(*name).or_default() += posted[0] + in_doubt[0];
                self.refilled.insert(*name);
            }
            Effect::Retire { budget } => self.retire(*budget),
        }
    }

    /// A deleted budget's counters are forgotten, but for leases and doubts.
    pub(super) fn retire(&mut self, budget: usize) {
        self.counters.retain(|name, book| name.0 != budget || book.leased != 0 || !book.remainders.is_empty());
    }

    /// A budget that returns begins anew.
    pub(super) fn begin(&mut self, budget: usize, window: i64, in_memory: impl Iterator<Item = Name>) {
        self.retire(budget);
        for (name, book) in self.counters.iter_mut().filter(|(name, _)| name.0 == budget) {
            (book.posted, book.in_doubt) = ([0; 3], [0; 3]);
            self.refilled.insert(*name);
        }
        let known = self.bills.keys().chain(self.highest.keys()).chain(self.uncovered.keys()).copied().chain(in_memory);
        let other: Vec<Name> = known.filter(|name| name.0 == budget && name.2 != window).collect();
        self.forgotten.extend(other);
        self.forgotten.extend(self.misdated.iter().filter(|name| name.0 == budget));
    }

    /// Every lease becomes a remainder; `billed` says what the provider asks for of each counter.
    pub(super) fn crash(&mut self, billed: &BTreeMap<Name, i64>) -> usize {
        let mut found = 0;
        for (name, book) in &mut self.counters {
            if book.leased != 0 {
                let billed = billed.get(name).copied().unwrap_or(0);
                book.remainders.push(Remainder { amount: book.leased, billed, resolved: false });
                book.leased = 0;
                found += 1;
            }
        }
        found
    }
}

fn add(book: &mut Book, amounts: Amounts, in_doubt: bool) {
    let side = if in_doubt { &mut book.in_doubt } else { &mut book.posted };
    side[0] += amounts[0];
    side[1] += amounts[1];
    // That a request was made is never in doubt.
    book.posted[2] += amounts[2];
}
