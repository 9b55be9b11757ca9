//! A condition that cannot be wrong: every part has its type, so to judge one always ends, never fails and allocates nothing.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::policy::budget::Dimension;

use super::pattern::Pattern;

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Same,
    Other,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Same => ordering.is_eq(),
            Self::Other => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::More => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

/// Where a text is looked for in another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Start,
    End,
    Anywhere,
}

/// What is true or false of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Literal(bool),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Choice(Box<[Self; 3]>),
    /// `same` is whether both must be the same, or differ.
    Truths {
        same: bool,
        sides: Box<[Self; 2]>,
    },
    Texts {
        order: Order,
        sides: [Text; 2],
    },
    Numbers {
        order: Order,
        sides: [Number; 2],
    },
    OneOf {
        text: Text,
        list: Arc<[Arc<str>]>,
    },
    Holds {
        part: Part,
        whole: Text,
        what: Text,
    },
    Fits {
        text: Text,
        pattern: Pattern,
    },
    /// With `every` the body holds for every item, else for one at least.
    Each {
        every: bool,
        /// How many loops are around it.
        depth: usize,
        item: Arc<str>,
        list: Arc<[Arc<str>]>,
        body: Box<Self>,
    },
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Literal(Arc<str>),
    Of(Dimension),
    /// The item of the loop at that depth.
    Item {
        depth: usize,
        name: Arc<str>,
    },
    Choice(Box<(Test, Self, Self)>),
}

/// A whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Number {
    Literal(i64),
    /// The characters of a text.
    Size(Box<Text>),
    Choice(Box<(Test, Self, Self)>),
}

/// How many loops may stand within each other.
pub(super) const LOOPS: usize = 2;

/// What a condition is judged with. A dimension may be unknown.
pub(super) struct Scene<'s, F> {
    known: &'s F,
    items: [&'s str; LOOPS],
}

impl<'s, F: Fn(Dimension) -> Option<&'s str>> Scene<'s, F> {
    pub(super) fn new(known: &'s F) -> Self {
        Self { known, items: [""; LOOPS] }
    }

    fn with(&self, depth: usize, item: &'s str) -> Self {
        let mut items = self.items;
        if let Some(place) = items.get_mut(depth) {
            *place = item;
        }
        Self { known: self.known, items }
    }
}

impl Test {
    /// Whether it holds. `None`: that depends on something unknown; never where everything is known.
    pub(super) fn judge<'s, F: Fn(Dimension) -> Option<&'s str>>(&'s self, scene: &Scene<'s, F>) -> Option<bool> {
        match self {
            Self::Literal(truth) => Some(*truth),
            Self::Not(test) => test.judge(scene).map(|truth| !truth),
            Self::All(tests) => fold(true, tests.iter().map(|test| test.judge(scene))),
            Self::Any(tests) => fold(false, tests.iter().map(|test| test.judge(scene))),
            Self::Choice(parts) => {
                let [asked, one, other] = &**parts;
                let judge = |test: &'s Self| test.judge(scene);
                choose(judge(asked), || judge(one), || judge(other))
            }
            Self::Truths { same, sides } => {
                let [one, other] = &**sides;
                Some((one.judge(scene)? == other.judge(scene)?) == *same)
            }
            Self::Texts { order, sides: [one, other] } => {
                let compared = || Some(one.read(scene)?.cmp(other.read(scene)?));
                compared().or_else(|| (one == other).then_some(Ordering::Equal)).map(|found| order.holds(found))
            }
            Self::Numbers { order, sides: [one, other] } => {
                let compared = || Some(one.read(scene)?.cmp(&other.read(scene)?));
                compared().or_else(|| (one == other).then_some(Ordering::Equal)).map(|found| order.holds(found))
            }
            Self::OneOf { list, .. } if list.is_empty() => Some(false),
            Self::OneOf { text, list } => {
                let text = text.read(scene)?;
                Some(list.iter().any(|item| **item == *text))
            }
            Self::Holds { part, whole, what } => match (whole.read(scene), what.read(scene)) {
                (_, Some("")) => Some(true),
                (Some(whole), Some(what)) => Some(part.is_in(whole, what)),
                _ => None,
            },
            Self::Fits { text, pattern } => Some(pattern.fits(text.read(scene)?)),
            Self::Each { every, depth, list, body, .. } => {
                fold(*every, list.iter().map(|item| body.judge(&scene.with(*depth, item))))
            }
        }
    }
}

impl Part {
    fn is_in(self, whole: &str, what: &str) -> bool {
        match self {
            Self::Start => whole.starts_with(what),
            Self::End => whole.ends_with(what),
            Self::Anywhere => whole.contains(what),
        }
    }
}

impl Text {
    fn read<'s, F: Fn(Dimension) -> Option<&'s str>>(&'s self, scene: &Scene<'s, F>) -> Option<&'s str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Of(dimension) => (scene.known)(*dimension),
            Self::Item { depth, .. } => scene.items.get(*depth).copied(),
            Self::Choice(parts) => {
                let (asked, one, other) = &**parts;
                choose(asked.judge(scene), || one.read(scene), || other.read(scene))
            }
        }
    }
}

impl Number {
    fn read<'s, F: Fn(Dimension) -> Option<&'s str>>(&'s self, scene: &Scene<'s, F>) -> Option<i64> {
        match self {
            Self::Literal(number) => Some(*number),
            Self::Size(text) => Some(i64::try_from(text.read(scene)?.chars().count()).unwrap_or(i64::MAX)),
            Self::Choice(parts) => {
                let (asked, one, other) = &**parts;
                choose(asked.judge(scene), || one.read(scene), || other.read(scene))
            }
        }
    }
}

/// Whether all are `sought`, as far as is known: one that is not decides, whatever the others are.
fn fold(sought: bool, truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(sought);
    for truth in truths {
        match truth {
            Some(truth) if truth != sought => return Some(!sought),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

/// The one or the other; where it is not known which, what both are.
fn choose<T: PartialEq>(
    asked: Option<bool>,
    one: impl FnOnce() -> Option<T>,
    other: impl FnOnce() -> Option<T>,
) -> Option<T> {
    match asked {
        Some(true) => one(),
        Some(false) => other(),
        None => one().filter(|one| other().as_ref() == Some(one)),
    }
}
