//! Instructions, as valgrind's callgrind counts them: the same for the same code and input, however busy the machine is.
//!
//! This program runs itself under valgrind, once per figure, so that nothing one part did is felt by the next. Valgrind shows
//! every x86-64 machine with AVX2 the same processor, so libraries choose the same routines on all of them.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Collecting is switched on inside this function alone: see [`measured`].
const TOGGLE: &str = "--toggle-collect=*callgrind::measured";

/// Makes the one call that is counted.
#[inline(never)]
fn measured(call: &mut dyn FnMut()) {
    call();
    // With something left to do, the call is no jump, and callgrind sees this function return.
    std::hint::black_box(call);
}

/// What happens under valgrind: a few calls for lazy things and the allocator's lists, then the one that is counted.
pub(crate) fn subject(call: &mut dyn FnMut()) {
    (0..3).for_each(|_| call());
    measured(call);
}

/// Why there is nothing to compare with on this machine.
pub(crate) fn missing() -> Option<&'static str> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some("the figures are those of Linux on x86-64");
    }
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx2") {
        return Some("the figures are those of a processor with AVX2");
    }
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => None,
        _ => Some("valgrind is not installed"),
    }
}

/// Instructions of one call of a part.
pub(crate) fn of_part(name: &str) -> io::Result<u64> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &[TOGGLE], &["--subject", name])?;
    totals(folder.path(), |_| true)
}

/// Instructions that the gateway's cores need for one whole call: what more calls need more.
pub(crate) fn of_call(name: &str) -> io::Result<u64> {
    const CALLS: [u64; 2] = [50, 250];
    let mut sums = [0; 2];
    for (sum, calls) in sums.iter_mut().zip(CALLS) {
        let folder = tempfile::tempdir()?;
        run(folder.path(), &["--separate-threads=yes"], &["--calls", name, &calls.to_string()])?;
        // A core's thread is one that ran the gateway's code.
        *sum = totals(folder.path(), |profile| profile.contains("plimsoll::gateway::"))?;
    }
    Ok(sums[1].saturating_sub(sums[0]) / (CALLS[1] - CALLS[0]))
}

fn run(folder: &Path, options: &[&str], arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", folder.join("profile").display()))
        .args(options)
        .arg(std::env::current_exe()?)
        .args(arguments)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`{arguments:?}` under valgrind: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The instructions of all profiles in a folder that are meant.
fn totals(folder: &Path, is_meant: impl Fn(&str) -> bool) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let profile = String::from_utf8_lossy(&fs::read(entry?.path())?).into_owned();
        if is_meant(&profile) {
            let lines = profile.lines().filter_map(|line| line.strip_prefix("totals: "));
            total += lines.filter_map(|sum| sum.trim().parse::<u64>().ok()).sum::<u64>();
        }
    }
    if total == 0 { Err(io::Error::other("callgrind counted nothing")) } else { Ok(total) }
}
