//! A panic stays with the request that it happened in: other calls, also on the same connection, go on.
//!
//! What panicked is never polled again, only dropped; the holds of its call are settled by that drop. Nothing is hidden: every
//! panic is an error in the log and a count.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// Panics since the process began. They are the process's own, like its memory: no gateway of it can go on counting another's.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// How many panics were caught since the process began.
pub fn caught_so_far() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

/// Runs `work`; `None` when it panicked. What it was changing is not used afterwards, except by drops.
pub(super) fn caught<T>(place: &'static str, work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work))
        .inspect_err(|_| {
            CAUGHT.fetch_add(1, Ordering::Relaxed);
            tracing::error!(place, "a panic was caught: this call fails, others go on");
        })
        .ok()
}

/// Polls `future` to its end; `None` when it panicked. What it held is dropped, and settled, while the panic unwinds.
pub(super) async fn unharmed<F: Future>(place: &'static str, mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match caught(place, || future.as_mut().poll(cx)) {
        Some(polled) => polled.map(Some),
        None => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn a_panic_ends_the_future_that_it_happened_in_and_nothing_else() {
        let before = caught_so_far();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let seven = pin!(async { 7 });
        let mut fine = pin!(unharmed("a test", seven));
        assert_eq!(fine.as_mut().poll(&mut cx), Poll::Ready(Some(7)));
        let bad = pin!(async { panic!("in a poll") });
        let mut broken = pin!(unharmed("a test", bad));
        assert_eq!(broken.as_mut().poll(&mut cx), Poll::<Option<()>>::Ready(None));
        assert_eq!(caught("a test", || 8), Some(8));
        assert!(caught_so_far() > before);
    }
}
