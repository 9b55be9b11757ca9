//! Things that carry the text by which they are found. A set of them does not keep that text, or a handle to it, a second time,
//! as a map would.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

/// What is found by a text of its own.
pub trait Keyed {
    /// That text. It never changes.
    fn key(&self) -> &str;
}

impl<T: Keyed> Keyed for Arc<T> {
    fn key(&self) -> &str {
        T::key(self)
    }
}

impl<T: Keyed> Keyed for Rc<T> {
    fn key(&self) -> &str {
        T::key(self)
    }
}

/// It, or a handle to it, in a set: its key finds it, and nothing else of that key is in there.
#[derive(Debug, Clone)]
pub struct ByKey<T>(pub T);

impl<T: Keyed> Borrow<str> for ByKey<T> {
    fn borrow(&self) -> &str {
        self.0.key()
    }
}

impl<T: Keyed> Hash for ByKey<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl<T: Keyed> PartialEq for ByKey<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<T: Keyed> Eq for ByKey<T> {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[derive(Debug)]
    struct Word(&'static str, u8);

    impl Keyed for Word {
        fn key(&self) -> &str {
            self.0
        }
    }

    // Mutations: it is found by something else; no two are equal.
    #[test]
    fn a_set_holds_one_of_each_key_and_finds_it_by_that() {
        let mut words = HashSet::new();
        for (text, number) in [("one", 1), ("two", 2), ("one", 3)] {
            words.replace(ByKey(Arc::new(Word(text, number))));
        }
        let found = |key| words.get(key).map(|ByKey(word)| word.1);
        assert_eq!((words.len(), found("one"), found("two"), found("three")), (2, Some(3), Some(2), None));
    }
}
