//! Which budgets a call could be counted by, so that five hundred of them are not walked for every call.
//!
//! A budget is filed under the literal starts of the patterns of one dimension of its `match`. What is found may be too much and is
//! never too little: whether a budget counts is said by its `match` alone.

use std::collections::BTreeMap;

use crate::domain::standing::Dimensions;

use super::budget::{Budget, Dimension};
use super::glob::Glob;

/// So few are walked as fast as they are looked up.
const WALKED: usize = 16;

/// The budgets of a policy, filed.
#[derive(Debug, Clone, Default)]
pub(super) struct Shortlist {
    /// Those that any call could be counted by, sorted.
    always: Vec<usize>,
    /// The others.
    filed: Vec<(Dimension, Starts)>,
}

impl Shortlist {
    pub(super) fn of(budgets: &[Budget]) -> Self {
        let mut list = Self::default();
        if budgets.len() <= WALKED {
            list.always = (0..budgets.len()).collect();
            return list;
        }
        let mut shared: BTreeMap<(Dimension, &str), usize> = BTreeMap::new();
        for (dimension, globs) in budgets.iter().flat_map(|budget| &budget.matcher.all) {
            for glob in globs {
                *shared.entry((*dimension, glob.start())).or_default() += 1;
            }
        }
        let mut filed: BTreeMap<Dimension, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
        for (at, budget) in budgets.iter().enumerate() {
            // Of its dimensions the one whose starts it shares with the fewest others.
            let fits = budget.matcher.all.iter().filter(|(_, globs)| globs.iter().all(|glob| !glob.start().is_empty()));
            let crowd = |dimension: Dimension, globs: &[Glob]| {
                globs.iter().filter_map(|glob| shared.get(&(dimension, glob.start()))).max().copied()
            };
            match fits.min_by_key(|(dimension, globs)| crowd(*dimension, globs)) {
                Some((dimension, globs)) => {
                    for glob in globs {
                        filed.entry(*dimension).or_default().entry(glob.start()).or_default().push(at);
                    }
                }
                None => list.always.push(at),
            }
        }
        list.filed = filed.into_iter().map(|(dimension, starts)| (dimension, Starts::of(starts))).collect();
        list
    }

    /// Names every budget that could count a call of these dimensions; out of order, and some of them twice, unless it is
    /// [`in_order`](Self::in_order).
    pub(super) fn each(&self, dimensions: &Dimensions<'_>, mut take: impl FnMut(usize)) {
        self.always.iter().for_each(|budget| take(*budget));
        for (dimension, starts) in &self.filed {
            starts.each(dimension.of(dimensions), &mut take);
        }
    }

    /// Whether all are named in their order.
    pub(super) fn in_order(&self) -> bool {
        self.filed.is_empty()
    }
}

/// Budgets by the start of a value, sorted by it.
#[derive(Debug, Clone)]
struct Starts(Vec<Start>);

#[derive(Debug, Clone)]
struct Start {
    text: Box<str>,
    budgets: Vec<usize>,
    /// Of the others that this one begins with, the longest.
    shorter: Option<usize>,
}

impl Starts {
    fn of(sorted: BTreeMap<&str, Vec<usize>>) -> Self {
        let mut starts: Vec<Start> = Vec::with_capacity(sorted.len());
        for (text, budgets) in sorted {
            let shorter = longest(&starts, starts.len().checked_sub(1), text);
            starts.push(Start { text: Box::from(text), budgets, shorter });
        }
        Self(starts)
    }

    fn each(&self, value: &str, take: &mut impl FnMut(usize)) {
        let after = self.0.partition_point(|start| *start.text <= *value);
        let mut found = longest(&self.0, after.checked_sub(1), value);
        while let Some(start) = found.and_then(|at| self.0.get(at)) {
            start.budgets.iter().for_each(|budget| take(*budget));
            found = start.shorter;
        }
    }
}

/// The longest start of `text` among those that sort before it, the last of which is `at`. Whatever `text` begins with sorts
/// between that and `text`, so the last one begins with it too.
fn longest(starts: &[Start], mut at: Option<usize>, text: &str) -> Option<usize> {
    while let Some(start) = at.and_then(|at| starts.get(at)) {
        if text.starts_with(&*start.text) {
            break;
        }
        at = start.shorter;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(starts: &Starts, value: &str) -> Vec<usize> {
        let mut found = Vec::new();
        starts.each(value, &mut |budget| found.push(budget));
        found
    }

    #[test]
    fn a_value_finds_everything_that_it_begins_with() {
        let texts = ["a", "a.b", "a.b.c", "a.bx", "a.c", "b"];
        let starts = Starts::of(texts.iter().enumerate().map(|(at, text)| (*text, vec![at])).collect());
        assert_eq!(found(&starts, "a.b.c.d"), [2, 1, 0]);
        assert_eq!(found(&starts, "a.b"), [1, 0]);
        assert_eq!(found(&starts, "a.bz"), [1, 0]);
        assert_eq!(found(&starts, "a.cb"), [4, 0]);
        assert_eq!(found(&starts, "azz"), [0]);
        assert_eq!(found(&starts, "c"), [5; 0]);
        assert_eq!(found(&starts, ""), [5; 0]);
    }
}
