//! Control over a folder and an empty past.

use std::fs;

use crate::domain::clock::ManualClock;

use super::*;

/// Control over a folder, with nothing in the ledger.
pub(crate) fn over(folder: &Path) -> Control {
    beside(folder, History::none())
}

/// 2026-11-18.
const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

fn beside(folder: &Path, history: History) -> Control {
    let around = Surroundings {
        folder: folder.to_owned(),
        prices: Arc::new(PriceBook::builtin()),
        notify_targets: Vec::new(),
        meter: Arc::new(Meter::default()),
        clock: Arc::new(ManualClock::at(NOW)),
        history,
    };
    Control::start(around).expect("a policy in force")
}

/// Writes a policy with one budget.
pub(crate) fn write(folder: &Path, limit: &str) {
    let text = format!(
        "version: 1\nmode: enforce\nbudgets: {{ month: {{ per: [tenantId], limit: {limit}, escalation: e }} }}\n\
         escalations: {{ e: {{ contain: {{ at: 100%, block: all }} }} }}\n"
    );
    fs::write(folder.join("policy.yaml"), text).expect("a policy");
}

// Mutations: `put_in_force` drops the snapshot before; `free_unheld` frees whatever there is, or nothing; the ledger's rules hold
// the snapshot.
#[test]
fn the_snapshot_of_a_call_is_freed_by_who_reloads_and_never_by_the_call() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let counts_by = Arc::new(Mutex::new(Vec::new()));
    let ledger = Arc::clone(&counts_by);
    let begin = move |_, rules, _| {
        ledger.lock().expect("a lock").push(rules);
        Ok(0)
    };
    let control = beside(folder.path(), History { begin: Box::new(begin), ..History::none() });
    let call = control.load();
    let watched = Arc::downgrade(&call);
    write(folder.path(), "$2/month");
    assert!(control.reload().is_some_and(|outcome| outcome.is_ok()));
    assert!(control.reload().is_none());
    assert_eq!(call.number, 1, "the call holds it");
    thread::spawn(move || drop(call)).join().expect("a call that ends");
    assert_eq!(watched.strong_count(), 1, "the call's end did not free it");
    assert!(control.reload().is_none());
    assert_eq!(watched.strong_count(), 0, "the next look did");
    assert_eq!(control.load().number, 2);
    assert_eq!(counts_by.lock().expect("a lock").len(), 1, "the ledger still counts by the first policy");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

fn files(texts: &[(&str, &str)]) -> Files {
    let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Files::default().with(&Change::files(texts).expect("policies"))
}

// Mutations: what was renamed stays; the new files that were not renamed stay.
#[test]
fn files_are_replaced_all_of_them_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, old) = (folder.path(), files(&[("a.yaml", "old a"), ("d.yaml", "old d")]));
    old.write(path, &Files::default()).expect("two files");
    // Nothing can be renamed over a folder that is not empty.
    fs::create_dir_all(path.join("c.yaml/inside")).expect("a folder");
    let new = files(&[("a.yaml", "new a"), ("b.yaml", "new b"), ("c.yaml", "new c")]);
    let fault = new.write(path, &old).expect_err("a folder in the way");
    assert!(fault.message.contains("c.yaml` cannot be written"), "{}", fault.message);
    assert!(fault.notes.is_empty(), "{:?}", fault.notes);
    assert_eq!(names(path), ["a.yaml", "c.yaml", "d.yaml"]);
    assert_eq!(fs::read_to_string(path.join("a.yaml")).expect("a file"), "old a");
    fs::remove_dir_all(path.join("c.yaml")).expect("a removal");
    new.write(path, &old).expect("three files");
    assert_eq!(names(path), ["a.yaml", "b.yaml", "c.yaml"]);
    assert_eq!(fs::read_to_string(path.join("a.yaml")).expect("a file"), "new a");
}

// Mutation: the files are not put back.
#[test]
fn a_policy_that_was_written_and_cannot_be_put_in_force_is_taken_back() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let begin = move |_, _, _| if breaks.load(Ordering::Relaxed) { Err("full".to_owned()) } else { Ok(0) };
    let control = beside(folder.path(), History { begin: Box::new(begin), ..History::none() });
    broken.store(true, Ordering::Relaxed);
    let old = fs::read_to_string(folder.path().join("policy.yaml")).expect("a policy");
    let other = old.replace("month: {", "year: {");
    let refused = control.apply(&Change::Text(other.clone()), None).expect_err("a ledger that takes nothing");
    assert!(matches!(&refused, Refusal::Broken(broken) if broken.diagnostics[0].code == "E003"), "{refused:?}");
    assert_eq!(fs::read_to_string(folder.path().join("policy.yaml")).expect("a policy"), old);
    assert!(control.reload().is_none(), "nothing has changed");
    assert_eq!((control.load().number, control.load().policy.budget_named("month")), (1, Some(0)));
    broken.store(false, Ordering::Relaxed);
    assert_eq!(control.apply(&Change::Text(other), None).expect("a policy").number, 2);
}

// Mutation: what cannot be read after the writing is an error and nothing more.
#[test]
fn a_policy_whose_folder_cannot_be_read_any_more_is_taken_back() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let (begins, tenants) = (Arc::new(AtomicBool::new(false)), folder.path().join("tenants.csv"));
    let (is_time, file) = (Arc::clone(&begins), tenants.clone());
    let known = move || {
        // Validated by now, and not yet written.
        if is_time.load(Ordering::Relaxed) {
            fs::write(&file, [0xff]).map_err(|error| error.to_string())?;
        }
        Ok(Vec::new())
    };
    let control = beside(folder.path(), History { tenants: Box::new(known), ..History::none() });
    begins.store(true, Ordering::Relaxed);
    let old = fs::read_to_string(folder.path().join("policy.yaml")).expect("a policy");
    control.apply(&Change::Text(old.replace("$1/", "$2/")), None).expect_err("tenants that are no text");
    assert_eq!(fs::read_to_string(folder.path().join("policy.yaml")).expect("a policy"), old);
    begins.store(false, Ordering::Relaxed);
    fs::remove_file(&tenants).expect("it is there");
    assert!(control.reload().is_none(), "nothing has changed");
}

// Mutation: a name that was not read is taken all the same.
#[test]
#[cfg(unix)]
fn a_push_replaces_no_file_that_was_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    // One file under two names is read once.
    std::os::unix::fs::symlink("policy.yaml", folder.path().join("second.yaml")).expect("a link");
    let control = over(folder.path());
    let old = control.load().sources[0].clone();
    let second = Source { name: Arc::from("second.yaml"), text: Arc::from("version: 1\nplans: { a: {} }\n") };
    let change = Change::Files(vec![old, second]);
    control.apply(&change, None).expect_err("a name that is taken");
    assert!(folder.path().join("second.yaml").is_symlink(), "the link is there still");
}

#[test]
fn a_revision_is_named_by_its_digest_and_never_by_its_number_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let snapshot = over(folder.path()).load();
    let (number, digest) = snapshot.revision.split_once(' ').expect("a digest");
    assert!(snapshot.is_called(&snapshot.revision) && snapshot.is_called(digest));
    assert!(!snapshot.is_called(number) && !snapshot.is_called("") && !snapshot.is_called("r2"));
}

// Mutation: rows of the window that is over are added to the one that has begun.
#[test]
fn rows_before_the_end_of_a_month_are_not_added_to_the_next_when_it_begins_meanwhile() {
    use crate::domain::standing::Unit;
    use crate::domain::window::Window;
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let dimensions = |tenant_id| Dimensions {
        tenant_id,
        data_mode: "real",
        environment: "prod",
        provider: "openai",
        model: "gpt-4o",
        ..Dimensions::default()
    };
    let next = Timestamp::from_seconds(NOW.seconds() + 20 * 86_400);
    let seeded = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seeded);
    let history = History {
        begin: Box::new(move |_, rules: CountersOf, _| {
            for counter in rules(next, &dimensions("globex")) {
                counter.cell(Unit::Money).post(5);
            }
            Ok(1)
        }),
        replay: Box::new(move |_, _, take| {
            take(NOW, &dimensions("globex"), [300, 0, 1], false);
            take(NOW, &dimensions("globex"), [400, 0, 1], false);
            Ok(())
        }),
        seeded: Box::new(move |seeds, _, _| {
            let seeds = seeds.iter().map(|seed| (seed.counter.window(), seed.posted));
            told.lock().expect("a lock").extend(seeds);
            Ok(())
        }),
        ..History::none()
    };
    let control = beside(folder.path(), history);
    let identity = &control.load().policy.budgets[0].identity;
    let present = control.meter().find(identity, "globex").and_then(|counter| counter.present()).expect("a window");
    assert_eq!((present.window().contains(next), present.cell(Unit::Money).used()), (true, 5));
    let seeded: Vec<(Window, [i64; 3])> = seeded.lock().expect("a lock").clone();
    assert_eq!(seeded, [(control.load().policy.window(0, NOW), [700, 0, 2])], "the ledger knows of the month before");
}

// Mutation: one piece of a file is read, and not the others.
#[test]
fn a_large_file_is_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let rows: Vec<String> = (0..20_000).map(|number| format!("tenant-{number},a\n")).collect();
    fs::write(folder.path().join("tenants.csv"), format!("tenantId,name\n{}", rows.concat())).expect("tenants");
    assert_eq!(over(folder.path()).load().directory.len(), 20_000);
}

// Mutations: what is read is taken whatever happens meanwhile; it is read without end.
#[test]
fn a_file_that_is_written_to_is_read_again() {
    use std::cell::Cell;
    let reads = Cell::new(0);
    let read = || {
        reads.set(reads.get() + 1);
        Ok(reads.get())
    };
    let writes_until = |last: u32| move |reads: u32| reads.min(last);
    let stamped = |stamp: &dyn Fn(u32) -> u32| folder::undisturbed(|| Ok(stamp(reads.get())), read);
    assert_eq!(stamped(&writes_until(3)).ok(), Some(4), "three readings were disturbed");
    assert_eq!(stamped(&writes_until(3)).ok(), Some(5));
    let fault = stamped(&writes_until(u32::MAX)).expect_err("somebody writes without pause");
    assert_eq!(fault.to_string(), "it changes while it is read");
}

// Mutation: `again` is not heeded.
#[test]
fn reading_again_reports_what_is_wrong_again() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "$1/month");
    let control = over(folder.path());
    write(folder.path(), "lots");
    assert!(control.differs());
    assert!(control.reload().is_some_and(|outcome| outcome.is_err()));
    assert!(!control.differs() && control.reload().is_none());
    assert!(control.reload_now().is_err());
    assert!(control.load().number == 1 && !control.last_reload().ok);
}
