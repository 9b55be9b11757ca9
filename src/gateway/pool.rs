//! Upstream connections of one core that wait for a request. One core owns its pool; nothing here locks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::coop::unconstrained;

use super::link::Link;

/// Idle links that are kept per provider and core.
const KEPT_IDLE: usize = 256;
/// How long a link may idle. Shorter than what providers' edges keep (60 s and more).
const IDLE_FOR: Duration = Duration::from_secs(45);

/// The idle links of one core to one provider and since when they are idle, the freshest last.
#[derive(Default)]
pub(super) struct Pool {
    idle: VecDeque<(Instant, Link)>,
}

impl Pool {
    /// An idle link that is still open, if there is one. One that the provider has closed is noticed before anything is written
    /// to it.
    pub(super) async fn take(pool: &RefCell<Self>) -> Option<Link> {
        loop {
            let (since, mut link) = pool.borrow_mut().idle.pop_back()?;
            if since.elapsed() > IDLE_FOR {
                pool.borrow_mut().idle.clear();
                return None;
            }
            // A task that has read much in its turn is told that nothing is there, wherever it looks.
            if unconstrained(poll_fn(|cx| Poll::Ready(link.is_silent(cx)))).await {
                return Some(link);
            }
        }
    }

    /// Takes a link back after its exchange. One that cannot take another is closed.
    pub(super) fn put(&mut self, link: Link) {
        if !link.is_idle() {
            return;
        }
        while self.idle.front().is_some_and(|(since, _)| since.elapsed() > IDLE_FOR) {
            self.idle.pop_front();
        }
        if self.idle.len() >= KEPT_IDLE {
            self.idle.pop_front();
        }
        self.idle.push_back((Instant::now(), link));
    }
}
