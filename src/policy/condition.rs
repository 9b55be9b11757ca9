//! Conditions: what the fields of a `match` cannot say, as an expression of CEL.
//!
//! A condition sees the eleven dimensions of a call as texts and nothing else: no time, no content. A budget's usage is
//! counted again from the ledger's rows, and these are what rows hold. The language is a part of CEL in which nothing can
//! fail: names and types are checked when a policy is loaded, patterns are compiled then, loops go over written lists, and
//! the most steps that a judgement can take are counted beforehand. So there is no error at run time that could let a call
//! through, and to judge one allocates nothing.

mod check;
mod cost;
mod fault;
mod lex;
mod pattern;
mod patterns;
mod print;
mod syntax;
mod test;
mod values;

use std::fmt;

use crate::domain::standing::Dimensions;

use super::budget::Dimension;

use check::Checker;
use cost::{MOST_STEPS, steps};
use fault::{CONSTANT, SIZE};
use test::{Scene, Test};

pub use fault::{Fault, Stretch};
pub use patterns::Patterns;

/// The longest text of a condition, in characters.
pub const LONGEST: usize = 1_000;

/// Why a dimension never has a value: code, message and help.
pub type Refused = (&'static str, String, String);
/// Why a dimension never has a value. `None`: it can have it.
pub type Known<'k> = &'k dyn Fn(Dimension, &str) -> Option<Refused>;

/// A condition, valid by construction. Its text is in one form for one meaning, as far as blanks, brackets and quotes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    test: Test,
}

impl Condition {
    /// Reads a text, or says every mistake in it.
    pub fn read(text: &str, known: Known<'_>, patterns: &Patterns) -> Result<Self, Vec<Fault>> {
        // Counted from the first characters: of a text of many megabytes nothing else is looked at.
        let length = text.chars().take(LONGEST + 1).count();
        let whole = Stretch { start: 0, length: length.max(1) };
        if length > LONGEST {
            let message = format!("a condition has at most {LONGEST} characters");
            let fault = Fault::new(SIZE, whole, message);
            return Err(vec![fault.help("use the fields of `match`, which hold any number of patterns")]);
        }
        let syntax = syntax::read(text).map_err(|fault| vec![fault])?;
        let judged = Checker::new(text, known, patterns).condition(&syntax)?;
        let steps = steps(&judged);
        if steps > MOST_STEPS {
            return Err(vec![cost::too_dear(steps, syntax.stretch)]);
        }
        let condition = Self { test: judged };
        let always = |truth: &str| Fault::new(CONSTANT, syntax.stretch, format!("this is true of {truth}"));
        match condition.judge(&|_| None) {
            Some(true) => Err(vec![always("every call").help("leave `when` out")]),
            Some(false) => Err(vec![always("no call").help("ask for a dimension: `endpointTag != ''`")]),
            None => condition.reads_back(whole).map(|()| condition),
        }
    }

    /// What is kept of a condition is its one form, in policies that are printed and in the identities of the ledger. It has
    /// blanks and brackets that the text may lack, and must be within the limits too.
    fn reads_back(&self, whole: Stretch) -> Result<(), Vec<Fault>> {
        let printed = self.to_string();
        let length = printed.chars().count();
        let fault = if length > LONGEST {
            let message = format!("as it is kept, this condition has {length} characters, and {LONGEST} are the most");
            Fault::new(SIZE, whole, message).help("use the fields of `match`, which hold any number of patterns")
        } else if syntax::read(&printed).is_err() {
            let message = format!("as it is kept, this condition nests more than {} deep", syntax::DEEPEST);
            Fault::new(SIZE, whole, message).help("say it in fewer brackets, or as several budgets")
        } else {
            return Ok(());
        };
        Err(vec![fault.note("a condition is kept in one form, as `plimsoll print` writes it")])
    }

    /// Whether it is true of a call.
    pub fn holds(&self, dimensions: &Dimensions<'_>) -> bool {
        self.judge(&|dimension: Dimension| Some(dimension.of(dimensions))) != Some(false)
    }

    /// Whether it may be true of a call of which some dimensions are known.
    pub fn may_hold<'a>(&self, known: &impl Fn(Dimension) -> Option<&'a str>) -> bool {
        self.judge(known) != Some(false)
    }

    /// Whether it is true of every call with these dimensions.
    pub fn must_hold<'a>(&self, known: &impl Fn(Dimension) -> Option<&'a str>) -> bool {
        self.judge(known) == Some(true)
    }

    /// `None`: that depends on what is not known. Where everything is known, it never does.
    fn judge<'a>(&self, known: &impl Fn(Dimension) -> Option<&'a str>) -> Option<bool> {
        // What is known outlives the condition or does not: either way both can be borrowed for as long as this takes.
        self.test.judge(&Scene::new(&|dimension| known(dimension)))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::print(&self.test, f)
    }
}
