//! A regular expression as a table: one step per byte of the text, whatever the pattern, and nothing is allocated.
//!
//! What would make the table large is refused when it is built. So no pattern can be catastrophic, neither when a policy is
//! loaded nor when a call is judged. It is what the RE2 of CEL takes it for: `\d`, `\s`, `\w` and `\b` know ASCII.

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::dense::{Builder, Config, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::util::syntax;
use regex_automata::{Input, nfa::thompson};

/// The most that the first form of a pattern may take, in bytes.
const LARGEST_PROGRAM: usize = 32 << 10;
/// The most that its table may take, and the work for it, in bytes.
pub(super) const LARGEST_TABLE: usize = 64 << 10;

/// A pattern, compiled.
#[derive(Clone)]
pub(super) struct Pattern {
    text: Arc<str>,
    table: Arc<DFA<Vec<u32>>>,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is none.
    Invalid(String),
    /// `\<` knows the letters of all languages, for which a table has no place.
    WordBoundary,
    /// Its table would be too large.
    TooLarge,
    /// There is no room left for its table beside those of the other patterns.
    NoRoom,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, Unusable> {
        // The parts are read first: the compiler's own errors do not tell a wrong pattern from a large one.
        syntax::parse(text).map_err(|fault| Unusable::Invalid(reason(&fault)))?;
        let ascii = in_ascii(text);
        let read = syntax::parse(&ascii).map_err(|fault| Unusable::Invalid(reason(&fault)))?;
        if read.properties().look_set().contains_word_unicode() {
            return Err(Unusable::WordBoundary);
        }
        let table = Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(LARGEST_TABLE))
            .determinize_size_limit(Some(LARGEST_TABLE));
        let program = thompson::Config::new().nfa_size_limit(Some(LARGEST_PROGRAM));
        let table = Builder::new().configure(table).thompson(program).build(&ascii).map_err(|_| Unusable::TooLarge)?;
        Ok(Self { text: Arc::from(text), table: Arc::new(table) })
    }

    /// The pattern as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What its table takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.table.memory_usage()
    }

    /// Whether some part of `text` fits. A search fails where a table gives up on a byte, which only
    /// those of Unicode word boundaries do.
    pub(super) fn fits(&self, text: &str) -> bool {
        matches!(self.table.try_search_fwd(&Input::new(text).earliest(true)), Ok(Some(_)))
    }
}

/// Writes the classes of a valid pattern out in ASCII. In one, a backslash always belongs to the character behind it, and what
/// stands for a class outside of brackets stands for it within them.
fn in_ascii(pattern: &str) -> String {
    let mut ascii = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            ascii.push(character);
            continue;
        }
        let Some(letter) = rest.next() else { break };
        // `\b{start}` and its like are not of RE2, and stay what they are.
        let named = rest.as_str().strip_prefix('{').and_then(|name| name.chars().next());
        let class = match letter {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => r"[\t\n\f\r\x20]",
            'S' => r"[^\t\n\f\r\x20]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            'b' if named.is_none_or(|first| first.is_ascii_digit()) => r"(?-u:\b)",
            'B' => r"(?-u:\B)",
            _ => {
                ascii.extend(['\\', letter]);
                continue;
            }
        };
        ascii.push_str(class);
    }
    ascii
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
