//! What takes long and nobody waits for: it gives way to the threads that serve calls.

use std::panic::resume_unwind;
#[cfg(target_os = "linux")]
use std::time::Duration;

/// The lowest priority.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// How long such a thread runs before one that wakes up takes its core. By default that is 3 ms, whatever its priority.
#[cfg(target_os = "linux")]
const TURN: Duration = Duration::from_micros(100);

/// From here on this thread gives way to all others.
pub fn give_way() {
    // On Linux a thread has a niceness of its own. Elsewhere the whole process would become nice.
    #[cfg(target_os = "linux")]
    if !take_short_turns() {
        let _ = rustix::process::setpriority_process(None, NICENESS);
    }
}

/// Sets both (`sched_setattr(2)`). A kernel before 6.12 knows no turns and sets the niceness alone.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that rustix does not have")]
fn take_short_turns() -> bool {
    let wanted = libc::sched_attr {
        size: size_of::<libc::sched_attr>().try_into().unwrap_or_default(),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: NICENESS,
        sched_priority: 0,
        sched_runtime: TURN.as_nanos().try_into().unwrap_or_default(),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `wanted`, which is as long as it says, before the call returns. It concerns this thread alone.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) == 0 }
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
