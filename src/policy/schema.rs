//! The language as tables: every key with its kind, whether it is required, and what it means.
//!
//! The readers take keys by hand, for the sake of places and of every mistake in one run. These tables are what editors and
//! the reference are made from; `tests/schema.rs` holds them against the readers, key by key and in both directions. A key
//! that a reader learns gets its row here, and the test says so until it has.

pub mod grammar;
mod json;
mod ladder;
mod markdown;
pub mod policy;
pub mod prices;
mod sample;
pub mod suite;

pub use json::json_schema;
pub use markdown::reference;
pub use sample::sample;

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A text of a grammar.
    Text(&'static Grammar),
    /// A whole number.
    Integer,
    /// A number with decimals.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these numbers.
    OneOf(&'static [u64]),
    /// A list, or one item of it.
    List(&'static Shape),
    /// A map of known keys.
    Map(&'static Map),
    /// A map whose keys are names, of which one is shown.
    Named(&'static str, &'static Shape),
    /// The one or the other.
    Either(&'static [Shape]),
}

/// A form that texts are written in.
#[derive(Debug, Clone, Copy)]
pub struct Grammar {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// Texts of it.
    pub examples: &'static [&'static str],
    /// A regular expression, in the words that all of its dialects share, that fits every text of it; it may fit others too.
    pub pattern: Option<&'static str>,
}

/// One key of a map.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// What it means.
    pub says: &'static str,
}

impl Key {
    /// A key that may be left out.
    pub const fn new(name: &'static str, shape: Shape, says: &'static str) -> Self {
        Self { name, shape, required: false, says }
    }

    /// A key without which the map means nothing.
    pub const fn required(name: &'static str, shape: Shape, says: &'static str) -> Self {
        Self { name, shape, required: true, says }
    }
}

/// A map of known keys.
#[derive(Debug)]
pub struct Map {
    /// Its name among the definitions.
    pub name: &'static str,
    /// What it is.
    pub says: &'static str,
    /// Its keys, in groups that several maps may share.
    pub keys: &'static [&'static [Key]],
    /// What other keys stand for, where names of the operator's own stand beside the known ones: an example, and its value.
    pub others: Option<(&'static str, Shape)>,
}

impl Map {
    /// Every key, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().copied().flatten()
    }
}

/// Every map that can be reached from one, itself first, each once, in the order of reading.
pub fn maps(root: &'static Map) -> Vec<&'static Map> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(map) = found.get(at) {
        let others = map.others.map(|(_, shape)| shape);
        let shapes: Vec<Shape> = map.keys().map(|key| key.shape).chain(others).collect();
        for map in shapes.into_iter().flat_map(maps_of) {
            if !found.iter().any(|known| std::ptr::eq(*known, map)) {
                found.push(map);
            }
        }
        at += 1;
    }
    found
}

fn maps_of(shape: Shape) -> Vec<&'static Map> {
    match shape {
        Shape::Map(map) => vec![map],
        Shape::List(item) | Shape::Named(_, item) => maps_of(*item),
        Shape::Either(shapes) => shapes.iter().copied().flat_map(maps_of).collect(),
        _ => Vec::new(),
    }
}

/// Every grammar that the maps use, in the order of reading.
pub fn grammars(root: &'static Map) -> Vec<&'static Grammar> {
    fn of(shape: Shape) -> Vec<&'static Grammar> {
        match shape {
            Shape::Text(grammar) => vec![grammar],
            Shape::List(item) | Shape::Named(_, item) => of(*item),
            Shape::Either(shapes) => shapes.iter().copied().flat_map(of).collect(),
            _ => Vec::new(),
        }
    }
    let mut found: Vec<&'static Grammar> = Vec::new();
    for map in maps(root) {
        let shapes = map.keys().map(|key| key.shape).chain(map.others.map(|(_, shape)| shape));
        for grammar in shapes.flat_map(of) {
            if !found.iter().any(|known| std::ptr::eq(*known, grammar)) {
                found.push(grammar);
            }
        }
    }
    found
}
