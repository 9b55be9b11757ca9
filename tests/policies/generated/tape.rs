//! The choices that a generated policy is made of.

use crate::policies::names::NAMES;

/// Choices still to be made; an empty tape always chooses the first.
#[derive(Debug)]
pub(super) struct Tape(std::vec::IntoIter<u32>);

impl Tape {
    pub(super) fn new(numbers: Vec<u32>) -> Self {
        Self(numbers.into_iter())
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        let drawn = usize::try_from(self.0.next().unwrap_or(0)).expect("at least 32 bits");
        drawn % end.max(1)
    }

    pub(super) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(super) fn often(&mut self) -> bool {
        self.below(3) > 0
    }

    pub(super) fn seldom(&mut self) -> bool {
        self.below(4) == 3
    }

    /// A part of them, none of them among the choices.
    pub(super) fn some(&mut self, of: &[&str]) -> Vec<String> {
        of.iter().filter(|_| self.seldom()).map(|text| (*text).to_owned()).collect()
    }

    pub(super) fn name(&mut self) -> String {
        self.one(NAMES).to_owned()
    }

    /// Names that differ.
    pub(super) fn names(&mut self, most: usize) -> Vec<String> {
        let (from, count) = (self.below(NAMES.len()), self.below(most + 1));
        NAMES.iter().cycle().skip(from).take(count).map(|name| (*name).to_owned()).collect()
    }

    pub(super) fn share(&mut self) -> String {
        format!("{}.{:04}%", self.below(200), self.below(10_000))
    }

    pub(super) fn duration(&mut self) -> String {
        format!("{} {}", 1 + self.below(59), self.one(&["s", "min", "hour", "days", "weeks"]))
    }

    pub(super) fn quantity(&mut self, unit: &str) -> String {
        let number = format!("{}.{:03}", self.below(2_000_000), self.below(1_000));
        match unit {
            "money" => match self.below(3) {
                0 => format!("${number}"),
                1 => format!("{number} EUR"),
                _ => format!("{number}k XAU"),
            },
            unit if self.seldom() => format!("{number}M {unit}"),
            unit if self.seldom() => format!("{number}k {unit}"),
            unit => format!("{} {unit}", self.below(2_000_000)),
        }
    }
}
