//! The tables of keys: held against the readers in both directions, and against every file that the repository shows.

mod pattern;
mod texts;
mod validator;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plimsoll::config::Settings;
use plimsoll::config::schema::CONFIG;
use plimsoll::diagnostic::{Diagnostic, Source};
use plimsoll::domain::price::PriceBook;
use plimsoll::policy::hypothesis::read;
use plimsoll::policy::schema::policy::POLICY;
use plimsoll::policy::schema::prices::PRICES;
use plimsoll::policy::schema::suite::SUITE;
use plimsoll::policy::schema::{Map, json_schema, maps, reference, sample};
use plimsoll::policy::suite::Suite;
use serde_json::Value;

use crate::check::{out, plimsoll};
use crate::policies::{MINIMAL, compile_text};

use validator::faults;

/// A key that no file has.
const PROBE: &str = "zzz_probe";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a reader says of a text.
type Reader = fn(&str) -> Vec<Diagnostic>;

fn policy(text: &str) -> Vec<Diagnostic> {
    compile_text(text).0.diagnostics
}

fn config(text: &str) -> Vec<Diagnostic> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plimsoll.yaml");
    fs::write(&file, text).expect("a file");
    let read = Settings::load(Some(&file), &|_| Some("a-secret-of-many-characters".to_owned()));
    read.map_or_else(|broken| broken.diagnostics, |settings| settings.warnings)
}

fn suite(text: &str) -> Vec<Diagnostic> {
    let policy = crate::policies::policy(MINIMAL);
    let reader = read::Reader { policy: &policy, models: &|_| None, tenants: &|_| None };
    Suite::read(&Source::new("policy_test.yaml", text), &reader).err().unwrap_or_default()
}

/// The keys that a reader takes where `map` stands, as it says itself of a key that it does not take.
fn taken(root: &'static Map, map: &'static Map, read: Reader) -> BTreeSet<String> {
    let diagnostics = read(&sample(root, map, &format!("{PROBE}: 1")));
    let probed = diagnostics.into_iter().filter(|one| one.message.starts_with(&format!("unknown key `{PROBE}`")));
    let notes = probed.flat_map(|one| one.notes);
    let lists = notes.filter_map(|note| note.strip_prefix("valid here: ").map(str::to_owned));
    lists.flat_map(|list| list.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Whether a key is understood and refused: then editors need not offer it.
fn is_for_later(root: &'static Map, map: &'static Map, key: &str, read: Reader) -> bool {
    let diagnostics = read(&sample(root, map, &format!("{key}: 1")));
    diagnostics.iter().any(|one| one.code == "E190" && one.message.starts_with(&format!("`{key}` is")))
}

fn differences(root: &'static Map, read: Reader) -> Vec<String> {
    let mut faults = Vec::new();
    for map in maps(root) {
        // Where every other key is a name of the operator's own, none is unknown.
        if map.others.is_some() {
            continue;
        }
        let listed: BTreeSet<String> = map.keys().map(|key| key.name.to_owned()).collect();
        let taken = taken(root, map, read);
        if taken.is_empty() {
            faults.push(format!("no reader looks at `{}`: is there a key of that shape?", map.name));
            continue;
        }
        for key in taken.difference(&listed).filter(|key| !is_for_later(root, map, key, read)) {
            faults.push(format!("`{key}` of `{}` is read and not in its table under src/policy/schema", map.name));
        }
        for key in listed.difference(&taken) {
            faults.push(format!("`{key}` of `{}` is in its table and no reader takes it", map.name));
        }
    }
    faults
}

#[test]
fn the_tables_hold_the_keys_that_the_readers_take() {
    for (root, read) in [(&POLICY, policy as Reader), (&CONFIG, config), (&SUITE, suite)] {
        let faults = differences(root, read);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn the_table_of_prices_holds_the_keys_that_are_read() {
    for map in maps(&PRICES) {
        let text = sample(&PRICES, map, &format!("{PROBE}: 1"));
        let Err(error) = PriceBook::builtin().with_yaml("probe", &text) else { panic!("{PROBE} is taken in {text}") };
        let (_, words) = error.message.split_once("expected one of ").unwrap_or_else(|| panic!("{}", error.message));
        let words: BTreeSet<&str> = words.split(", ").collect();
        let listed: BTreeSet<&str> = map.keys().map(|key| key.name).collect();
        assert_eq!(words, listed, "`{}`: {}", map.name, error.message);
    }
}

fn in_json(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

/// The files that the repository ships, each with the table of its kind and the name of that.
fn shipped() -> Vec<(PathBuf, &'static Map, &'static str)> {
    let mut files: Vec<(PathBuf, &'static Map, &'static str)> = Vec::new();
    let folders = ["policies", "policies/advanced", "docs"];
    for path in folders.iter().flat_map(|folder| yaml_files(&root().join(folder))) {
        let is_suite = path.to_string_lossy().ends_with("_test.yaml");
        files.push(if is_suite { (path, &SUITE, "tests") } else { (path, &POLICY, "policy") });
    }
    files
}

#[test]
fn every_shipped_file_fits_its_schema_and_says_where_it_is() {
    let files = shipped();
    assert!(files.len() >= 6, "{files:?}");
    for (path, table, name) in files {
        let text = fs::read_to_string(&path).expect("a file");
        let found = faults(&json_schema(table), &in_json(&text));
        assert!(found.is_empty(), "{}: {}", path.display(), found.join("\n"));
        let line = text.lines().find_map(|line| line.strip_prefix("# yaml-language-server: $schema="));
        let line = line.unwrap_or_else(|| panic!("{}: no `# yaml-language-server: $schema=…`", path.display()));
        let schema = line.split(' ').next().expect("a path");
        let schema = path.parent().expect("a folder").join(schema);
        assert_eq!(
            schema.canonicalize().expect("the schema that the comment names"),
            root().join(format!("docs/schema/{name}.json")).canonicalize().expect("a schema")
        );
    }
}

/// The examples of the pages of codes: kind, whether it is right, text.
fn examples() -> Vec<(String, &'static Map, bool, String)> {
    let mut examples = Vec::new();
    for entry in fs::read_dir(root().join("docs/codes")).expect("the pages").flatten() {
        let page = fs::read_to_string(entry.path()).expect("a page");
        let code = entry.file_name().to_string_lossy().trim_end_matches(".md").to_owned();
        for block in page.split("```yaml ").skip(1) {
            let (info, text) = block.split_once('\n').expect("an example");
            let text = text.split("```").next().expect("a text").to_owned();
            let table: &'static Map = match info.split_once(' ') {
                Some((_, "config")) => &CONFIG,
                Some((_, "prices")) => &PRICES,
                Some((_, other)) => panic!("{code}: no schema for `{other}`"),
                None => &POLICY,
            };
            examples.push((code.clone(), table, info.starts_with("right"), text));
        }
    }
    examples
}

#[test]
fn every_right_example_fits_and_wrong_ones_that_an_editor_can_see_do_not() {
    let mut seen = BTreeSet::new();
    for (code, table, right, text) in examples() {
        if right {
            let found = faults(&json_schema(table), &in_json(&text));
            assert!(found.is_empty(), "{code}: {}\n{text}", found.join("\n"));
        } else if ["E104", "E105", "E111", "E112", "E121", "E122", "E162"].contains(&code.as_str()) {
            assert!(!faults(&json_schema(table), &in_json(&text)).is_empty(), "{code}\n{text}");
            seen.insert(code);
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn the_files_made_from_the_tables_are_not_stale() {
    let folder = tempfile::tempdir().expect("a folder");
    for (table, name) in [(&POLICY, "policy"), (&CONFIG, "config"), (&SUITE, "tests"), (&PRICES, "prices")] {
        let made = format!("{:#}\n", json_schema(table));
        assert_eq!(out(&plimsoll(folder.path(), &["schema", name])), made);
        let file = fs::read_to_string(root().join(format!("docs/schema/{name}.json"))).unwrap_or_default();
        assert!(
            file == made,
            "write docs/schema/{name}.json again: `plimsoll schema {name} > docs/schema/{name}.json`"
        );
    }
    let made = out(&plimsoll(folder.path(), &["schema", "--markdown"]));
    assert_eq!(made, reference("Policy reference", &POLICY));
    let file = fs::read_to_string(root().join("docs/policy-reference.md")).unwrap_or_default();
    assert!(
        file == made,
        "write docs/policy-reference.md again: `plimsoll schema --markdown > docs/policy-reference.md`"
    );
}
