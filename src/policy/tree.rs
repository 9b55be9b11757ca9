//! A YAML file as a tree of nodes that know where they stand.
//!
//! YAML 1.2 core: no `yes`/`on` booleans, duplicate keys are mistakes, anchors are allowed within a budget of nodes so that
//! a few lines cannot become gigabytes. Two slips that YAML reads as something else are repaired so that everything behind
//! them is still checked: an unquoted `*` and a thousands separator inside `{ }`. Types are not decided here: a scalar is
//! its text.

mod build;

use crate::diagnostic::{Diagnostic, Place, Source};

pub use build::read;

/// The largest policy that is read, in bytes. One of 500 budgets has about a fortieth of it.
pub const LARGEST: usize = 4 << 20;

/// The diagnostic of a file that is larger than `largest` bytes.
pub fn too_large(name: &str, largest: u64) -> Diagnostic {
    let place = Source::new(name, "").start();
    let fault = Diagnostic::error("E002", format!("`{name}` is larger than {} MiB", largest >> 20)).at(&place, "");
    fault.help("look whether the right file is in this place; a policy can be split over several files")
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it stands. Of a block map: its first entry as far as it stands on one line.
    pub place: Place,
    /// The last line it reaches to.
    pub end_line: u32,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, whatever type it may be read as.
    Scalar {
        /// The text after YAML's own escapes.
        text: String,
        /// Whether it was written in quotes or as a block.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file, without duplicate keys.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// What a file turned out to be.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The document; `None` when the file is empty or could not be read.
    pub root: Option<Node>,
    /// Every mistake of form.
    pub diagnostics: Vec<Diagnostic>,
}

#[cfg(test)]
mod tests;
