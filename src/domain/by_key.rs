//! Things that carry the text by which they are found. A set of them does not keep that text, or a handle to it, a second time,
//! as a map would.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// What is found by a text of its own.
pub trait Keyed {
    /// That text. It never changes.
    fn key(&self) -> &str;
}

/// A handle in a set, where its key finds it and no other is equal to it.
#[derive(Debug, Clone)]
pub struct ByKey<P>(pub P);

impl<P: Deref<Target: Keyed>> Borrow<str> for ByKey<P> {
    fn borrow(&self) -> &str {
        self.0.key()
    }
}

impl<P: Deref<Target: Keyed>> Hash for ByKey<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl<P: Deref<Target: Keyed>> PartialEq for ByKey<P> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<P: Deref<Target: Keyed>> Eq for ByKey<P> {}
