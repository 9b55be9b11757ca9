//! What a condition costs at most, counted before it is ever judged.

use super::fault::{Fault, SIZE, Stretch};
use super::test::{Number, Test, Text};

/// The most steps that one judgement may take. A step is one comparison of texts or numbers.
pub(super) const MOST_STEPS: u64 = 200;
/// A pattern looks at every byte of its text.
pub(super) const PATTERN: u64 = 10;

/// The fault of what takes more.
pub(super) fn too_dear(steps: u64, stretch: Stretch) -> Fault {
    let message = format!("this can take {steps} steps per call, and {MOST_STEPS} are the most");
    Fault::new(SIZE, stretch, message)
        .help("shorten the lists, or use the fields of `match`, which hold any number of patterns")
}

/// The most steps that a condition can take, whatever the call.
pub(super) fn steps(test: &Test) -> u64 {
    match test {
        Test::Literal(_) => 0,
        Test::Not(inner) => steps(inner),
        Test::All(tests) | Test::Any(tests) => tests.iter().map(steps).fold(0, u64::saturating_add),
        Test::Choice(parts) => parts.iter().map(steps).fold(0, u64::saturating_add),
        Test::Truths { sides, .. } => sides.iter().map(steps).fold(1, u64::saturating_add),
        Test::Texts { sides: [one, other], .. } => 1 + of_text(one) + of_text(other),
        Test::Numbers { sides: [one, other], .. } => 1 + of_number(one) + of_number(other),
        Test::OneOf { text, list } => of_text(text).saturating_add(length(list)),
        Test::Holds { whole, what, .. } => 1 + of_text(whole) + of_text(what),
        Test::Fits { text, .. } => PATTERN + of_text(text),
        Test::Each { list, body, .. } => length(list).saturating_mul(steps(body)),
    }
}

fn of_text(text: &Text) -> u64 {
    match text {
        Text::Literal(_) | Text::Of(_) | Text::Item { .. } => 0,
        Text::Choice(parts) => {
            let (asked, one, other) = &**parts;
            steps(asked).saturating_add(of_text(one)).saturating_add(of_text(other))
        }
    }
}

fn of_number(number: &Number) -> u64 {
    match number {
        Number::Literal(_) => 0,
        Number::Size(text) => of_text(text).saturating_add(1),
        Number::Choice(parts) => {
            let (asked, one, other) = &**parts;
            steps(asked).saturating_add(of_number(one)).saturating_add(of_number(other))
        }
    }
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}
