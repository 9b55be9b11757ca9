//! Reading a tree key by key: what is missing, what is of the wrong kind, what nobody asked for.
//!
//! Each reader reports into a list and returns `None`, so that one mistake never hides another.

use crate::diagnostic::{Diagnostic, MOST_SHOWN, Place};

use super::tree::{Key, Kind, Node};

/// Where mistakes are collected.
pub type Problems = Vec<Diagnostic>;

/// A key with its value.
pub type Entry<'t> = (&'t Key, &'t Node);

/// The entries of one map, taken by name. What is left at the end is unknown.
#[derive(Debug)]
pub struct Fields<'t> {
    what: String,
    place: Place,
    entries: Vec<Entry<'t>>,
    asked: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The entries of `node`, which is called `what` in messages (``budget `tenant_month` ``).
    pub fn of(node: &'t Node, what: impl Into<String>, problems: &mut Problems) -> Option<Self> {
        let what = what.into();
        let entries = expect_map(node, &what, problems)?;
        Some(Self::from_entries(entries, what, node.place.clone()))
    }

    /// Entries that were put together from several maps.
    pub fn from_entries(entries: Vec<Entry<'t>>, what: impl Into<String>, place: Place) -> Self {
        Self { what: what.into(), place, entries, asked: Vec::new() }
    }

    /// Takes the entry of that name.
    pub fn take(&mut self, name: &'static str) -> Option<Entry<'t>> {
        self.asked.push(name);
        let at = self.entries.iter().position(|(key, _)| key.text == name)?;
        Some(self.entries.remove(at))
    }

    /// Takes the value of that name.
    pub fn value(&mut self, name: &'static str) -> Option<&'t Node> {
        self.take(name).map(|(_, node)| node)
    }

    /// Takes the value of that name, or reports `E105`.
    pub fn required(&mut self, name: &'static str, example: &str, problems: &mut Problems) -> Option<&'t Node> {
        let found = self.value(name);
        if found.is_none() && !self.has_slip_of(name) {
            let fault = Diagnostic::error("E105", format!("{} has no `{name}`", self.what)).at(&self.place, "");
            problems.push(fault.help(format!("add `{name}: {example}`")));
        }
        found
    }

    /// Reports `E190` for a key that the language has and this version does not act on.
    pub fn later(&mut self, name: &'static str, problems: &mut Problems) {
        if let Some((key, _)) = self.take(name) {
            problems.push(later(&key.place, &format!("`{name}` is")));
        }
    }

    /// What stays when every known key was taken: names that the file itself defines.
    pub fn rest(&mut self) -> Vec<Entry<'t>> {
        std::mem::take(&mut self.entries)
    }

    /// Whether a key that nobody took is probably meant to be `name`.
    pub fn has_slip_of(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| nearest(&key.text, self.asked.iter().copied()) == Some(name))
    }

    /// Where the map stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How messages call the map.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Reports `E104` for every key that nobody asked for. `label` names the kind: `not a budget key`.
    pub fn finish(self, label: &str, problems: &mut Problems) {
        for (at, (key, _)) in self.entries.iter().enumerate() {
            let mut fault = Diagnostic::error("E104", format!("unknown key `{}` in {}", key.text, self.what));
            fault = fault.at(&key.place, label);
            let near = (at < MOST_SHOWN).then(|| nearest(&key.text, self.asked.iter().copied())).flatten();
            if let Some(near) = near {
                fault = fault.help(format!("did you mean `{near}`?"));
            }
            problems.push(fault.note(format!("valid here: {}", self.asked.join(", "))));
        }
    }
}

/// A message for what is understood and not supported yet.
pub fn later(place: &Place, what: &str) -> Diagnostic {
    Diagnostic::error("E190", format!("{what} not supported yet"))
        .at(place, "not supported yet")
        .help("leave it out: a rule that is silently ignored would be worse than an error")
}

/// The entries of a map, or `E106`.
pub fn expect_map<'t>(node: &'t Node, what: &str, problems: &mut Problems) -> Option<Vec<Entry<'t>>> {
    match &node.kind {
        Kind::Map(entries) => Some(entries.iter().map(|(key, value)| (key, value)).collect()),
        _ => wrong_kind(node, what, "keys with values", problems),
    }
}

/// The text of a scalar, or `E106`.
pub fn expect_str<'t>(node: &'t Node, what: &str, problems: &mut Problems) -> Option<&'t str> {
    match &node.kind {
        Kind::Scalar { text, .. } => Some(text),
        _ => wrong_kind(node, what, "a single value", problems),
    }
}

/// The items of a list; a single value stands for a list of one. Otherwise `E106`.
pub fn expect_list<'t>(node: &'t Node, what: &str, problems: &mut Problems) -> Option<Vec<&'t Node>> {
    match &node.kind {
        Kind::List(items) => Some(items.iter().collect()),
        Kind::Scalar { .. } => Some(vec![node]),
        _ => wrong_kind(node, what, "a list", problems),
    }
}

/// Exactly `true` or `false`, unquoted, or `E106`.
pub fn expect_bool(node: &Node, what: &str, problems: &mut Problems) -> Option<bool> {
    match &node.kind {
        Kind::Scalar { text, quoted: false } if text == "true" => Some(true),
        Kind::Scalar { text, quoted: false } if text == "false" => Some(false),
        Kind::Scalar { text, quoted: false } => {
            let fault = Diagnostic::error("E106", format!("{what} must be `true` or `false`"));
            problems.push(fault.at(&node.place, format!("`{text}` is a text in YAML 1.2")));
            None
        }
        _ => wrong_kind(node, what, "`true` or `false`", problems),
    }
}

/// A whole number, or `E112`.
pub fn expect_integer(node: &Node, what: &str, problems: &mut Problems) -> Option<u64> {
    let text = expect_str(node, what, problems)?;
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    if number.is_none() {
        problems.push(
            Diagnostic::error("E112", format!("{what} must be a whole number")).at(&node.place, "not a whole number"),
        );
    }
    number
}

/// One of a closed list of words, or `E111` with the nearest.
pub fn expect_word<T: Copy>(node: &Node, what: &str, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let text = expect_str(node, what, problems)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let names = words.iter().map(|(word, _)| *word);
    let mut fault = Diagnostic::error("E111", format!("`{text}` is not a value of {what}")).at(&node.place, "");
    if let Some(near) = nearest(text, names.clone()) {
        fault = fault.help(format!("did you mean `{near}`?"));
    }
    problems.push(fault.note(format!("valid here: {}", names.collect::<Vec<_>>().join(", "))));
    None
}

fn wrong_kind<T>(node: &Node, what: &str, wanted: &str, problems: &mut Problems) -> Option<T> {
    let found = match &node.kind {
        Kind::Null => "this is nothing",
        Kind::Scalar { quoted: true, .. } => "this is a text in quotes",
        Kind::Scalar { quoted: false, .. } => "this is a single value",
        Kind::List(_) => "this is a list",
        Kind::Map(_) => "these are keys with values",
    };
    problems.push(Diagnostic::error("E106", format!("{what} must be {wanted}")).at(&node.place, found));
    None
}

/// How many names are compared with a slip: a file may define a hundred thousand.
const MOST_COMPARED: usize = 2_000;

/// The most similar name, if one is similar enough to be a slip: distance at most a third of its length.
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let meant = plain(name);
    let farthest = |other: &str| (name.len().max(other.len()) / 3).max(1);
    names
        .take(MOST_COMPARED)
        .filter(|other| name.len().abs_diff(other.len()) <= farthest(other) || plain(other) == meant)
        .map(|other| (if plain(other) == meant { 0 } else { distance(name, other) }, other))
        .filter(|(distance, other)| *distance <= farthest(other))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(64).collect(), other.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    let cell = |rows: &[Vec<usize>], row: usize, column: usize| -> usize {
        rows.get(row).and_then(|row| row.get(column)).copied().unwrap_or(usize::MAX / 2)
    };
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = cell(&rows, i, j) + usize::from(a != b);
            let left = row.last().copied().unwrap_or(0) + 1;
            let mut best = replaced.min(left).min(cell(&rows, i, j + 1) + 1);
            if i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a) {
                best = best.min(cell(&rows, i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    cell(&rows, one.len(), other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_and_a_different_word_does_not() {
        let keys = ["per", "match", "limit", "escalation", "endpointTag"];
        assert_eq!(nearest("limits", keys.into_iter()), Some("limit"));
        assert_eq!(nearest("endpoint_tag", keys.into_iter()), Some("endpointTag"));
        assert_eq!(nearest("mtach", keys.into_iter()), Some("match"));
        assert_eq!(nearest("banana", keys.into_iter()), None);
    }
}
