//! Every code has a title, a page and a failing fixture, and nothing has one without being a code.
//!
//! The fixture of a code is the wrong example of its page: it must give that code and no other, and the right example nothing.
//! To add a code: a row in `policy::codes` (or `config::codes`), a page `docs/codes/E104.md` with a wrong and a right example,
//! and its name in `explain/pages.rs`. What of this is missing, these tests say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Outlook, Settings};
use crate::control::folder::Files;
use crate::control::{Control, History, Surroundings, oversubscribed};
use crate::diagnostic::{Diagnostic, Source, render};
use crate::directory::{Directory, KnownNames};
use crate::domain::clock::{ManualClock, Timestamp};
use crate::domain::price::PriceBook;
use crate::invoice;
use crate::meter::Meter;
use crate::policy;
use crate::policy::advice::{Around, Seen, SeenCalls, Text, advise};

use super::codes::all;
use super::pages::PAGES;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn now() -> Timestamp {
    Timestamp::from_jiff("2026-11-25T12:00:00Z".parse().expect("a moment"))
}

/// A fenced example: what it is, what it is for, its text.
struct Example {
    which: String,
    of: String,
    text: String,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut words = info.split(' ').skip(1).map(str::to_owned);
        let (which, of) = (words.next().unwrap_or_default(), words.next().unwrap_or_else(|| "policy".to_owned()));
        let text: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        examples.push(Example { which, of, text });
    }
    examples
}

/// What the ledger of the fixtures has seen.
fn seen(code: &str) -> Option<Seen> {
    let calls = |tag: &str, requests| SeenCalls {
        endpoint_tag: tag.to_owned(),
        model: "gpt-4o".to_owned(),
        requests,
        reasoning_tokens: 0,
        cost_nano: 1_000_000 * requests,
    };
    let calls = match code {
        "W201" => vec![calls("digest.weekly", 18_200), calls("digest.daily", 4)],
        "W231" => vec![calls("support.reply", 62), calls("agent.plan", 38)],
        _ => return None,
    };
    Some(Seen { days: 7, calls, ..Seen::default() })
}

/// The tenants of the fixtures, as far as it matters how many there are.
const TENANTS: &str = "tenantId,plan\nglobex,growth\ninitech,growth\n";

fn compiled(code: &str, source: &Source) -> Vec<Diagnostic> {
    let sources = std::slice::from_ref(source);
    let prices = PriceBook::builtin();
    let facts = |model: &str| crate::control::model_facts(&prices, model);
    let targets = ["finance".to_owned()];
    let around =
        policy::Surroundings { prices: &facts, price_table: "built-in table", notify_targets: &targets, now: now() };
    let compiled = policy::compile(sources, &around);
    let mut diagnostics = compiled.diagnostics;
    if let Some(policy) = &compiled.policy {
        let seen = seen(code);
        let around = Around { policy, prices: &facts, tenants: &[], seen: seen.as_ref() };
        diagnostics.extend(advise(&Text::of(sources), &around));
        let (tenants, _) = Directory::parse(&Source::new("tenants.csv", TENANTS), None);
        diagnostics.extend(oversubscribed(policy, &tenants, now()));
    }
    diagnostics
}

fn configured(text: &str) -> Vec<Diagnostic> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plimsoll.yaml");
    fs::write(&file, text).expect("a file");
    match Settings::load(Some(&file), &|_| None) {
        Ok(settings) => settings.warnings,
        Err(broken) => broken.diagnostics,
    }
}

fn priced(text: &str) -> Vec<Diagnostic> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("prices.yaml"), text).expect("a file");
    let file = folder.path().join("plimsoll.yaml");
    fs::write(&file, "prices: [prices.yaml]").expect("a file");
    Outlook::load(&file, &|_| None).map_or_else(|broken| broken.diagnostics, |_| Vec::new())
}

fn tenants(source: &Source) -> Vec<Diagnostic> {
    let known = KnownNames { plans: &["starter", "growth"], segments: &[] };
    Directory::parse(source, Some(known)).1
}

fn control(folder: &Path, ledger: Arc<std::sync::atomic::AtomicBool>) -> Control {
    let readable = move || {
        if ledger.load(std::sync::atomic::Ordering::Relaxed) { Ok(Vec::new()) } else { Err("damaged".to_owned()) }
    };
    let history = History { tenants: Box::new(readable), ..History::none() };
    let clock = Arc::new(ManualClock::at(now()));
    let around = Surroundings {
        folder: folder.to_owned(),
        prices: Arc::new(PriceBook::builtin()),
        notify_targets: Vec::new(),
        meter: Arc::new(Meter::default()),
        clock,
        history,
    };
    Control::start(around).expect("a policy in force")
}

/// What no text alone can show: the state of files and of the ledger.
fn happened(code: &str, wrong: bool) -> Vec<Diagnostic> {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.yaml");
    fs::write(&policy, "version: 1\nmode: dry_run\n").expect("a policy");
    if code == "E002" {
        if wrong {
            // Sparse: a hundred mebibytes that take no disk.
            fs::File::create(&policy).and_then(|file| file.set_len(100 << 20)).expect("a large file");
        }
        return Files::read(folder.path()).map_or_else(|fault| vec![*fault], |_| Vec::new());
    }
    let ledger = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let control = control(folder.path(), Arc::clone(&ledger));
    if code == "E004" && wrong {
        fs::remove_file(&policy).expect("a file");
    }
    ledger.store(code != "E003" || !wrong, std::sync::atomic::Ordering::Relaxed);
    control.reload_now().map_or_else(|broken| broken.diagnostics, |_| Vec::new())
}

fn diagnostics(code: &str, example: &Example) -> (Vec<Diagnostic>, Source) {
    let name = if example.of == "tenants" { "tenants.csv" } else { "policy.yaml" };
    let source = Source::new(name, &example.text);
    let found = match example.of.as_str() {
        "policy" => compiled(code, &source),
        "config" => configured(&example.text),
        "prices" => priced(&example.text),
        "tenants" => tenants(&source),
        "invoice" => invoice::read(&source).err().unwrap_or_default(),
        "situation" => happened(code, example.which == "wrong"),
        other => panic!("{code}: an example of `{other}` is of no kind that is known"),
    };
    (found, source)
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let codes: Vec<&str> = all().map(|(code, _)| code).collect();
    let known: BTreeSet<&str> = codes.iter().copied().collect();
    assert_eq!(known.len(), codes.len(), "a code has one meaning");
    let listed: BTreeSet<&str> = PAGES.iter().map(|(code, _)| *code).collect();
    let missing: Vec<_> = known.difference(&listed).collect();
    assert!(missing.is_empty(), "write docs/codes/CODE.md for {missing:?} and add them to src/cli/explain/pages.rs");
    let left: Vec<_> = listed.difference(&known).collect();
    assert!(left.is_empty(), "{left:?} are in src/cli/explain/pages.rs and no codes");
    let files = fs::read_dir(root().join("docs/codes")).expect("the pages").flatten();
    let files: BTreeSet<String> =
        files.map(|file| file.file_name().to_string_lossy().trim_end_matches(".md").to_owned()).collect();
    let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
    assert_eq!(files, listed, "docs/codes and src/cli/explain/pages.rs differ");
}

#[test]
fn every_code_of_the_source_is_listed_and_every_listed_code_is_used() {
    let mut used = BTreeSet::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            let name = path.display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.ends_with("codes.rs") && !name.ends_with("tests.rs") && !name.contains("/diagnostic") {
                let text = fs::read_to_string(&path).expect("a source file");
                // Tests of a module may make up codes; what comes before them may not.
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                used.extend(text.split('"').filter(|word| super::codes::is_code(word)).map(str::to_owned));
            }
        }
    }
    let listed: BTreeSet<String> = all().map(|(code, _)| code.to_owned()).collect();
    let unlisted: Vec<_> = used.difference(&listed).collect();
    assert!(unlisted.is_empty(), "add {unlisted:?} to src/policy/codes.rs or src/config/codes.rs");
    let unused: Vec<_> = listed.difference(&used).collect();
    assert!(unused.is_empty(), "no source gives {unused:?}");
}

#[test]
fn every_wrong_example_gives_its_code_alone_and_every_right_one_nothing() {
    let titles: Vec<_> = all().collect();
    let mut faults = Vec::new();
    for (code, page) in PAGES {
        let title = titles.iter().find(|(known, _)| known == code).map_or("", |(_, title)| title);
        if !page.starts_with(&format!("# {code}: {title}\n\n")) {
            faults.push(format!("{code}: the page does not begin with `# {code}: {title}`"));
        }
        let examples = examples(page);
        let kinds: Vec<&str> = examples.iter().map(|example| example.which.as_str()).collect();
        if kinds != ["wrong", "right"] {
            faults.push(format!("{code}: the page has the examples {kinds:?}, not a wrong and a right one"));
        }
        for example in &examples {
            let (found, source) = diagnostics(code, example);
            let codes: BTreeSet<&str> = found.iter().map(|one| one.code).collect();
            let wanted = if example.which == "wrong" { BTreeSet::from([*code]) } else { BTreeSet::new() };
            if codes != wanted {
                faults.push(format!("{code}, {} example:\n{}", example.which, render(&found, &[source])));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_documentation_lists_every_code() {
    let policy = fs::read_to_string(root().join("docs/policy.md")).expect("the policy's documentation");
    let codes = policy::codes::CODES.iter().map(|(code, title)| format!("| {code} | {title} |\n"));
    let missing: Vec<String> = codes.filter(|row| !policy.contains(row)).collect();
    assert!(missing.is_empty(), "docs/policy.md lacks\n{}", missing.concat());
}
