//! What takes long and no call waits for: it gives way to the threads that serve calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// The lowest priority.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// How long such a thread runs, in nanoseconds, before one that wakes up takes its core. By default that is 1.4 to 3 ms, by the number
/// of cores, whatever its priority.
#[cfg(target_os = "linux")]
const TURN: u64 = 100_000;

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
        sched_runtime: TURN,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `wanted`, which is as long as it says, before the call returns. It concerns this thread alone.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) == 0 }
}

/// Runs `work` on a thread of its own, which gives way to others, and waits for it. `Err` is a panic. Where there is no thread to be
/// had it is done at once.
pub(super) fn in_background<T: Send>(work: impl Fn() -> T + Sync) -> thread::Result<T> {
    thread::scope(|scope| {
        let named = thread::Builder::new().name("plimsoll-reload".to_owned());
        let working = named.spawn_scoped(scope, || {
            give_way();
            work()
        });
        working.map_or_else(|_| catch_unwind(AssertUnwindSafe(&work)), thread::ScopedJoinHandle::join)
    })
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
        assert_eq!(there.ok(), Some(NICENESS.max(own)));
        assert_eq!(getpriority_process(None), Ok(own));
    }

    // Mutation: the turns are as long as ever. The kernel shows them from 6.12 on.
    #[test]
    fn what_is_done_in_the_background_takes_short_turns() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
        if (numbers.next(), numbers.next()) < (Some(6), Some(12)) {
            return;
        }
        let slice = in_background(|| {
            let shown = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            let line = shown.lines().find(|line| line.starts_with("se.slice")).map(str::to_owned);
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        });
        // Kernels without debugging show nothing.
        if let Ok(Some(slice)) = slice {
            assert_eq!(slice, TURN);
        }
    }

    // Mutation: the panic goes on where it is waited for.
    #[test]
    fn a_panic_in_the_background_is_told_and_goes_no_further() {
        assert!(in_background(|| assert_eq!(1, 2)).is_err());
    }
}
