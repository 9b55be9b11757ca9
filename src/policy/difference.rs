//! What two policies say differently: section by section, rule by rule, as values and not as lines of text.
//!
//! A rule is a list of named texts; two rules of one name are compared text by text. Where a rule stands in its file, and in which
//! file, makes no difference.

mod describe;

use std::collections::BTreeMap;

use super::{Policy, Written};

/// The sections of a policy, in the order in which they are read.
pub const SECTIONS: [&str; 8] =
    ["general", "plans", "segments", "endpoints", "routes", "budgets", "escalations", "exceptions"];

/// One rule in texts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    fields: BTreeMap<&'static str, String>,
    written: Option<Written>,
}

/// A rule that is new, gone or different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The section.
    pub section: &'static str,
    /// The rule's name in it.
    pub name: String,
    /// How it differs.
    pub kind: Kind,
    /// What differs; of a new or a lost rule everything that it says.
    pub fields: Vec<Field>,
    /// Where the rule is written; of a lost one where it was.
    pub written: Option<Written>,
}

/// How a rule differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It was not there.
    Added,
    /// It says something else.
    Changed,
    /// It is gone.
    Removed,
}

impl Kind {
    /// `+`, `~`, `-`.
    pub const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Changed => '~',
            Self::Removed => '-',
        }
    }
}

/// One text of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What it is about: `limit`.
    pub name: &'static str,
    /// What it said.
    pub old: Option<String>,
    /// What it says.
    pub new: Option<String>,
}

/// Every difference, by section and name; and the sections without any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The rules that differ.
    pub rules: Vec<Difference>,
    /// The sections that are the same and not empty.
    pub unchanged: Vec<&'static str>,
}

impl Differences {
    /// From one policy to another.
    pub fn between(old: &Policy, new: &Policy) -> Self {
        let mut differences = Self::default();
        let (old, new) = (describe::sections(old), describe::sections(new));
        for ((section, old), new) in SECTIONS.into_iter().zip(&old).zip(&new) {
            let before = differences.rules.len();
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            let found = names.into_iter().filter_map(|name| difference(section, name, old.get(name), new.get(name)));
            differences.rules.extend(found);
            if differences.rules.len() == before && !new.is_empty() {
                differences.unchanged.push(section);
            }
        }
        differences
    }
}

fn difference(section: &'static str, name: &str, old: Option<&Rule>, new: Option<&Rule>) -> Option<Difference> {
    let kind = match (old, new) {
        (Some(_), Some(_)) => Kind::Changed,
        (None, _) => Kind::Added,
        (_, None) => Kind::Removed,
    };
    let said = |rule: Option<&Rule>, field: &str| rule.and_then(|rule| rule.fields.get(field).cloned());
    let names: std::collections::BTreeSet<&'static str> =
        old.into_iter().chain(new).flat_map(|rule| rule.fields.keys().copied()).collect();
    let fields = names.into_iter().map(|field| Field { name: field, old: said(old, field), new: said(new, field) });
    let fields: Vec<Field> = fields.filter(|field| field.old != field.new).collect();
    if fields.is_empty() && kind == Kind::Changed {
        return None;
    }
    let written = new.or(old).and_then(|rule| rule.written.clone());
    Some(Difference { section, name: name.to_owned(), kind, fields, written })
}
