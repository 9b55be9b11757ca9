//! Where it was measured: what `/proc` says about the machine, and what git says about the working directory.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::nginx::Nginx;

/// The machine, the program and the command, for results that are kept.
pub(super) fn describe() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory_kib = value(&memory, "MemTotal").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    json!({
        "machine": {
            "processor": value(&cpu, "model name"),
            "cores": std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            "memory_kib": memory_kib,
            "kernel": kernel.trim(),
        },
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "nginx": Nginx::find().and_then(|file| Nginx::version(&file)),
        "command": std::env::args().collect::<Vec<String>>().join(" "),
    })
}

/// How many files this process may have open.
pub(super) fn open_files() -> Option<usize> {
    most_open_files(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn most_open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The commit that is checked out in the working directory, with `-dirty` when files differ from it; none elsewhere than in this
/// project's own repository.
fn commit() -> Option<String> {
    let ours = fs::read_to_string("Cargo.toml").is_ok_and(|manifest| manifest.contains("name = \"plimsoll\""));
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (ours && output.status.success()).then(|| text.trim().to_owned())
}

/// What stands behind the colon of the first line that begins with `name`.
fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 20000                files\n";
        assert_eq!(most_open_files(limits), Some(1_024));
        assert_eq!(value("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n", "model name"), Some("A CPU @ 2 GHz"));
        assert_eq!((most_open_files(""), value("", "model name")), (None, None));
    }
}
