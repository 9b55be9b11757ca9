//! The house rules, kept by a machine: import direction, no cycles, small files, a head on every module, true paths in
//! ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules by floor. A module imports only from floors strictly below its own.
const FLOORS: [&[&str]; 7] = [
    &["allocator", "domain", "diagnostic", "telemetry"],
    &["directory", "invoice", "meter", "policy", "wire"],
    &["alert", "control", "ledger", "sim"],
    &["admin", "gateway"],
    &["config"],
    &["node"],
    &["cli"],
];

const LONGEST_FILE: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// The top-level module that a file belongs to: `src/wire/scan.rs` → `wire`.
fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).expect("a file below src");
    let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Every `crate::x` of a source text, with `crate::{a::…, b::…}` taken apart.
fn imports(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                    _ if depth == 0 => item.push(character),
                    _ => {}
                }
            }
            found.push(item);
        } else {
            found.push(rest.to_owned());
        }
    }
    let name = |text: String| {
        text.trim().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect::<String>()
    };
    found.into_iter().map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn modules_import_only_from_floors_below() {
    let mut faults = Vec::new();
    for path in rust_files(&root().join("src")) {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source file");
        let Some(floor) = floor_of(&module) else {
            faults.push(format!("{}: `{module}` stands on no floor", path.display()));
            continue;
        };
        for import in imports(&source) {
            let Some(other) = floor_of(&import) else { continue };
            if import != module && other >= floor {
                faults.push(format!("{}: imports `{import}` (floor {other}) from floor {floor}", path.display()));
            }
        }
        for banned in ["use crate::*", "super::super"] {
            if source.contains(banned) {
                faults.push(format!("{}: `{banned}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn domain_and_thought_do_not_wait() {
    let mut faults = Vec::new();
    for floor in &FLOORS[..2] {
        for path in rust_files(&root().join("src")) {
            if !floor.contains(&module_of(&path).as_str()) {
                continue;
            }
            let source = fs::read_to_string(&path).expect("a source file");
            for banned in ["async fn", ".await", "tokio::", "std::fs", "std::net"] {
                if source.contains(banned) {
                    faults.push(format!("{}: `{banned}`", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_small_and_say_what_they_are() {
    let mut faults = Vec::new();
    for path in rust_files(&root().join("src")) {
        let source = fs::read_to_string(&path).expect("a source file");
        let lines = source.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{}: {lines} lines, at most {LONGEST_FILE}", path.display()));
        }
        if !source.starts_with("//!") {
            faults.push(format!("{}: no `//!` head", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut missing = BTreeSet::new();
    for (at, _) in text.match_indices("src/") {
        let path: String = text[at..]
            .chars()
            .take_while(|character| character.is_alphanumeric() || matches!(character, '/' | '_' | '.' | '-'))
            .collect();
        let path = path.trim_end_matches(['.', '/']);
        if !root().join(path).exists() {
            missing.insert(path.to_owned());
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names what does not exist: {missing:?}");
}

#[test]
fn the_import_reader_sees_every_form() {
    let source =
        "use crate::domain::money::Money; use crate::{wire::sse, policy::{a, b}}; let x = crate::meter::Meter;";
    assert_eq!(imports(source), ["domain", "wire", "policy", "meter"]);
}
