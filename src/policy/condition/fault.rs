//! What is wrong with a condition, and which of its characters are.

/// Part of a condition's text, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The characters before it.
    pub start: usize,
    /// How many it has; at least one.
    pub length: usize,
}

impl Stretch {
    /// From the start of one to the end of the other.
    pub(super) fn to(self, last: Self) -> Self {
        Self { start: self.start, length: (last.start + last.length).saturating_sub(self.start).max(1) }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The code of its diagnostic.
    pub code: &'static str,
    /// The smallest wrong token.
    pub stretch: Stretch,
    /// What is wrong.
    pub message: String,
    /// What is said under the token.
    pub label: String,
    /// What would fix it.
    pub help: Option<String>,
    /// What is possible here.
    pub note: Option<String>,
}

impl Fault {
    pub(super) fn new(code: &'static str, stretch: Stretch, message: impl Into<String>) -> Self {
        Self { code, stretch, message: message.into(), label: String::new(), help: None, note: None }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Not CEL at all.
pub(super) const SYNTAX: &str = "E181";
/// A name, a function or a sign that there is none of here.
pub(super) const UNKNOWN: &str = "E182";
/// A number where a text belongs, and the like.
pub(super) const TYPE: &str = "E183";
/// Longer, deeper or dearer than a condition may be.
pub(super) const SIZE: &str = "E184";
/// True of every call, or of none.
pub(super) const CONSTANT: &str = "E185";
