//! A regular expression as a table: one step per byte of the text, whatever the pattern, and nothing is allocated.
//!
//! What would make the table large is refused when it is built. So no pattern can be catastrophic, neither when a policy is
//! loaded nor when a call is judged.

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::dense::{Builder, Config, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::{Input, nfa::thompson};

/// The most that the first form of a pattern may take, in bytes.
const LARGEST_PROGRAM: usize = 32 << 10;
/// The most that its table may take, and the work for it, in bytes.
const LARGEST_TABLE: usize = 64 << 10;

/// A pattern, compiled.
#[derive(Clone)]
pub(super) struct Pattern {
    text: Arc<str>,
    table: Arc<DFA<Vec<u32>>>,
}

/// Why a pattern cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is none.
    Invalid(String),
    /// `\b` knows the letters of all languages, for which a table has no place.
    WordBoundary,
    /// Its table would be too large.
    TooLarge,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, Unusable> {
        // The parts are read first: the compiler's own errors do not tell a wrong pattern from a large one.
        let read = regex_automata::util::syntax::parse(text).map_err(|fault| Unusable::Invalid(reason(&fault)))?;
        if read.properties().look_set().contains_word_unicode() {
            return Err(Unusable::WordBoundary);
        }
        let table = Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(LARGEST_TABLE))
            .determinize_size_limit(Some(LARGEST_TABLE));
        let program = thompson::Config::new().nfa_size_limit(Some(LARGEST_PROGRAM));
        let table = Builder::new().configure(table).thompson(program).build(text).map_err(|_| Unusable::TooLarge)?;
        Ok(Self { text: Arc::from(text), table: Arc::new(table) })
    }

    /// The pattern as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether some part of `text` fits. A search fails where a table gives up on a byte, which only
    /// those of Unicode word boundaries do.
    pub(super) fn fits(&self, text: &str) -> bool {
        matches!(self.table.try_search_fwd(&Input::new(text).earliest(true)), Ok(Some(_)))
    }
}

/// The last line of what the parser says; the lines before it draw the pattern.
fn reason(fault: &impl fmt::Display) -> String {
    let text = fault.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}
