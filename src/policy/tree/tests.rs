//! Trees of small texts: places, kinds, repairs.

use super::*;
use crate::diagnostic::{Source, render};

fn tree(text: &str) -> (Option<Node>, String) {
    let source = Source::new("x.yaml", text);
    let tree = read(&source);
    let shown = render(&tree.diagnostics, &[source]);
    (tree.root, shown)
}

fn entries(text: &str) -> Vec<(Key, Node)> {
    match tree(text).0.map(|node| node.kind) {
        Some(Kind::Map(entries)) => entries,
        other => panic!("not a map: {other:?}"),
    }
}

#[test]
fn keys_and_values_know_where_they_stand() {
    let entries = entries("a: 1\nlänge:\n  - \"zwei\"\n");
    let places: Vec<(u32, u32, u32)> = entries
        .iter()
        .flat_map(|(key, node)| [&key.place, &node.place])
        .map(|at| (at.line, at.column, at.length))
        .collect();
    assert_eq!(places[..3], [(1, 1, 1), (1, 4, 1), (2, 1, 5)]);
    let Kind::List(items) = &entries[1].1.kind else { panic!("a list") };
    assert_eq!((items[0].place.line, items[0].place.column, items[0].place.length), (3, 5, 6));
}

#[test]
fn words_of_yaml_1_1_stay_texts_and_nothing_is_null() {
    for (_, node) in entries("a: yes\nb: on\nc: 012\nd: 'null'\n") {
        assert!(matches!(node.kind, Kind::Scalar { .. }));
    }
    for (_, node) in entries("a:\nb: ~\nc: null\n") {
        assert_eq!(node.kind, Kind::Null);
    }
    assert_eq!(tree("# nothing but a comment\n"), (None, String::new()));
}

#[test]
fn a_key_that_is_given_twice_is_shown_at_both_places() {
    insta::assert_snapshot!(tree("a: 1\nb: 2\na: 3\n").1, @r"
    error[E103]: `a` is given twice
     --> x.yaml:3:1
      |
    1 | a: 1
      | - first given here
      |
    3 | a: 3
      | ^ again here
      = help: keep one of the two
    ");
}

#[test]
fn a_thousands_separator_is_put_together_again() {
    let (root, shown) = tree("x: { limit: $1,000,000/month, b: 2 }\n");
    let Some(Node { kind: Kind::Map(entries), .. }) = root else { panic!("a map") };
    let Kind::Map(inner) = &entries[0].1.kind else { panic!("a map") };
    assert!(matches!(&inner[0].1.kind, Kind::Scalar { text, .. } if text == "$1000000/month"));
    assert_eq!((inner.len(), shown.matches("error[E108]").count()), (2, 1), "{shown}");
    assert_eq!(tree("x: { a: 1, 200 }\n").1, "", "a space after the comma is a list of keys");
}

#[test]
fn stars_are_repaired_wherever_they_stand() {
    let (root, shown) = tree("*: 1\n*.x: 2\na: *\nb: [*.y, z]\n");
    assert_eq!(shown.matches("error[E102]").count(), 4, "{shown}");
    assert!(root.is_some(), "{shown}");
}
