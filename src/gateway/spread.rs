//! How connections spread over cores.
//!
//! The kernel deals new connections out by a hash of their addresses, so by chance one core can have many more than another,
//! and a connection stays where it is for as long as it lives. Whoever accepts one therefore hands it over when another core has
//! clearly fewer. No connection that is open is ever moved.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A core may have this many connections more than the one that has fewest, and an eighth of those besides: to hand over
/// wakes another thread, which short connections should not pay for.
const SLACK: usize = 1;

/// A connection on its way to another core.
pub(super) struct Handed {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) seat: Seat,
}

/// What one core may say to the others.
pub(super) struct Spread {
    counts: Arc<[AtomicUsize]>,
    inboxes: Vec<UnboundedSender<Handed>>,
}

/// The spread over so many cores, and the inbox of each.
pub(super) fn spread(cores: usize) -> (Arc<Spread>, Vec<UnboundedReceiver<Handed>>) {
    let (inboxes, outlets) = (0..cores).map(|_| unbounded_channel()).unzip();
    let counts = (0..cores).map(|_| AtomicUsize::new(0)).collect();
    (Arc::new(Spread { counts, inboxes }), outlets)
}

impl Spread {
    /// A place for a connection that `core` accepted: there, or where there are clearly fewer.
    pub(super) fn seat(&self, core: usize) -> Seat {
        let count = |core: usize| self.counts.get(core).map_or(0, |count| count.load(Ordering::Relaxed));
        let (emptiest, fewest) =
            (0..self.counts.len()).map(|core| (core, count(core))).min_by_key(|(_, count)| *count).unwrap_or((core, 0));
        let core = if count(core) > fewest + SLACK + fewest / 8 { emptiest } else { core };
        if let Some(count) = self.counts.get(core) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Seat { counts: Arc::clone(&self.counts), core }
    }

    /// Connections on all cores.
    pub(super) fn connections(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Sends a connection to the core of its seat; it comes back from one that has stopped.
    pub(super) fn hand_over(&self, handed: Handed) -> Option<Handed> {
        match self.inboxes.get(handed.seat.core) {
            Some(inbox) => inbox.send(handed).err().map(|refused| refused.0),
            None => Some(handed),
        }
    }
}

/// A connection's place among those of its core; free again when dropped.
pub(super) struct Seat {
    counts: Arc<[AtomicUsize]>,
    pub(super) core: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(count) = self.counts.get(self.core) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(spread: &Spread) -> Vec<usize> {
        spread.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    proptest! {
        /// Whichever cores the kernel chooses, none has clearly more than another while connections only come.
        // Mutation: the seat is always that of the core that accepts.
        #[test]
        fn no_core_is_left_idle_while_another_is_crowded(accepted in proptest::collection::vec(0usize..4, 1..400)) {
            let (spread, _inboxes) = spread(4);
            let seats: Vec<Seat> = accepted.iter().map(|core| spread.seat(*core)).collect();
            let counts = counts(&spread);
            let (fewest, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
            prop_assert!(most <= fewest + SLACK + fewest / 8 + 1, "{:?}", counts);
            prop_assert_eq!(spread.connections(), seats.len());
            drop(seats);
            prop_assert_eq!(spread.connections(), 0);
        }
    }

    #[test]
    fn a_connection_stays_where_it_was_accepted_when_cores_are_about_even() {
        let (spread, _inboxes) = spread(2);
        let seats: Vec<Seat> = [0, 1, 0, 1, 1].into_iter().map(|core| spread.seat(core)).collect();
        assert_eq!(seats.iter().map(|seat| seat.core).collect::<Vec<_>>(), [0, 1, 0, 1, 1]);
    }
}
