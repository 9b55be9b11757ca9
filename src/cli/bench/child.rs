//! The gateway as a process of its own, so that its CPU time and memory can be read.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cli::output;

use super::process::Watched;
use super::scenario::tenant;

const POLICY: &str = include_str!("../../../policies/realistic.yaml");
const TENANTS: &str = include_str!("../../../policies/tenants.csv");
const POLICY_FILE: &str = "policies/policy.yaml";
const LOG: &str = "log";
/// What the gateway logs when a policy came into force.
const IN_FORCE: &str = "the policy is in force";
/// The key that the load generator shows.
pub(super) const KEY: &str = "bench-key-of-the-load-generator";

/// A policy that judges nothing.
const NO_BUDGETS: &str = "version: 1\nmode: enforce\ncurrency: USD\n";
/// How often [`Setup::Reloading`] replaces its policy.
const RELOAD_EVERY: Duration = Duration::from_millis(100);

/// What a gateway runs with. Keys and the ledger are on in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// The realistic policy.
    Realistic,
    /// The realistic policy, and so many tenants in `tenants.csv`.
    Tenants(u64),
    /// The realistic policy, replaced ten times a second while there is load.
    Reloading,
    /// A policy without budgets.
    NoBudgets,
    /// A policy without budgets, for calls to a path that is passed on without a look at the body.
    PassedOn,
}

impl Setup {
    fn policy(self) -> String {
        match self {
            Self::NoBudgets | Self::PassedOn => NO_BUDGETS.to_owned(),
            _ => roomy(POLICY),
        }
    }

    fn tenants(self) -> Option<String> {
        let numbered = |count: u64| {
            let head = TENANTS.lines().next().unwrap_or_default();
            let rows = (0..count).map(|number| format!("{},Tenant {number},growth,,,199/month,\n", tenant(number)));
            [format!("{head}\n")].into_iter().chain(rows).collect()
        };
        match self {
            Self::NoBudgets | Self::PassedOn => None,
            Self::Tenants(count) => Some(numbered(count)),
            Self::Realistic | Self::Reloading => Some(TENANTS.to_owned()),
        }
    }
}

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
    setup: Setup,
    folder: Folder,
}

impl Child {
    /// Starts `binary serve` in front of `provider`.
    pub(super) fn start(binary: &Path, provider: SocketAddr, setup: Setup) -> io::Result<Self> {
        let folder = Folder::new("gateway")?;
        let path = folder.path();
        fs::create_dir_all(path.join("policies"))?;
        fs::write(path.join(POLICY_FILE), setup.policy())?;
        if let Some(tenants) = setup.tenants() {
            fs::write(path.join("policies/tenants.csv"), tenants)?;
        }
        let address = free_address()?;
        fs::write(path.join("plimsoll.yaml"), configuration(address, free_address()?, provider))?;
        let log = fs::File::create(path.join(LOG))?;
        let mut process = Command::new(binary)
            .args(["serve", "--config", "plimsoll.yaml"])
            .current_dir(path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        if let Err(error) = await_listener(&mut process, address) {
            let said = fs::read_to_string(path.join(LOG)).unwrap_or_default();
            let _ = process.kill();
            let _ = process.wait();
            return Err(io::Error::other(format!("the gateway: {error}\n{}", said.trim_end())));
        }
        Ok(Self { process, address, setup, folder })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn watched(&self) -> io::Result<Watched> {
        Watched::family(self.process.id())
    }

    /// Replaces the policy ten times a second for as long as what is returned lives, where the setup says so.
    pub(super) fn reload(&self) -> Option<Reloads> {
        (self.setup == Setup::Reloading).then(|| Reloads::start(self.folder.path()))
    }

    /// How often a policy came into force.
    pub(super) fn revisions(&self) -> usize {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default().matches(IN_FORCE).count()
    }
}

/// Policies that are replaced until this is dropped.
pub(super) struct Reloads {
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Reloads {
    fn start(folder: &Path) -> Self {
        let (stop, file) = (Arc::new(AtomicBool::new(false)), folder.join(POLICY_FILE));
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            for number in 1_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Another limit each time, so that nothing can be skipped as the same. Written beside and renamed, as an
                // editor does it.
                let text =
                    Setup::Reloading.policy().replace("$400000000/month", &format!("${}/month", 400_000_000 + number));
                let beside = file.with_extension("new");
                let replaced = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &file));
                if let Err(error) = replaced {
                    output::note(&format!("the policy was not replaced: {error}"));
                    return;
                }
                std::thread::sleep(RELOAD_EVERY);
            }
        });
        Self { stop, writer: Some(writer) }
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Child {
    /// It is asked to stop, as an operator would: a build that counts what it does writes that down at its end.
    fn drop(&mut self) {
        let asked = rustix::process::Pid::from_child(&self.process);
        let asked = rustix::process::kill_process(asked, rustix::process::Signal::TERM);
        if asked.is_err() || !ends(&mut self.process) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Whether a process ends within two seconds.
fn ends(process: &mut std::process::Child) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        matches!(process.try_wait(), Ok(Some(_)))
    })
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
