//! What `/proc` says about a process under test: CPU time to the nanosecond, the ledger thread's part of it, and memory. Another
//! process's own counters are asked for nothing: nginx is measured in the same way as the gateway.

use std::fs;
use std::io;
use std::ops::Sub;
use std::path::Path;
use std::time::{Duration, Instant};

/// The name of the gateway's thread that writes the ledger.
const LEDGER_THREAD: &str = "ledger";
/// Clock ticks per second of `/proc/<pid>/stat`; 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u32 = 100;
/// A process that takes less of a core than a fiftieth is idle.
const IDLE_LOOK: Duration = Duration::from_millis(100);
const IDLE_AT_MOST: Duration = Duration::from_millis(2);
const IDLE_WITHIN: Duration = Duration::from_secs(15);

/// CPU time, user and system together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cpu {
    /// Of all threads.
    pub(super) all: Duration,
    /// Of the ledger's thread alone.
    pub(super) ledger: Duration,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { all: self.all.saturating_sub(earlier.all), ledger: self.ledger.saturating_sub(earlier.ledger) }
    }
}

/// A process with its children.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pids: Vec<u32>,
}

impl Watched {
    /// `pid` and the children that it has now.
    pub(super) fn family(pid: u32) -> io::Result<Self> {
        let mut pids = vec![pid];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(other) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that ended meanwhile is no child any more.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if parent(&stat) == Some(pid) {
                pids.push(other);
            }
        }
        Ok(Self { pids })
    }

    /// CPU time so far.
    pub(super) fn cpu(&self) -> io::Result<Cpu> {
        let mut cpu = Cpu::default();
        for pid in &self.pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                // A thread that ended between the listing and the reading has nothing more to say.
                let Ok(time) = thread_time(&task.path()) else { continue };
                cpu.all += time;
                if fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == LEDGER_THREAD) {
                    cpu.ledger += time;
                }
            }
        }
        Ok(cpu)
    }

    /// Waits until what the last run left behind is done, such as rows that are still to be written, and returns the CPU time.
    pub(super) fn settled(&self) -> io::Result<Cpu> {
        let started = Instant::now();
        let mut before = self.cpu()?;
        loop {
            std::thread::sleep(IDLE_LOOK);
            let now = self.cpu()?;
            if (now - before).all <= IDLE_AT_MOST || started.elapsed() > IDLE_WITHIN {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Resident memory in KiB once it is idle: a gateway that listens has not ended its start.
    pub(super) fn idle_kib(&self) -> io::Result<u64> {
        self.settled()?;
        self.resident_kib()
    }

    /// Resident memory in KiB. Pages that a master shares with its workers count once for each.
    pub(super) fn resident_kib(&self) -> io::Result<u64> {
        self.pids.iter().map(|pid| Ok(resident(&fs::read_to_string(format!("/proc/{pid}/status"))?))).sum()
    }
}

fn thread_time(task: &Path) -> io::Result<Duration> {
    match fs::read_to_string(task.join("schedstat")).ok().as_deref().and_then(nanoseconds) {
        Some(time) => Ok(time),
        // Kernels without scheduler statistics know ticks.
        None => Ok(ticks(&fs::read_to_string(task.join("stat"))?)),
    }
}

/// The first field of `schedstat`: time on a CPU in nanoseconds.
fn nanoseconds(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The fields of `stat` after the name, which may itself hold blanks and brackets.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat).nth(1)?.parse().ok()
}

/// User and system time.
fn ticks(stat: &str) -> Duration {
    let ticks: u32 = fields(stat).skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Duration::from_secs(1) * ticks / TICKS_PER_SECOND
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a (odd) name) S 7 42 42 0 -1 4194560 2611 0 0 0 131 19 0 0 20 0 5 0 88 9 1 18";

    #[test]
    fn proc_files_are_read_as_the_kernel_writes_them() {
        assert_eq!(parent(STAT), Some(7));
        assert_eq!(ticks(STAT), Duration::from_millis(1_500));
        assert_eq!(nanoseconds("1234567 890 12\n"), Some(Duration::from_nanos(1_234_567)));
        assert_eq!(resident("VmPeak:\t  900 kB\nVmRSS:\t   12345 kB\n"), 12_345);
    }

    #[test]
    fn nonsense_is_nothing_rather_than_a_panic() {
        assert_eq!((parent(""), ticks("x"), nanoseconds(""), resident("VmRSS:")), (None, Duration::ZERO, None, 0));
    }

    #[test]
    fn this_process_takes_time_and_memory() {
        let me = Watched::family(std::process::id()).expect("/proc");
        assert!(me.resident_kib().expect("status") > 1_000);
        let before = me.cpu().expect("tasks");
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(20) {}
        assert!((me.cpu().expect("tasks") - before).all > Duration::from_millis(1));
    }
}
