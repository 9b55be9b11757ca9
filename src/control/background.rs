//! What takes long and nobody waits for: it gives way to the threads that serve calls.

use std::panic::resume_unwind;

/// The lowest priority. A thread that is merely less important may still keep a core for milliseconds when all are busy.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// From here on this thread gives way to all others.
pub fn give_way() {
    // On Linux a thread has a niceness of its own. Elsewhere the whole process would become nice.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// Runs `work` on a thread of its own, which gives way to others, and waits for it.
pub(super) fn in_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let outcome = std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            give_way();
            work()
        });
        working.join()
    });
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    // Mutation: the caller's own thread becomes nice.
    #[test]
    fn what_is_done_in_the_background_gives_way_and_who_waits_for_it_does_not() {
        let own = getpriority_process(None).expect("a niceness");
        let there = in_background(|| getpriority_process(None).expect("a niceness"));
        assert_eq!(there, NICENESS.max(own));
        assert_eq!(getpriority_process(None), Ok(own));
    }
}
