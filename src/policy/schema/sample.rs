//! A text with every key of the tables at once: it is no sensible file, and shows whether a reader takes every key.

use std::fmt::Write as _;

use super::{Map, Shape};

/// `root` with all its keys, in braces. In `into`, wherever it comes, one more entry stands: `extra`.
pub fn sample(root: &'static Map, into: &'static Map, extra: &str) -> String {
    Sample { into, extra }.map(root, 0)
}

struct Sample<'a> {
    into: &'static Map,
    extra: &'a str,
}

/// How deep maps that hold themselves are written.
const DEEPEST: usize = 12;

impl Sample<'_> {
    fn map(&self, map: &'static Map, depth: usize) -> String {
        let mut text = String::from("{ ");
        for key in map.keys() {
            let holds_itself = matches!(key.shape, Shape::Map(inner) if std::ptr::eq(inner, map));
            if depth < DEEPEST && !holds_itself {
                let _ = write!(text, "{}: {}, ", key.name, self.shape(key.shape, depth + 1));
            }
        }
        if let Some((name, shape)) = map.others {
            let _ = write!(text, "{name}: {}, ", self.shape(shape, depth + 1));
        }
        if std::ptr::eq(map, self.into) {
            let _ = write!(text, "{}, ", self.extra);
        }
        text.push('}');
        text
    }

    fn shape(&self, shape: Shape, depth: usize) -> String {
        match shape {
            Shape::Text(grammar) => quoted(grammar.examples.first().copied().unwrap_or("x")),
            Shape::Integer | Shape::Number => "500".to_owned(),
            Shape::Boolean => "true".to_owned(),
            Shape::Word(words) => words.first().copied().unwrap_or("x").to_owned(),
            Shape::OneOf(numbers) => numbers.first().copied().unwrap_or(1).to_string(),
            Shape::List(item) => format!("[{}]", self.shape(*item, depth)),
            Shape::Map(map) => self.map(map, depth),
            Shape::Named(name, item) => format!("{{ {}: {} }}", quoted(name), self.shape(*item, depth)),
            // The last is the fullest.
            Shape::Either(shapes) => shapes.last().map_or_else(String::new, |shape| self.shape(*shape, depth)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
