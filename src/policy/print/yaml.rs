//! The form of what is printed: maps, lists and values as YAML that reads back as the same texts.
//!
//! What fits on a line stands on one, but for sections and their rules, which are compared line by line. A text of the
//! operator's is quoted whenever some reader of YAML could take it for something else: a number, a truth value, nothing,
//! a part of the form.

use std::fmt::{Display, Write as _};

/// The longest line that braces are put on.
const LINE: usize = 110;
/// In bytes. YAML takes 1,024 letters at most for a key on one line with its value, and a byte may be written in six.
const LONGEST_KEY: usize = 128;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Yaml {
    /// A word, number or amount of the language. It is never quoted.
    Word(String),
    /// A text of the operator's.
    Text(String),
    /// Items.
    List(Vec<Self>),
    /// Keys with values.
    Map(Vec<(String, Self)>),
    /// Keys with values, each on a line of its own.
    Open(Vec<(String, Self)>),
}

impl Yaml {
    pub(super) fn word(word: impl Display + Copy) -> Self {
        Self::Word(word.to_string())
    }

    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(text.as_ref().to_owned())
    }

    pub(super) fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    pub(super) fn words<T: Display + Copy>(words: impl IntoIterator<Item = T>) -> Self {
        Self::List(words.into_iter().map(Self::word).collect())
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Word(_) | Self::Text(_) => false,
            Self::List(items) => items.iter().any(Self::is_open),
            Self::Map(entries) => entries.iter().any(|(key, value)| key.len() > LONGEST_KEY || value.is_open()),
            Self::Open(entries) => !entries.is_empty(),
        }
    }

    /// On one line.
    fn line(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(text) => quoted_if_needed(text, true),
            Self::List(items) => format!("[{}]", items.iter().map(Self::line).collect::<Vec<_>>().join(", ")),
            Self::Map(entries) | Self::Open(entries) if entries.is_empty() => "{}".to_owned(),
            Self::Map(entries) | Self::Open(entries) => {
                let entry =
                    |(key, value): &(String, Self)| format!("{}: {}", quoted_if_needed(key, true), value.line());
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A whole file: its keys, those with a map or list of maps apart from each other by an empty line.
pub(super) fn file(entries: &[(String, Yaml)]) -> String {
    let mut text = String::new();
    for (key, value) in entries {
        if value.is_open() {
            text.push('\n');
        }
        entry(&mut text, 0, key, value);
    }
    text
}

fn entry(text: &mut String, indent: usize, key: &str, value: &Yaml) {
    let shown = quoted_if_needed(key, false);
    if key.len() > LONGEST_KEY {
        let _ = write!(text, "? {shown}\n{:indent$}:", "");
    } else {
        let _ = write!(text, "{shown}:");
    }
    let used = indent + shown.chars().count() + 2;
    match value {
        Yaml::Word(_) | Yaml::List(_) | Yaml::Map(_) | Yaml::Open(_) if !value.is_open() && fits(used, value) => {
            let _ = writeln!(text, " {}", value.line());
        }
        Yaml::Word(word) => {
            let _ = writeln!(text, " {word}");
        }
        Yaml::Text(value) => {
            let _ = writeln!(text, " {}", quoted_if_needed(value, false));
        }
        Yaml::List(items) => {
            text.push('\n');
            for item in items {
                let _ = write!(text, "{:indent$}  - ", "");
                self::item(text, indent + 4, item);
            }
        }
        Yaml::Map(entries) | Yaml::Open(entries) => {
            text.push('\n');
            for (key, value) in entries {
                let _ = write!(text, "{:indent$}  ", "");
                entry(text, indent + 2, key, value);
            }
        }
    }
}

/// An item of a list, behind its dash.
fn item(text: &mut String, indent: usize, item: &Yaml) {
    match item {
        Yaml::Map(entries) | Yaml::Open(entries) if item.is_open() || !fits(indent, item) => {
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    let _ = write!(text, "{:indent$}", "");
                }
                entry(text, indent, key, value);
            }
        }
        Yaml::Text(value) => {
            let _ = writeln!(text, "{}", quoted_if_needed(value, false));
        }
        item => {
            let _ = writeln!(text, "{}", item.line());
        }
    }
}

fn fits(used: usize, value: &Yaml) -> bool {
    let is_empty = match value {
        Yaml::Word(text) | Yaml::Text(text) => text.is_empty(),
        Yaml::List(items) => items.is_empty(),
        Yaml::Map(entries) | Yaml::Open(entries) => entries.is_empty(),
    };
    is_empty || used + value.line().chars().count() <= LINE
}

/// Words that some reader of YAML takes for nothing or for a truth value, in any capitals.
const TAKEN: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// The text as it can stand in a file; `in_braces` a comma ends it.
pub(super) fn quoted_if_needed(text: &str, in_braces: bool) -> String {
    if is_plain(text, in_braces) { text.to_owned() } else { quoted(text) }
}

/// A text that begins like a word goes on like one or more: nothing in it has a meaning of its own.
fn is_plain(text: &str, in_braces: bool) -> bool {
    let mut letters = text.chars();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, '_' | '/' | '$'));
    let goes_on = letters.all(|letter| {
        letter.is_ascii_alphanumeric()
            || matches!(letter, '_' | '-' | '.' | '/' | '@' | '+' | '*' | '$' | '=' | '(' | ')' | ' ' | ':' | ';')
            || (letter == ',' && !in_braces)
    });
    let is_word = !TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(text));
    begins && goes_on && is_word && !text.contains(": ") && !text.ends_with([' ', ':', ','])
}

/// In double quotes; what nobody can see, and what would end the line, by its number.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            unseen if is_unseen(unseen) => {
                let number = u32::from(unseen);
                let _ =
                    if number > 0xFFFF { write!(quoted, "\\U{number:08X}") } else { write!(quoted, "\\u{number:04X}") };
            }
            seen => quoted.push(seen),
        }
    }
    quoted.push('"');
    quoted
}

/// Controls, spaces and line ends other than the usual ones, marks of direction, and what is no character.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || (letter.is_whitespace() && letter != ' ')
        || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(letter, '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(letter) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::tree::{Kind, Node, read};

    fn root(text: &str) -> Node {
        let tree = read(&Source::new("printed.yaml", text));
        assert!(tree.diagnostics.is_empty(), "{:?}\n{text}", tree.diagnostics);
        tree.root.expect("a document")
    }

    /// The same value as the loader would see it, if it reads what was meant.
    fn is_read_as(node: &Node, value: &Yaml) -> bool {
        match (&node.kind, value) {
            (Kind::Scalar { text, .. }, Yaml::Word(meant) | Yaml::Text(meant)) => text == meant,
            (Kind::List(found), Yaml::List(meant)) => {
                found.len() == meant.len() && found.iter().zip(meant).all(|(node, value)| is_read_as(node, value))
            }
            (Kind::Map(found), Yaml::Map(meant) | Yaml::Open(meant)) => {
                let same = |((key, node), (name, value)): (&(_, Node), &(String, Yaml))| {
                    let key: &crate::policy::tree::Key = key;
                    key.text == *name && is_read_as(node, value)
                };
                found.len() == meant.len() && found.iter().zip(meant).all(same)
            }
            _ => false,
        }
    }

    /// Texts that look like something else.
    #[rustfmt::skip]
    const ODD: &[&str] = &[
        "", " ", "~", "null", "Null", "true", "No", "y", "0x1F", "1_000", "1e3", ".inf", "-", "- a", "? a", "a: b",
        "a:", "a #b", "#a", "*", "&a", "!a", "%a", "@a", "`a", "|", ">", "[a", "{a", "a, b", "'a'", "\"", "\\",
        "---", "...", "a\nb", "a\n\nb ", " a", "a ", "\t", "\r\n", "\u{85}", "\u{2028}", "\u{feff}", "\u{202e}",
        "2026-01-31", "12:30", "=", "<<", "é", "digest.*", "slack:llm-margin", "a:b", "https://a.example/x?y=1#z",
        "\u{1F600}", "a\u{0}",
    ];

    /// Those, beside any text.
    fn texts() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(ODD);
        prop_oneof![
            20 => odd.prop_map(str::to_owned),
            20 => "(?s).{0,12}",
            20 => "[a-z*:,# \\[\\]{}'\"&!|>%@`?-]{0,8}",
            2 => "[a-z\\x00]{120,135}",
            1 => "[a-z]{1100}",
        ]
    }

    /// Nothing that is printed holds lists of lists.
    fn unlisted(value: Yaml) -> Yaml {
        match value {
            Yaml::List(items) => items.into_iter().next().map_or(Yaml::Map(Vec::new()), unlisted),
            value => value,
        }
    }

    fn values() -> impl Strategy<Value = Yaml> {
        let leaf = texts().prop_map(Yaml::Text);
        leaf.prop_recursive(4, 40, 5, |inner| {
            let items = inner.clone().prop_map(unlisted);
            let entries = || prop::collection::btree_map(texts(), inner.clone(), 0..5);
            prop_oneof![
                prop::collection::vec(items, 0..5).prop_map(Yaml::List),
                entries().prop_map(|entries| Yaml::Map(entries.into_iter().collect())),
                entries().prop_map(|entries| Yaml::Open(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        // Mutations: a comma is plain in braces; `no` is plain; a line end is not escaped; long keys stand with their values.
        #[test]
        fn what_is_written_reads_back_as_what_was_meant(entries in prop::collection::btree_map(texts(), values(), 1..5)) {
            let entries: Vec<(String, Yaml)> = entries.into_iter().collect();
            let text = file(&entries);
            prop_assert!(is_read_as(&root(&text), &Yaml::Map(entries)), "{text}");
        }

        #[test]
        fn texts_are_texts_to_readers_that_know_types_too(text in texts()) {
            for shown in [quoted_if_needed(&text, false), format!("[{}]", quoted_if_needed(&text, true))] {
                let read: serde_json::Value = serde_yaml::from_str(&shown).expect("YAML");
                let first = if let serde_json::Value::Array(items) = &read { items.first() } else { Some(&read) };
                prop_assert_eq!(first, Some(&serde_json::Value::String(text.clone())), "{}", shown);
            }
        }
    }

    #[test]
    fn only_what_needs_quotes_has_them() {
        for plain in
            ["growth", "digest.*", "slack:llm-margin", "dana@example.com", "https://a.example/x", "gpt-4o", "$5"]
        {
            assert_eq!(quoted_if_needed(plain, true), plain);
        }
        assert_eq!(quoted_if_needed("January renewal, overrun approved", false), "January renewal, overrun approved");
        insta::assert_snapshot!(
            ["*", "yes", "4o", "a: b", "a, b", "", "two\nlines", "left\u{202e}right"].map(|text| quoted_if_needed(text, true)).join(" "),
            @r#""*" "yes" "4o" "a: b" "a, b" "" "two\nlines" "left\u202Eright""#
        );
    }
}
