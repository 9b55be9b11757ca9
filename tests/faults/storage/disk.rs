//! A disk that fails or fills (D3, D4). The gateway is a process of its own: `strace` answers its system calls with the errors
//! of a broken disk, and a small file system in memory is full when we fill it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use plimsoll::sim::{Provider, Script};

use crate::harness::Reply;
use crate::kill::{bill, used};
use crate::process::{Files, HARD, Process, SOFT, eventually, has, number, policy, read, signal};

const SOON: Duration = Duration::from_secs(5);

/// What the clients of one test were told.
#[derive(Default)]
struct Told {
    /// The ids of the answers that came whole.
    whole: Vec<String>,
    /// Answers that say that their row is not written yet.
    warned: usize,
}

impl Told {
    async fn call(&mut self, process: &Process, tenant: &str) -> Reply {
        let reply = process.call(tenant).await;
        if reply.status == 200 && !reply.cut {
            self.whole.push(reply.header("plimsoll-request-id").to_owned());
            self.warned += usize::from(!reply.header("plimsoll-warning").is_empty());
        }
        reply
    }

    /// The client's log, the ledger and the provider's bill agree; memory, counters and rows do as well.
    async fn agrees(&self, process: &Process, provider: &Provider, ledger: &Path) {
        let found = read(ledger);
        let mut statement = found
            .prepare("SELECT request_id, count(*) FROM entry WHERE ending <> 'refused' GROUP BY 1")
            .expect("a query");
        let rows: HashMap<String, i64> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("rows")
            .map(|row| row.expect("a row"))
            .collect();
        for id in &self.whole {
            assert_eq!(rows.get(id), Some(&1), "`{id}` was answered");
        }
        let bills = [bill(provider, "gpt-4o"), bill(provider, "gpt-4o-mini")];
        assert_eq!(
            (rows.len(), self.whole.len()),
            (bills[0].1 + bills[1].1, bills[0].1 + bills[1].1),
            "rows, answers, billed calls"
        );
        for (tenant, (billed, _)) in [HARD, SOFT].into_iter().zip(bills) {
            let charged = number(
                &found,
                &format!("SELECT coalesce(sum(cost_nano_usd), 0) FROM entry WHERE tenant_id = '{tenant}'"),
            );
            assert_eq!(charged, billed, "{tenant}: the ledger and the bill");
            let of = format!("FROM counter WHERE key LIKE '%{tenant}%'");
            let posted = number(&found, &format!("SELECT coalesce(sum(posted_nano_usd), 0) {of}"));
            let doubt = number(&found, &format!("SELECT coalesce(sum(in_doubt_nano_usd), 0) {of}"));
            assert_eq!(posted, charged, "{tenant}: counters and rows");
            let budget = if tenant == HARD { "hard" } else { "soft" };
            assert_eq!(used(process, tenant, budget).await, posted + doubt, "{tenant}: memory and counters");
        }
    }
}

/// `strace` on a running process, until it is let go.
struct Tracer {
    child: Child,
    log: PathBuf,
}

impl Tracer {
    /// Attaches to a process and all of its threads. From then on `inject` is done to their calls for the ledger and its log.
    fn attach(process: &Process, ledger: &Path, trace: &str, inject: &str) -> Option<Self> {
        let log = ledger.with_extension("strace");
        let wal = format!("{}-wal", ledger.display());
        let mut child = Command::new("strace")
            .args(["-f", "-y", "-p", &process.pid(), "-P", &wal, "-P"])
            .arg(ledger)
            .arg("-o")
            .arg(&log)
            .args(["-e", &format!("trace={trace}"), "-e", &format!("inject={inject}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        let mut line = String::new();
        let mut words = BufReader::new(child.stderr.take().expect("its words"));
        words.read_line(&mut line).expect("a line");
        if line.contains(" attached") {
            return Some(Self { child, log });
        }
        let _ = writeln!(std::io::stderr(), "skipped: strace may not attach: {line}");
        let _ = child.wait();
        None
    }

    /// What was called so far.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| line.contains("sync(")).map(str::to_owned).collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = signal("INT", self.child.id());
        let _ = self.child.wait();
    }
}

// Mutations: a failed commit is tried again with the same connection; a failed commit leaves the ledger healthy; what was not
// committed is not spooled; the connection's end makes a checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_failed_fsync_ends_writing_for_good_and_a_restart_recovers() {
    if !has("strace") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = Provider::start(Script::default()).await.expect("a scripted provider");
    let ledger = folder.path().join("plimsoll.db");
    let files = Files::new(folder.path(), &ledger, &provider.base_url(), &policy("$10/month"));
    let process = Process::start(&files).await;
    let mut told = Told::default();
    for _ in 0..5 {
        for tenant in [HARD, SOFT] {
            assert_eq!(told.call(&process, tenant).await.status, 200);
        }
    }
    eventually("ten rows", SOON, async || number(&read(&ledger), "SELECT count(*) FROM entry") == 10).await;
    assert_eq!(process.metric("plimsoll_ledger_healthy").await, "1");
    let inject = "fsync,fdatasync:error=EIO:when=1";
    let Some(tracer) = Tracer::attach(&process, &ledger, "fsync,fdatasync", inject) else { return };
    told.call(&process, SOFT).await;
    eventually("the failure", SOON, async || process.ready().await == 503).await;
    assert_eq!(process.metric("plimsoll_ledger_healthy").await, "0");

    let asked = provider.requests().len();
    for _ in 0..20 {
        let refused = told.call(&process, HARD).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"), "{}", refused.text());
        assert!(refused.text().contains("unavailable"), "{}", refused.text());
    }
    assert_eq!(provider.requests().len(), asked, "a refused call reached the provider");
    let warned = told.warned;
    for _ in 0..20 {
        let passed = told.call(&process, SOFT).await;
        assert_eq!((passed.status.as_u16(), passed.header("plimsoll-warning")), (200, "the ledger is unavailable"));
    }
    assert_eq!(told.warned, warned + 20);
    assert_eq!(process.ready().await, 503, "it does not recover by itself");
    let log = process.stop().await;
    assert!(log.contains("the ledger could not commit"), "{log}");
    let tried = tracer.calls();
    assert_eq!(tried.len(), 1, "fsync was tried again: {tried:#?}");
    assert!(tried[0].contains("plimsoll.db-wal>") && tried[0].contains("EIO"), "{tried:?}");
    drop(tracer);

    let process = Process::start(&files).await;
    told.agrees(&process, &provider, &ledger).await;
    assert_eq!(
        (
            process.metric("plimsoll_ledger_healthy").await.as_str(),
            process.metric("plimsoll_ledger_dropped_total").await.as_str()
        ),
        ("1", "0")
    );
    assert_eq!(told.call(&process, HARD).await.status, 200);
    process.stop().await;
    assert_eq!(spool(&ledger), None, "what is committed is deleted");
}

fn spool(ledger: &Path) -> Option<u64> {
    fs::metadata(format!("{}.spool", ledger.display())).ok().map(|file| file.len())
}

/// A small file system in memory, in a mount namespace that ends with this value.
struct SmallDisk {
    holder: Child,
    /// Where it is for the processes inside.
    inside: PathBuf,
    /// Where it is for us.
    outside: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let script = format!("mount -t tmpfs -o size={size} none {} && echo mounted && cat", at.display());
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = holder else { return None };
        let mut word = [0; 8];
        if holder.stdout.take().expect("its words").read_exact(&mut word).is_err() {
            let _ = writeln!(std::io::stderr(), "skipped: no file system can be mounted here");
            let _ = holder.wait();
            return None;
        }
        let outside = PathBuf::from(format!("/proc/{}/root{}", holder.id(), at.display()));
        Some(Self { holder, inside: at.to_owned(), outside })
    }

    /// What runs a program inside.
    fn enter(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.holder.id())]
    }

    /// Takes every free byte.
    fn fill(&self) {
        let mut ballast =
            fs::OpenOptions::new().append(true).create(true).open(self.outside.join("ballast")).expect("a file");
        for size in [65_536, 4_096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// A copy of the ledger, taken while nobody writes. (SQLite itself would look for the file in our own namespace.)
    fn copy_of(&self, ledger: &str, to: &Path) -> PathBuf {
        for end in ["", "-wal"] {
            let name = format!("{ledger}{end}");
            let _ = fs::remove_file(to.join(&name));
            if self.outside.join(&name).exists() {
                fs::copy(self.outside.join(&name), to.join(&name)).expect("a copy");
            }
        }
        drop(rusqlite::Connection::open(to.join(ledger)).expect("a copy").pragma_update(
            None,
            "journal_mode",
            "DELETE",
        ));
        to.join(ledger)
    }

    fn empty(&self) {
        fs::remove_file(self.outside.join("ballast")).expect("a file less");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

// Mutations: a full disk counts as failed for good; a full disk leaves the ledger healthy; what a full disk did not take is
// dropped; a torn frame of the spool is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_a_full_disk_refuses_hard_budgets_lets_the_rest_pass_and_recovers_when_there_is_room() {
    if !has("unshare") || !has("nsenter") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mount = folder.path().join("disk");
    fs::create_dir(&mount).expect("a folder");
    let Some(disk) = SmallDisk::mount(&mount, "16m") else { return };
    let provider = Provider::start(Script::default()).await.expect("a scripted provider");
    let copies = tempfile::tempdir().expect("a temporary folder");
    let files = Files::new(folder.path(), &disk.inside.join("plimsoll.db"), &provider.base_url(), &policy("$10/month"));
    let enter = disk.enter();
    let words: Vec<&str> = enter.iter().map(String::as_str).collect();
    let process = Process::within(&files, &words).await;
    let mut told = Told::default();
    for _ in 0..2 {
        for tenant in [HARD, SOFT] {
            assert_eq!(told.call(&process, tenant).await.status, 200);
        }
        fill_up(&disk, &process, &mut told).await;
        let asked = provider.requests().len();
        for _ in 0..5 {
            assert_eq!(told.call(&process, HARD).await.status, 503);
        }
        assert_eq!(provider.requests().len(), asked, "a refused call reached the provider");
        for _ in 0..20 {
            let passed = told.call(&process, SOFT).await;
            assert_eq!((passed.status.as_u16(), passed.header("plimsoll-warning")), (200, "the ledger is unavailable"));
        }
        disk.empty();
        eventually("recovery", SOON, async || process.ready().await == 200).await;
        assert_eq!(told.call(&process, HARD).await.status, 200);
        let answered = serde_json::json!(told.whole.len());
        let spent = async || process.admin("/api/v1/spend?by=provider").await.json();
        eventually("every row", SOON, async || spent().await["rows"][0]["requests"] == answered).await;
        assert_eq!(process.metric("plimsoll_ledger_dropped_total").await, "0");
        told.agrees(&process, &provider, &disk.copy_of("plimsoll.db", copies.path())).await;
    }
    // It may also end while the disk is full: what nobody can write is counted, and a hard budget is charged all the same.
    fill_up(&disk, &process, &mut told).await;
    process.stop().await;
    disk.empty();
    let process = Process::within(&files, &words).await;
    assert_eq!(told.call(&process, HARD).await.status, 200);
    eventually("its row", SOON, async || used(&process, HARD, "hard").await >= bill(&provider, "gpt-4o").0).await;
    process.stop().await;
    let found = read(&disk.copy_of("plimsoll.db", copies.path()));
    let check: String = found.query_one("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!((check.as_str(), spool(&disk.outside.join("plimsoll.db"))), ("ok", None));
}

/// Fills the disk and calls until the log has no room left in its own pages either.
async fn fill_up(disk: &SmallDisk, process: &Process, told: &mut Told) {
    disk.fill();
    let warned = told.warned;
    for _ in 0..3_000 {
        told.call(process, SOFT).await;
        if told.warned > warned {
            assert_eq!(process.ready().await, 503);
            assert_eq!(process.metric("plimsoll_ledger_healthy").await, "0");
            return;
        }
    }
    panic!("the disk is full and nobody was told");
}
