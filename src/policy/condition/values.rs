//! What is compared with a dimension must be a value that it can have: else the comparison would silently be false of every call.

use std::sync::Arc;

use super::fault::{Fault, Stretch};
use super::syntax::{Kind, Syntax};
use super::test::Text;
use super::{Known, Refused};

/// The item of a loop.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    /// What it is in turn, and where that is written.
    pub(super) list: Vec<(Arc<str>, Stretch)>,
}

impl Item {
    /// The item of a loop over what is written out; what is no text has its own fault.
    pub(super) fn of(name: &str, list: &[Syntax]) -> Self {
        let texts = list.iter().filter_map(|item| match &item.kind {
            Kind::Text(text) => Some((Arc::from(text.as_str()), item.stretch)),
            _ => None,
        });
        Self { name: Arc::from(name), list: texts.collect() }
    }
}

/// The faults of what `text` is compared with.
pub(super) fn impossible(text: &Text, beside: &Syntax, items: &[Item], known: Known<'_>) -> Vec<Fault> {
    let mut values = Vec::new();
    written(beside, items, &mut values);
    let fault = |(value, stretch): (&str, Stretch)| {
        let (code, message, help) = never(text, value, known)?;
        Some(Fault::new(code, stretch, message).help(help))
    };
    values.into_iter().filter(|(value, _)| !value.is_empty()).filter_map(fault).collect()
}

/// The texts that are written out for a part: its own, those of the loop whose item it is, those it chooses between.
fn written<'s>(syntax: &'s Syntax, items: &'s [Item], values: &mut Vec<(&'s str, Stretch)>) {
    match &syntax.kind {
        Kind::Text(text) => values.push((text, syntax.stretch)),
        Kind::Name(name) => {
            let item = items.iter().find(|item| *item.name == **name);
            values.extend(item.iter().flat_map(|item| item.list.iter().map(|(text, stretch)| (&**text, *stretch))));
        }
        Kind::Choice(parts) => {
            let [_, one, other] = &**parts;
            written(one, items, values);
            written(other, items, values);
        }
        _ => {}
    }
}

/// Why a text never is this. `None`: it may be. A choice never is what neither of its sides is.
fn never(text: &Text, value: &str, known: Known<'_>) -> Option<Refused> {
    match text {
        Text::Of(dimension) => known(*dimension, value),
        Text::Choice(parts) => {
            let (_, one, other) = &**parts;
            let why = never(one, value, known)?;
            never(other, value, known).map(|_| why)
        }
        Text::Literal(_) | Text::Item { .. } => None,
    }
}
