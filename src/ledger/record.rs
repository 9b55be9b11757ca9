//! What the writer is told to write down, and what it says when that is on the disk.

use std::fmt;
use std::sync::Arc;

use crate::domain::clock::Timestamp;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::tenant::{Tenant, TenantId};
use crate::meter::counter::WindowCounter;
use crate::meter::reservation::count_also;

use super::changes::Grant;
use super::doubts::{Remainder, Resolution};
use super::entry::{LedgerEntry, TransitionEntry};

/// One thing to write down.
#[derive(Debug, Clone)]
pub enum Record {
    /// An attempt that ended. One with a known `attempt_id` is already there and changes nothing.
    Attempt(Box<LedgerEntry>),
    /// A step that a budget's counter reached. Only the first of a window counts.
    Transition(TransitionEntry),
    /// A tenant that the admin API put; it replaces one of the same name.
    Tenant(Box<Tenant>),
    /// A tenant that the admin API deleted.
    TenantGone(TenantId),
    /// More of a hard counter is to be leased to this node.
    Grant(Grant),
    /// A part of a lease is not needed any more.
    Return {
        /// Of which counter.
        counter: WindowCounter,
        /// Of which unit.
        unit: Unit,
        /// How much.
        amount: i64,
    },
    /// The counters of these identities begin anew: from here on rows are counted in them, and earlier ones by
    /// [`Record::Seeded`].
    Begin(Vec<Arc<str>>),
    /// What the rows before [`Record::Begin`] add to the counters of new identities, which are complete with it.
    Seeded {
        /// The sums.
        counters: Vec<Seed>,
        /// The identities.
        identities: Vec<Arc<str>>,
        /// When they were new: windows that had ended by then are not counted.
        since: Timestamp,
    },
    /// Nobody counts these identities any more.
    Retire(Vec<Arc<str>>),
    /// A remainder in doubt is resolved.
    Resolve(Resolution),
    /// Rows that correct rows of the past: all of them or none.
    Correct(Vec<LedgerEntry>),
}

/// The counters that a policy counts rows in. Calls in flight settle under the policy that they began with; the writer adds
/// what later ones count.
#[derive(Clone)]
pub struct Rules {
    /// The number of the policy's snapshot.
    pub snapshot: u64,
    /// Every counter that counts a row.
    pub counters: Arc<CountersOf>,
}

/// Finds the counters of a row.
pub type CountersOf = dyn Fn(&LedgerEntry) -> Vec<WindowCounter> + Send + Sync;

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

impl Rules {
    /// Adds the counters that do not count the row yet, here and in memory.
    pub fn add_missing(&self, entry: &mut LedgerEntry) {
        let amounts = entry.amounts();
        if amounts == [0; 3] {
            return;
        }
        for counter in (self.counters)(entry) {
            count_also(&mut entry.postings, &counter, amounts);
        }
    }
}

impl Record {
    /// Whether it is kept for later when it cannot be written now. What only answers a caller is not.
    pub(super) fn is_kept(&self) -> bool {
        !matches!(self, Self::Grant(_) | Self::Return { .. } | Self::Begin(_) | Self::Resolve(_) | Self::Correct(_))
    }
}

/// Where a counter of a new identity begins.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The counter.
    pub counter: WindowCounter,
    /// What earlier rows add up to.
    pub posted: Amounts,
    /// What earlier rows have in doubt.
    pub in_doubt: Amounts,
}

/// What a committed batch has done besides its rows.
#[derive(Debug, Default)]
pub struct Done {
    /// What each [`Record::Grant`] got, in their order.
    pub granted: Vec<i64>,
    /// What [`Record::Resolve`] has resolved.
    pub resolved: Option<Remainder>,
    /// The number of the last entry there is.
    pub last: i64,
}
