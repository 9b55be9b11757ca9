//! One file, one writer, one schema: a second process, a reader that stays, and a migration that is killed (D8, D9, D11).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll::domain::clock::Timestamp;
use plimsoll::ledger::{Column, Ledger, LedgerError, LedgerReader, SCHEMA_VERSION, SpendQuery};
use plimsoll::sim::{Provider, Script};
use rusqlite::{Connection, OpenFlags};

use crate::ledger_crash::attempt;
use crate::process::{Files, Process, SOFT, has, number, policy, read};

async fn provider() -> Provider {
    Provider::start(Script::default()).await.expect("a scripted provider")
}

// Mutations: the lock file is not locked; it lies beside the name that was given and not beside the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_a_second_process_on_one_ledger_refuses_and_says_who_has_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = provider().await;
    let ledger = folder.path().join("plimsoll.db");
    let files = Files::new(folder.path(), &ledger, &provider.base_url(), &policy("$10/month"));
    let first = Process::start(&files).await;
    let Err(refusal) = Process::try_start(&files, &[]).await else { panic!("two gateways write one ledger") };
    let expected = format!(
        "exit status: 2: error: the ledger cannot be used: `{}` is in use by another process (process {}): stop it, or name another \
         file under `ledger:`\n",
        ledger.display(),
        first.pid()
    );
    assert_eq!(refusal, expected);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&ledger, &link).expect("a link");
    let through_link = Files::new(&folder.path().join("other"), &link, &provider.base_url(), &policy("$10/month"));
    let Err(refusal) = Process::try_start(&through_link, &[]).await else { panic!("two gateways write one ledger") };
    assert!(refusal.contains(&format!("in use by another process (process {})", first.pid())), "{refusal}");
    assert_eq!(first.call(SOFT).await.status, 200, "the first one goes on");
    first.stop().await;
    assert_eq!(number(&read(&ledger), "SELECT count(*) FROM entry"), 1);
    Process::start(&files).await.stop().await;
}

// Mutation: the version in the file is not looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d11_an_old_program_refuses_the_ledger_of_a_newer_one_and_leaves_it_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let provider = provider().await;
    let ledger = folder.path().join("plimsoll.db");
    let files = Files::new(folder.path(), &ledger, &provider.base_url(), &policy("$10/month"));
    Ledger::open(&ledger).expect("a new ledger").close();
    let newer = SCHEMA_VERSION + 1;
    let connection = Connection::open(&ledger).expect("a database");
    connection.pragma_update(None, "user_version", newer).expect("a newer version");
    connection.execute_batch("ALTER TABLE tenant ADD COLUMN of_the_future TEXT").expect("a newer schema");
    drop(connection);
    let before = std::fs::read(&ledger).expect("the file");
    let Err(refusal) = Process::try_start(&files, &[]).await else { panic!("a newer ledger was opened") };
    let expected = format!(
        "exit status: 2: error: the ledger cannot be used: the ledger has schema {newer} and this program knows schemas up to {SCHEMA_VERSION}: \
         run the newer Plimsoll that wrote it\n"
    );
    assert_eq!(refusal, expected);
    assert!(before == std::fs::read(&ledger).expect("the file"), "the file was changed");
}

/// The schema of the first version, as files of users have it.
const FIRST: &str = include_str!("ledger-v1.sql");
const THIRD: &str = include_str!("ledger-v3.sql");
const TO_BE_KILLED: &str = "PLIMSOLL_TEST_MIGRATED_LEDGER";
const KILLS: &str = "PLIMSOLL_MIGRATION_KILLS";

/// A ledger of the first version with so many rows, a nano-dollar each, one every hundredth of a second up to `last`.
pub(crate) fn first_version(path: &Path, rows: i64, last: Timestamp) {
    let connection = Connection::open(path).expect("a database");
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).expect("a journal");
    connection.execute_batch(FIRST).expect("the first schema");
    let insert = "INSERT INTO attempt (attempt_id, request_id, admitted_at, tenant_id, endpoint_tag, prompt_version, data_mode, environment, \
                  retry_count, provider, dialect, path, model_requested, stream, logical, input_tokens, output_tokens, basis, cost_nano_usd, \
                  status, ending, decision, would, policy, overhead_us, duration_us) WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 \
                  FROM n WHERE n < ?) SELECT 'req_' || n, 'req_' || n, ? - (? - n) * 10000, iif(n % 1000 = 0, 'acme-corp', 'tenant-' || (n % 1000)), '_untagged', \
                  '_unversioned', 'real', 'prod', 0, 'openai', 'openai-chat', '/v1/chat/completions', 'gpt-4o', 0, 1, 10, 5, 'exact', 1, 200, \
                  'complete', '', '', 'r1 9f3c1ae', 400, 1000 FROM n";
    connection.execute(insert, rusqlite::params![rows, last.micros(), rows]).expect("rows");
}

/// A ledger of the third version with so many counters more, a nano-dollar in each.
fn third_version(path: &Path, counters: i64) {
    let connection = Connection::open(path).expect("a database");
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).expect("a journal");
    connection.execute_batch(THIRD).expect("the third schema");
    let insert = "INSERT INTO counter (identity, key, window_start, window_end, posted_nano_usd) WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL \
                  SELECT n + 1 FROM n WHERE n < ?) SELECT identity, 'tenant-' || n, 1000, 9000, 1 FROM n, complete";
    connection.execute(insert, [counters]).expect("counters");
}

/// The process that is killed in the middle of a migration. Without its variable it has nothing to do.
#[test]
fn the_process_to_be_killed_opens_an_old_ledger() {
    let Some(path) = std::env::var_os(TO_BE_KILLED) else { return };
    Ledger::open(path.as_ref()).expect("a ledger").close();
}

/// Opens `ledger` in another process that is killed as it begins its write of this number to the ledger's files. Whether it
/// was.
fn open_and_kill_at(ledger: &Path, write: usize) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"])
        .arg(format!("inject=pwrite64:signal=KILL:when={write}"))
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "faults::storage::files::the_process_to_be_killed_opens_an_old_ledger", "--test-threads=1"])
        .env(TO_BE_KILLED, ledger)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace");
    !status.success()
}

// Mutations: the new version number is written before the statements, or in a transaction of its own.
#[test]
fn d11_a_migration_that_is_killed_at_any_write_is_done_again_and_loses_nothing() {
    if !has("strace") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let new = folder.path().join("new.db");
    Ledger::open(&new).expect("a new ledger").close();
    for version in [1, 3] {
        let old = folder.path().join(format!("version-{version}.db"));
        match version {
            1 => first_version(&old, 500, Timestamp::from_seconds(1_795_000_000)),
            _ => third_version(&old, 2_000),
        }
        killed_migrations(&old, version, &schema(&new));
    }
}

/// Tables and indexes as they are.
fn schema(path: &Path) -> Vec<String> {
    let found = read(path);
    let mut statement = found.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1").expect("a query");
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    // A table that was renamed has its name in quotes.
    rows.map(|row| row.expect("text").replace('"', "")).collect()
}

fn killed_migrations(old: &Path, version: i64, schema_now: &[String]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kills: usize = std::env::var(KILLS).ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    // How many writes there are: the first number at which nobody was killed any more.
    let (mut sound, mut beyond) = (0, 1);
    while open_and_kill_at(&copy(old, folder.path(), beyond), beyond) {
        (sound, beyond) = (beyond, beyond * 2);
    }
    while beyond - sound > 1 {
        let middle = sound.midpoint(beyond);
        let killed = open_and_kill_at(&copy(old, folder.path(), middle), middle);
        if killed { sound = middle } else { beyond = middle }
    }
    assert!(sound > 4, "a migration writes, but was killed in {sound} writes only");
    let (rows, posted) = if version == 1 { (500, 0) } else { (0, 2_015) };
    for kill in 0..kills {
        let write = 1 + kill * (sound - 1) / (kills - 1).max(1);
        let path = copy(old, folder.path(), write);
        assert!(open_and_kill_at(&path, write), "write {write} of {sound} was not reached");
        let left =
            number(&Connection::open(&path).expect("a database"), "SELECT user_version FROM pragma_user_version");
        assert!((version..=i64::from(SCHEMA_VERSION)).contains(&left), "killed at write {write}, left version {left}");
        let ledger = Ledger::open(&path).expect("a ledger that was killed in its migration");
        let totals = ledger.reader().spend(&SpendQuery::default()).expect("sums")[0].totals;
        assert_eq!((totals.attempts, totals.cost_nano_usd), (rows, rows), "killed at write {write}");
        ledger.permit().expect("a free place").send(attempt("new", "globex"));
        ledger.flush().expect("a ledger that writes");
        ledger.close();
        assert_eq!(schema(&path), schema_now, "killed at write {write} of {sound}");
        let found = read(&path);
        assert_eq!(number(&found, "SELECT coalesce(sum(posted_nano_usd), 0) FROM counter"), posted);
        assert_eq!(number(&found, "SELECT user_version FROM pragma_user_version"), i64::from(SCHEMA_VERSION));
        let check: String = found.query_one("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
        assert_eq!(check, "ok", "killed at write {write}");
    }
}

fn copy(fresh: &Path, folder: &Path, number: usize) -> std::path::PathBuf {
    let path = folder.join(format!("killed-{number}.db"));
    for end in ["-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    std::fs::copy(fresh, &path).expect("a copy");
    path
}

/// The bytes of the ledger's log.
fn wal(ledger: &Path) -> u64 {
    std::fs::metadata(format!("{}-wal", ledger.display())).map_or(0, |file| file.len())
}

fn write(ledger: &Ledger, from: usize, to: usize) {
    for number in from..to {
        ledger.permit().expect("a free place").send(attempt(&format!("a{number}"), "globex"));
    }
    ledger.flush().expect("a ledger that writes");
}

// Mutations: readers without patience take no end; `journal_size_limit` is left out.
#[test]
fn d8_a_reader_that_stays_does_not_stop_the_writer_and_the_log_shrinks_when_it_goes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plimsoll.db");
    let ledger = Ledger::open(&path).expect("a new ledger");
    let many = std::env::var("PLIMSOLL_READER_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(36_000);
    write(&ledger, 0, 1_000);
    let stays = read(&path);
    stays.execute_batch("BEGIN").expect("a transaction");
    assert_eq!(number(&stays, "SELECT count(*) FROM entry"), 1_000);
    for from in (1_000..many).step_by(20) {
        write(&ledger, from, many.min(from + 20));
    }
    assert!(ledger.healthy());
    let (held, limit) = (wal(&path), 64 << 20);
    assert!(held > limit, "{many} rows made a log of {held} bytes only");
    assert_eq!(
        ledger.reader().spend(&SpendQuery::default()).expect("sums")[0].totals.attempts,
        i64::try_from(many).expect("a number")
    );
    assert_eq!(number(&stays, "SELECT count(*) FROM entry"), 1_000, "the reader sees what it began with");
    drop(stays);
    // The next writer's checkpoint empties the log, and the one after it begins at its start and cuts it.
    for round in 0..3 {
        write(&ledger, many + round * 2_000, many + (round + 1) * 2_000);
    }
    assert!(wal(&path) <= limit, "the log kept {} bytes after {held}", wal(&path));
}

// Mutation: no progress handler.
#[test]
fn d8_our_own_readers_give_up_after_five_seconds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plimsoll.db");
    let ledger = Ledger::open(&path).expect("a new ledger");
    write(&ledger, 0, 10);
    ledger.close();
    // A table that has no end.
    let other = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("a second connection");
    let endless = "ALTER TABLE entry RENAME TO rows; CREATE VIEW entry AS SELECT rows.* FROM rows, (WITH RECURSIVE n(n) AS (SELECT 1 UNION \
                   ALL SELECT n + 1 FROM n) SELECT n FROM n)";
    other.execute_batch(endless).expect("an endless view");
    let begun = Instant::now();
    let query = SpendQuery { by: vec![Column::TenantId], ..SpendQuery::default() };
    let answer = LedgerReader::open(&path).expect("a reader").spend(&query);
    assert!(matches!(answer, Err(LedgerError::TooSlow)), "{answer:?}");
    let taken = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(8)).contains(&taken), "gave up after {taken:?}");
}
