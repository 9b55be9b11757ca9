//! The budgets whose counters the ledger keeps, and where a row belongs among them. The text of an identity says that alone:
//! no policy is asked, and nothing is guessed where another version of Plimsoll wrote the text.

use std::sync::Arc;

use rusqlite::Connection;

use crate::domain::clock::Timestamp;
use crate::domain::standing::Dimensions;
use crate::domain::window::Window;
use crate::policy::condition::Patterns;
use crate::policy::identity::Identity;

use super::counters;
use super::error::LedgerError;

/// The identities whose counters are kept.
#[derive(Default)]
pub(super) struct Kept {
    identities: Vec<One>,
    /// Texts that cannot be read.
    pub(super) strange: Vec<Arc<str>>,
}

struct One {
    text: Arc<str>,
    identity: Identity,
    since: Timestamp,
}

impl Kept {
    pub(super) fn read(connection: &Connection) -> Result<Self, LedgerError> {
        let mut kept = Self::default();
        let patterns = Patterns::unlimited();
        for (text, since) in counters::complete(connection)? {
            match Identity::parse(&text, &patterns) {
                Some(identity) => kept.identities.push(One { text, identity, since }),
                None => kept.strange.push(text),
            }
        }
        Ok(kept)
    }

    /// The counters that hold a row: the identity's number, the key, the window.
    pub(super) fn places(
        &self,
        dimensions: &Dimensions<'_>,
        at: Timestamp,
    ) -> impl Iterator<Item = (usize, String, Window)> {
        self.identities.iter().enumerate().filter_map(move |(index, one)| {
            let (key, window) = one.identity.place(dimensions, at)?;
            one.holds(window).then_some((index, key, window))
        })
    }

    /// The number of an identity and its window from `start`, if its counters of that window hold every row.
    pub(super) fn find(&self, text: &str, start: Timestamp) -> Option<(usize, Window)> {
        let index = self.identities.iter().position(|one| *one.text == *text)?;
        let one = &self.identities[index];
        let window = one.identity.window(start);
        one.holds(window).then_some((index, window))
    }

    pub(super) fn text(&self, index: usize) -> &Arc<str> {
        &self.identities[index].text
    }

    pub(super) fn budget(&self, index: usize) -> &str {
        &self.identities[index].identity.budget
    }
}

impl One {
    /// Windows that were over when the budget was new are not added up: what is stored of them are doubts of an earlier
    /// life, and calls that settled late.
    fn holds(&self, window: Window) -> bool {
        window.end > self.since
    }
}
