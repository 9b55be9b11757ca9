//! Two accounts of one period, side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::{Invoice, Kind, Measure};

/// What the ledger has of one kind of one model, in the invoice's measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// The model that answered.
    pub model: String,
    /// What of it.
    pub kind: Kind,
    /// Pico-dollars or tokens.
    pub amount: i128,
}

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The model; for [`Kind::Other`] what was billed; empty: everything.
    pub model: String,
    /// What of it.
    pub kind: Kind,
    /// What the ledger says.
    pub ledger: i128,
    /// What the invoice says.
    pub invoice: i128,
}

impl Gap {
    /// What the ledger has more; negative where it has less.
    pub fn difference(&self) -> i128 {
        self.ledger - self.invoice
    }
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// What is counted.
    pub measure: Measure,
    /// The ledger's sum.
    pub ledger: i128,
    /// The invoice's sum.
    pub invoice: i128,
    /// By model, the dearest of the invoice first, and by kind.
    pub gaps: Vec<Gap>,
}

impl Reconciliation {
    /// The line with the largest difference; `None` when there is no difference at all.
    pub fn largest(&self) -> Option<&Gap> {
        let differing = self.gaps.iter().filter(|gap| gap.difference() != 0);
        differing.max_by_key(|gap| gap.difference().abs())
    }
}

/// Lays the invoice and the ledger's sums side by side. `name` brings both sides' models to one name. Where the invoice does
/// not split a model by kind, or does not split at all, neither is the ledger.
pub fn reconcile(invoice: &Invoice, ledger: &[Sum], name: &dyn Fn(&str) -> String) -> Reconciliation {
    let known = |model: &str, kind| if kind == Kind::Other { model.to_owned() } else { name(model) };
    let unsplit: BTreeSet<String> = invoice
        .lines
        .iter()
        .filter(|line| line.kind == Kind::Whole)
        .map(|line| known(&line.model, line.kind))
        .collect();
    let key = |model: &str, kind| {
        let model = known(model, kind);
        if unsplit.contains("") {
            (String::new(), Kind::Whole)
        } else if unsplit.contains(&model) {
            (model, Kind::Whole)
        } else {
            (model, kind)
        }
    };
    let mut sides: BTreeMap<(String, Kind), (i128, i128)> = BTreeMap::new();
    for sum in ledger {
        sides.entry(key(&sum.model, sum.kind)).or_default().0 += sum.amount;
    }
    for line in &invoice.lines {
        sides.entry(key(&line.model, line.kind)).or_default().1 += line.amount;
    }
    let mut weights: BTreeMap<String, i128> = BTreeMap::new();
    for ((model, _), (ours, theirs)) in &sides {
        *weights.entry(model.clone()).or_default() += ours.abs().max(theirs.abs());
    }
    let mut gaps: Vec<Gap> = sides
        .into_iter()
        .filter(|(_, sides)| *sides != (0, 0))
        .map(|((model, kind), (ledger, invoice))| Gap { model, kind, ledger, invoice })
        .collect();
    gaps.sort_by(|one, other| {
        let weight = |gap: &Gap| weights.get(&gap.model).copied().unwrap_or(0);
        let order = |gap: &Gap| (gap.kind == Kind::Other, -weight(gap));
        order(one).cmp(&order(other)).then_with(|| (&one.model, one.kind).cmp(&(&other.model, other.kind)))
    });
    Reconciliation {
        measure: invoice.measure,
        ledger: gaps.iter().map(|gap| gap.ledger).sum(),
        invoice: gaps.iter().map(|gap| gap.invoice).sum(),
        gaps,
    }
}
