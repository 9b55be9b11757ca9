//! The patterns of one policy: each text becomes a table once, however often it is written, and all tables together have a
//! limit.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use super::pattern::{LARGEST_TABLE, Pattern, Unusable};

/// The most that the tables of a policy may take together, in bytes.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// The patterns that were made so far, and the room that is left.
#[derive(Debug)]
pub struct Patterns {
    made: RefCell<HashMap<Arc<str>, Result<Pattern, Unusable>>>,
    left: Cell<usize>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self::within(MOST_BYTES)
    }
}

impl Patterns {
    /// For what was within the limit when it was written, policy by policy.
    pub fn unlimited() -> Self {
        Self::within(usize::MAX)
    }

    fn within(left: usize) -> Self {
        Self { made: RefCell::default(), left: Cell::new(left) }
    }

    pub(super) fn pattern(&self, text: &str) -> Result<Pattern, Unusable> {
        if let Some(known) = self.made.borrow().get(text) {
            return known.clone();
        }
        if self.left.get() < LARGEST_TABLE {
            return Err(Unusable::NoRoom);
        }
        let made = Pattern::new(text);
        // One that is refused can have been as much work as the largest.
        let taken = made.as_ref().map_or(LARGEST_TABLE, Pattern::size);
        self.left.set(self.left.get().saturating_sub(taken));
        self.made.borrow_mut().insert(Arc::from(text), made.clone());
        made
    }
}
