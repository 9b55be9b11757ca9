//! The gateway as a process of its own, so that its CPU time and memory can be read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const POLICY: &str = include_str!("../../../policies/realistic.yaml");
const TENANTS: &str = include_str!("../../../policies/tenants.csv");
pub(super) const KEY: &str = "bench-key-of-the-load-generator";

/// Clock ticks per second of `/proc/<pid>/stat`; 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u32 = 100;

/// A running gateway.
pub(super) struct Child {
    process: std::process::Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Child {
    /// Starts `binary serve` in front of `provider`.
    pub(super) async fn start(binary: &Path, provider: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("plimsoll-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("policies"))?;
        fs::write(folder.join("policies/policy.yaml"), POLICY)?;
        fs::write(folder.join("policies/tenants.csv"), TENANTS)?;
        let address = free_address()?;
        let admin = free_address()?;
        let config = format!(
            "listen: {address}\nadmin: {{ listen: {admin}, token: bench-admin-token }}\nproviders:\n  openai: {{ dialect: openai, \
             base_url: \"{provider}\", api_key: \"sk-bench\" }}\n  anthropic: {{ dialect: anthropic, base_url: \"{provider}\", api_key: \
             \"sk-bench\" }}\n  gemini: {{ dialect: gemini, base_url: \"{provider}\", api_key: \"sk-bench\" }}\nkeys:\n  - {{ name: bench, \
             secret: \"{KEY}\", tenants: any }}\n"
        );
        let file = folder.join("plimsoll.yaml");
        fs::write(&file, config)?;
        let process = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut child = Self { process, address, folder };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(child);
            }
            if let Some(status) = child.process.try_wait()? {
                return Err(io::Error::other(format!("the gateway ended with {status}")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(io::Error::other("the gateway did not listen within 10 s"))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// User plus system time so far.
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u32 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        Ok(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
    }

    /// Resident memory in MiB.
    pub(super) fn resident_mib(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        Ok(line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
