//! Where a rule was written: its file and line, for those who ask why.
//!
//! It is no part of what the rule is. Two rules that differ in nothing else are the same rule, so any two values are equal.

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::Place;

/// The file and line of a rule: `policy.yaml:57`.
#[derive(Debug, Clone)]
pub struct Written {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

impl From<&Place> for Written {
    fn from(place: &Place) -> Self {
        Self { file: Arc::clone(&place.file), line: place.line }
    }
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_rule_stands_is_no_part_of_it() {
        let here = Place { file: Arc::from("a.yaml"), line: 3, column: 5, length: 1 };
        let there = Place { file: Arc::from("b.yaml"), line: 7, ..here.clone() };
        let (one, other) = (Written::from(&here), Written::from(&there));
        assert_eq!(one, other);
        assert_ne!(one.to_string(), other.to_string());
    }
}
