//! What is wrong with a file, where, and what would fix it.
//!
//! A diagnostic is a value: it is collected, sorted and rendered, never printed here. Whoever reads a file reports every
//! mistake of a run, so nothing in this module stops at the first.

mod github;
mod render;
mod sarif;

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

pub use github::github;
pub use render::render;
pub use sarif::sarif;

/// The most diagnostics that are shown at once.
pub const MOST_SHOWN: usize = 20;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and probably does not do what was meant.
    Warning,
}

impl Severity {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where something stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The length in characters, within the line.
    pub length: u32,
}

/// A text that was read, under the name that diagnostics call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name: a path as the operator wrote it.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

impl Source {
    /// A text under a name.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: Arc::from(name), text: Arc::from(text) }
    }

    /// The place of its first character.
    pub fn start(&self) -> Place {
        Place { file: Arc::clone(&self.name), line: 1, column: 1, length: 1 }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The stable code: `E104`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The smallest wrong token.
    pub place: Option<Place>,
    /// What is said under that token.
    pub label: String,
    /// Other places that explain it.
    pub related: Vec<(Place, String)>,
    /// What would fix it.
    pub help: Vec<String>,
    /// Further lines, each shown after a `=`: `note: …`, `valid here: …`.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// A mistake that makes the file unusable.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            place: None,
            label: String::new(),
            related: Vec::new(),
            help: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A mistake that the file can be used with.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where.
    pub fn at(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.place = Some(place.clone());
        self.label = label.into();
        self
    }

    /// Points at another place that explains it.
    pub fn see(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.related.push((place.clone(), label.into()));
        self
    }

    /// Says what would fix it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a line after `=`.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same with every file called by the name that `name` gives it.
    pub fn renamed(mut self, name: &dyn Fn(&str) -> Arc<str>) -> Self {
        let places = self.place.iter_mut().chain(self.related.iter_mut().map(|(place, _)| place));
        for place in places {
            place.file = name(&place.file);
        }
        self
    }

    /// Whether it makes the file unusable.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// ``policy.yaml:30:5: error[E104]: unknown key `limits` (did you mean `limit`?)``
    pub fn one_line(&self) -> String {
        let mut line = String::new();
        if let Some(place) = &self.place {
            let _ = write!(line, "{}:{}:{}: ", place.file, place.line, place.column);
        }
        let _ = write!(line, "{}[{}]: {}", self.severity.as_str(), self.code, self.message);
        if let Some(help) = self.help.first() {
            let _ = write!(line, " ({help})");
        }
        line
    }
}

/// Sorts by file, line and column; what has no place comes last.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|one, other| {
        let placeless = one.place.is_none().cmp(&other.place.is_none());
        placeless.then_with(|| (&one.place, one.code).cmp(&(&other.place, other.code)))
    });
}

/// Whether any of them makes the file unusable.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_holds_place_code_and_help() {
        let place = Place { file: Arc::from("policy.yaml"), line: 30, column: 5, length: 6 };
        let diagnostic = Diagnostic::error("E104", "unknown key `limits` in budget `tenant_month`")
            .at(&place, "not a budget key")
            .help("did you mean `limit`?");
        assert_eq!(
            diagnostic.one_line(),
            "policy.yaml:30:5: error[E104]: unknown key `limits` in budget `tenant_month` (did you mean `limit`?)"
        );
    }
}
