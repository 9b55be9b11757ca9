//! The gateway as a process of its own, so that its CPU time and memory can be read.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cli::output;
use crate::control::background::give_way;

use super::large;
use super::process::Watched;
use super::scenario::tenant;

const POLICY: &str = include_str!("../../../policies/realistic.yaml");
const TENANTS: &str = include_str!("../../../policies/tenants.csv");
const POLICY_FILE: &str = "policies/policy.yaml";
const TENANTS_FILE: &str = "policies/tenants.csv";
const LOG: &str = "log";
/// What the gateway logs when a policy came into force.
const IN_FORCE: &str = "the policy is in force";
/// The key that the load generator shows.
pub(super) const KEY: &str = "bench-key-of-the-load-generator";

/// A policy that judges nothing.
const NO_BUDGETS: &str = "version: 1\nmode: enforce\ncurrency: USD\n";

/// What a gateway runs with. Keys and the ledger are on in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// The realistic policy.
    Realistic,
    /// The realistic policy, and so many tenants in `tenants.csv`.
    Tenants(u64),
    /// 500 budgets and 100,000 tenants.
    Large,
    /// A policy without budgets.
    NoBudgets,
    /// A policy without budgets, for calls to a path that is passed on without a look at the body.
    PassedOn,
}

impl Setup {
    fn policy(self) -> String {
        match self {
            Self::NoBudgets | Self::PassedOn => NO_BUDGETS.to_owned(),
            Self::Large => large::policy(),
            Self::Realistic | Self::Tenants(_) => roomy(POLICY),
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
            Self::Large => Some(large::tenants()),
            Self::Realistic => Some(TENANTS.to_owned()),
        }
    }

    /// Its files; with those that are replaced, the amount which is another one each time.
    fn files(self) -> Vec<(&'static str, String, Option<&'static str>)> {
        let (of_policy, of_tenants) = match self {
            Self::Large => ("$100000000/month", Some(",0/month")),
            _ => ("$400000000/month", None),
        };
        let tenants = self.tenants().map(|tenants| (TENANTS_FILE, tenants, of_tenants));
        [(POLICY_FILE, self.policy(), Some(of_policy))].into_iter().chain(tenants).collect()
    }
}

/// How soon the replacing of files ends when it is told to.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
        for (file, text, _) in setup.files() {
            fs::write(path.join(file), text)?;
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

    /// Replaces the policy again and again for as long as what is returned lives; of [`Setup::Large`] the tenants too.
    pub(super) fn reload(&self, every: Duration) -> Reloads {
        Reloads::start(self.folder.path(), self.setup, every)
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
    fn start(folder: &Path, setup: Setup, every: Duration) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let (stop, folder) = (Arc::new(AtomicBool::new(false)), folder.to_owned());
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            // To write ten megabytes must not hold up the load.
            give_way();
            let files = setup.files().into_iter().filter_map(|(file, text, amount)| Some((file, text, amount?)));
            let files: Vec<_> = files.collect();
            while !stopped.load(Ordering::Relaxed) {
                let (began, number) = (Instant::now(), NUMBER.fetch_add(1, Ordering::Relaxed));
                for (file, text, amount) in &files {
                    let replaced = replace(&folder.join(file), &text.replacen(amount, &another(amount, number), 1));
                    if let Err(error) = replaced {
                        output::note(&format!("`{file}` was not replaced: {error}"));
                        return;
                    }
                }
                while began.elapsed() < every && !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK_EVERY.min(every));
                }
            }
        });
        Self { stop, writer: Some(writer) }
    }
}

/// Another amount each time, so that nothing can be skipped as the same: `$400000000/month` becomes `$400000007/month`.
fn another(amount: &str, number: u32) -> String {
    let digits = |letter: &char| letter.is_ascii_digit();
    let own: u64 = amount.chars().filter(digits).collect::<String>().parse().unwrap_or(0);
    let head: String = amount.chars().take_while(|letter| !digits(letter)).collect();
    format!("{head}{}/month", own + u64::from(number))
}

/// Written beside and renamed, as an editor does it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let path = file.with_extension("new");
    let mut beside = fs::File::create(&path)?;
    // In pieces: a long write keeps a core to itself, however nice the thread is.
    text.as_bytes().chunks(64 << 10).try_for_each(|piece| beside.write_all(piece))?;
    fs::rename(&path, file)
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

/// Whether a process ends within ten seconds.
fn ends(process: &mut std::process::Child) -> bool {
    (0..1_000).any(|_| {
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
