//! The gateway as a process of its own, so that its CPU time and memory can be read.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::process::Watched;

const POLICY: &str = include_str!("../../../policies/realistic.yaml");
const TENANTS: &str = include_str!("../../../policies/tenants.csv");
/// The key that the load generator shows.
pub(super) const KEY: &str = "bench-key-of-the-load-generator";

/// A folder that is gone with its owner.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(what: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("plimsoll-bench-{}-{what}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running gateway.
pub(super) struct Child {
    process: std::process::Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Child {
    /// Starts `binary serve` in front of `provider`.
    pub(super) fn start(binary: &Path, provider: SocketAddr) -> io::Result<Self> {
        let folder = Folder::new("gateway")?;
        let path = folder.path();
        fs::create_dir_all(path.join("policies"))?;
        fs::write(path.join("policies/policy.yaml"), roomy(POLICY))?;
        fs::write(path.join("policies/tenants.csv"), TENANTS)?;
        let address = free_address()?;
        fs::write(path.join("plimsoll.yaml"), configuration(address, free_address()?, provider))?;
        let log = fs::File::create(path.join("log"))?;
        let mut process = Command::new(binary)
            .args(["serve", "--config", "plimsoll.yaml"])
            .current_dir(path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        if let Err(error) = await_listener(&mut process, address) {
            let said = fs::read_to_string(path.join("log")).unwrap_or_default();
            let _ = process.kill();
            let _ = process.wait();
            return Err(io::Error::other(format!("the gateway: {error}\n{}", said.trim_end())));
        }
        Ok(Self { process, address, _folder: folder })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn watched(&self) -> io::Result<Watched> {
        Watched::family(self.process.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The realistic policy with room for a benchmark: at its real limits a second of full load is a month of spend, and what would
/// be measured then is the refusal. Rules, dimensions and the number of budgets stay as they are.
fn roomy(policy: &str) -> String {
    policy
        .replace("$12/month", "$12000000/month")
        .replace("$150/month", "$150000000/month")
        .replace("$20/month", "$20000000/month")
        .replace("$4000/month", "$400000000/month")
}

fn configuration(listen: SocketAddr, admin: SocketAddr, provider: SocketAddr) -> String {
    format!(
        "listen: {listen}
admin: {{ listen: {admin}, token: bench-admin-token }}
providers:
  openai: {{ dialect: openai, base_url: \"http://{provider}\", api_key: \"sk-bench\" }}
keys:
  - {{ name: bench, secret: \"{KEY}\", tenants: any }}
limits: {{ streams_per_tenant: 100000 }}
"
    )
}

/// Waits until `process` listens.
pub(super) fn await_listener(process: &mut std::process::Child, address: SocketAddr) -> io::Result<()> {
    for _ in 0..400 {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        if let Some(status) = process.try_wait()? {
            return Err(io::Error::other(format!("ended with {status}")));
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Err(io::Error::other("did not listen within 10 s"))
}

/// An address that nobody listens on.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
