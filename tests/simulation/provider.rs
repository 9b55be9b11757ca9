//! Who is called, at which prices, and what the provider itself writes on its bill.

use std::sync::Arc;

use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::price::{PriceBook, PriceRow};
use plimsoll::meter::counter::WindowCounter;
use plimsoll::meter::reservation::Reservation;

use super::books::Name;

/// A window that counts a call.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: Name,
    pub(super) counter: WindowCounter,
    /// Whether it holds the call's money, or only counts it.
    pub(super) hard: bool,
}

/// A call that was admitted.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) tenant: usize,
    pub(super) at: Timestamp,
    pub(super) reservation: Reservation,
    pub(super) hold: i64,
    pub(super) lines: Vec<Line>,
    /// The price that was pinned at admission.
    pub(super) price: Arc<PriceRow>,
    /// What the provider will count.
    pub(super) tokens: u64,
    /// The policy under which it was admitted.
    pub(super) snapshot: u64,
    /// Whether anything of it was sent. Before that it only holds.
    pub(super) left: bool,
}

impl Flight {
    pub(super) fn holds(&self, name: Name) -> bool {
        self.lines.iter().any(|line| line.hard && line.name == name)
    }

    /// What the provider bills, whatever becomes of us.
    pub(super) fn cost(&self) -> i64 {
        nano(&self.price, self.tokens)
    }
}

/// So many output tokens at a price, by the simulation's own arithmetic: prices here are whole nano-dollars.
pub(super) fn nano(price: &PriceRow, tokens: u64) -> i64 {
    i64::try_from(tokens * price.output / 1_000).expect("a small amount")
}

/// Two prices of the same model, one after the other.
pub(super) fn tariffs() -> [Arc<PriceRow>; 2] {
    let row = PriceBook::builtin().find("openai", "openai", "gpt-4o").expect("a built-in price").as_ref().clone();
    let at = |id: &str, output| Arc::new(PriceRow { id: Arc::from(id), output, ..row.clone() });
    [at("sim@1/gpt-4o", 1_000), at("sim@2/gpt-4o", 3_000)]
}

/// The bill of one counter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Billed {
    /// What the provider asks for of what was held here, of calls that have ended or were lost.
    pub(super) covered: i64,
    /// What has to be charged here at least: the cost of what is written, and the held part of what a crash took.
    pub(super) due: i64,
}
