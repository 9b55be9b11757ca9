//! The example policies as they get broken: each copy gives a diagnostic with a place, or means what the original means.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use plimsoll::control::folder::Files;
use plimsoll::diagnostic::{Diagnostic, Source, render};
use plimsoll::policy::Compiled;

use super::{MINIMAL, REALISTIC, compile_all, compile_text};

/// Without these a policy is not complete. Others may be left out: that is another policy, and no mistake.
const REQUIRED: [&str; 17] = [
    "version",
    "mode",
    "limit",
    "escalation",
    "at",
    "within",
    "otherwise",
    "tenantId",
    "reason",
    "approved_by",
    "expires",
    "above",
    "versus",
    "tenant_share_above",
    "requests_above",
    "success_below",
    "for",
];

/// Sections whose entries have names of the operator's own.
const NAMING: [&str; 6] = ["plans", "segments", "endpoints", "routes", "budgets", "escalations"];

/// No copy may take longer, however slow and busy the machine. On an idle one each takes some milliseconds.
const FAR_TOO_LONG: Duration = Duration::from_secs(20);

/// A key in a text, with what belongs to it.
struct Entry {
    key: String,
    /// The key's own letters.
    name: Range<usize>,
    /// The value on the same line; empty for a block.
    value: Range<usize>,
    /// The whole entry: in a block its lines with all below it, in braces up to the next entry.
    whole: Range<usize>,
    /// Whether the operator chose the key.
    own_name: bool,
    in_braces: bool,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut section = String::new();
    let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    for pair in starts.windows(2) {
        let line = &text[pair[0]..pair[1]];
        let code = line.split(" #").next().expect("a first part").trim_end();
        let indent = code.len() - code.trim_start().len();
        if code.is_empty() || code.trim_start().starts_with('#') {
            continue;
        }
        let dash = if code[indent..].starts_with("- ") { 2 } else { 0 };
        let Some(colon) = code.find(':') else { continue };
        let key = code[indent + dash..colon].to_owned();
        if indent == 0 {
            section.clone_from(&key);
        }
        let rest = &code[colon + 1..];
        let value = pair[0] + colon + 1 + (rest.len() - rest.trim_start().len())..pair[0] + code.len();
        let below = starts.iter().filter(|start| **start >= pair[1]).find(|start| {
            let next = &text[**start..];
            next.lines()
                .next()
                .is_none_or(|next| !next.trim().is_empty() && next.len() - next.trim_start().len() <= indent)
        });
        let own_name = indent == 2 && NAMING.contains(&section.as_str());
        let whole = pair[0] + if dash > 0 { indent + dash } else { 0 }..below.copied().unwrap_or(text.len());
        found.push(Entry {
            name: pair[0] + indent + dash..pair[0] + colon,
            value: value.clone(),
            whole,
            own_name,
            in_braces: false,
            key,
        });
        if text[value.clone()].starts_with('{') && section != "routes" {
            in_braces(text, value.start + 1..value.end - 1, &mut found);
        }
    }
    found
}

/// The entries between two braces, and between those inside.
fn in_braces(text: &str, range: Range<usize>, found: &mut Vec<Entry>) {
    let mut depth = 0;
    let mut from = range.start;
    for (at, letter) in
        text[range.clone()].char_indices().map(|(at, letter)| (range.start + at, letter)).chain([(range.end, ',')])
    {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                let entry = &text[from..at];
                if let Some(colon) = entry.find(": ") {
                    let lead = entry.len() - entry.trim_start().len();
                    let value = from + colon + 2..from + entry.trim_end().len();
                    found.push(Entry {
                        key: entry[lead..colon].to_owned(),
                        name: from + lead..from + colon,
                        value: value.clone(),
                        whole: from..at,
                        own_name: false,
                        in_braces: true,
                    });
                    if text[value.clone()].starts_with('{') {
                        in_braces(text, value.start + 1..value.end - 1, found);
                    }
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

fn with(text: &str, range: Range<usize>, new: &str) -> String {
    format!("{}{new}{}", &text[..range.start], &text[range.end..])
}

/// The copies with one entry changed: what was done, and the text.
fn mutants_of(text: &str, entry: &Entry) -> Vec<(&'static str, String)> {
    let mut mutants = Vec::new();
    let own = &text[entry.whole.clone()];
    let between = if entry.in_braces { "," } else { "" };
    mutants.push(("doubled", with(text, entry.whole.clone(), &format!("{own}{between}{own}"))));
    // A budget may leave `mode` to the policy, and an exception the limit to its budget.
    let left_to_others = (entry.key == "mode" && text[..entry.name.start].ends_with("  "))
        || (entry.key == "limit" && text[..entry.name.start].contains("\nexceptions:"));
    if REQUIRED.contains(&entry.key.as_str()) && !left_to_others {
        let comma = usize::from(entry.in_braces && text[entry.whole.end..].starts_with(','));
        mutants.push(("dropped", with(text, entry.whole.start..entry.whole.end + comma, "")));
    }
    if !entry.own_name && entry.key.len() > 2 {
        let mut letters: Vec<char> = entry.key.chars().collect();
        letters.swap(0, 1);
        if letters[0] != letters[1] {
            mutants.push(("misspelt", with(text, entry.name.clone(), &letters.into_iter().collect::<String>())));
        }
    }
    if !entry.in_braces {
        let line = text[..entry.name.start].rfind('\n').map_or(0, |at| at + 1);
        mutants.push(("indented more", with(text, line..line, " ")));
        mutants.push(("indented with a tab", with(text, line..entry.name.start, "\t")));
        if text[line..].starts_with("  ") {
            mutants.push(("indented less", with(text, line..line + 1, "")));
        }
    }
    if !entry.value.is_empty() {
        mutants.push(("blanked", with(text, entry.value.clone(), "")));
        mutants.push(("a list of lists", with(text, entry.value.clone(), "[[x]]")));
        mutants.push(("keys of nothing", with(text, entry.value.clone(), "{ no_such_key: 1 }")));
        let value = &text[entry.value.clone()];
        let digits = value.trim_start_matches('$');
        let is_number = digits.starts_with(|letter: char| letter.is_ascii_digit()) && !value.starts_with("20");
        if is_number && entry.key != "version" {
            let at = entry.value.start + value.len() - digits.len();
            mutants.push(("a thousands separator", with(text, at..at, "1,0")));
        }
    }
    mutants
}

fn is_placed(diagnostic: &Diagnostic, text: &str) -> bool {
    let lines = u32::try_from(text.lines().count()).expect("a short file");
    diagnostic.place.as_ref().is_some_and(|place| place.line >= 1 && place.line <= lines + 1 && place.column >= 1)
}

/// Why a broken copy is not treated as it should be.
fn fault(original: &str, text: &str) -> Option<String> {
    let begun = Instant::now();
    let (compiled, shown) = compile_text(text);
    if begun.elapsed() > FAR_TOO_LONG {
        return Some("it takes far too long".to_owned());
    }
    let Compiled { policy, diagnostics } = compiled;
    if !diagnostics.is_empty() {
        let unplaced = diagnostics.iter().filter(|one| !is_placed(one, text)).count();
        return (unplaced > 0).then(|| format!("a diagnostic has no place in the file:\n{shown}"));
    }
    let meant = format!("{policy:?}");
    (meant != original).then(|| "it compiles to another policy, and nothing is said".to_owned())
}

#[test]
fn every_broken_copy_is_told_its_place_or_means_the_same() {
    let mut tried = 0;
    let mut faults = Vec::new();
    for text in [REALISTIC, MINIMAL] {
        let original = format!("{:?}", compile_text(text).0.policy);
        for entry in entries(text) {
            for (what, mutant) in mutants_of(text, &entry) {
                tried += 1;
                if let Some(fault) = fault(&original, &mutant) {
                    let line = text[..entry.name.start].lines().count();
                    faults.push(format!("`{}` in line {line}, {what}: {fault}", entry.key));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} of {tried}:\n{}", faults.len(), faults.join("\n"));
    assert!(tried >= 600, "only {tried} copies were tried");
}

#[test]
fn no_byte_that_is_missing_or_doubled_breaks_the_reader() {
    for text in [REALISTIC, MINIMAL] {
        for at in (0..text.len()).step_by(23).filter(|at| text.is_char_boundary(*at)) {
            let width = text[at..].chars().next().map_or(0, char::len_utf8);
            let letter = &text[at..at + width];
            for broken in [with(text, at..at + width, ""), with(text, at..at, letter), text[..at].to_owned()] {
                for diagnostic in compile_text(&broken).0.diagnostics {
                    assert!(is_placed(&diagnostic, &broken), "{}\n{broken}", diagnostic.one_line());
                }
            }
        }
    }
}

// Found by fuzzing: places were counted in lines that no editor shows.
#[test]
fn line_ends_of_old_machines_are_refused_and_those_of_windows_are_not() {
    let (compiled, shown) = compile_text("version: 1\nmode:\renforce\rbudgets: [\n");
    assert!(compiled.policy.is_none());
    insta::assert_snapshot!(shown.lines().take(2).collect::<Vec<_>>().join("\n"), @r"
    error[E107]: a carriage return alone ends no line here
     --> policy.yaml:2:6
    ");
    let windows = REALISTIC.replace('\n', "\r\n");
    assert_eq!(compile_text(&windows).1, "");
}

#[test]
fn bombs_of_aliases_end_with_a_diagnostic() {
    for section in ["plans", "budgets", "escalations", "exceptions", "nothing"] {
        let mut bomb = String::from("version: 1\nmode: enforce\nx0: &x0 { a: { limit: $1/day } }\n");
        for level in 1..40 {
            let one = format!("*x{}", level - 1);
            let _ = writeln!(bomb, "x{level}: &x{level} {{ a: {one}, b: {one}, c: {one} }}");
        }
        let _ = writeln!(bomb, "{section}: *x39");
        let (compiled, shown) = compile_text(&bomb);
        assert!(compiled.policy.is_none() && shown.contains("at most 100000 values"), "{shown}");
        assert!(compiled.diagnostics.iter().all(|one| is_placed(one, &bomb)), "{shown}");
    }
}

#[test]
fn a_file_of_a_hundred_mebibytes_is_refused_unread() {
    let folder = tempfile::tempdir().expect("a folder");
    // Sparse: it takes no room, and reading it would take a second or more.
    fs::File::create(folder.path().join("policy.yaml")).and_then(|file| file.set_len(100 << 20)).expect("a file");
    let refused = Files::read(folder.path()).expect_err("a file that is too large");
    insta::assert_snapshot!(render(&[*refused], &[]), @r"
    error[E002]: `policy.yaml` is larger than 4 MiB
     --> policy.yaml:1:1
      |
      = help: look whether the right file is in this place; a policy can be split over several files
    ");
    // What comes through the admin API is not read from the folder first.
    let source = Source::new("policy.yaml", &" ".repeat(5 << 20));
    let compiled = compile_all(std::slice::from_ref(&source));
    assert!(compiled.diagnostics.iter().any(|one| one.code == "E002" && one.place.is_some()));
}

#[test]
fn ten_thousand_slips_are_found_in_one_pass() {
    let mut texts =
        vec![String::from("version: 1\nmode: enforce\nbudgets:\n"), String::from("version: 1\nmode: enforce\n")];
    for number in 0..10_000 {
        let _ = writeln!(texts[0], "  budget_{number}: {{ escalation: escalation_of_nobody_{number} }}");
        let _ = writeln!(texts[1], "budgetss_{number}: 1");
    }
    for text in texts {
        let begun = Instant::now();
        let (compiled, _) = compile_text(&text);
        assert!(compiled.diagnostics.len() > 9_999, "{}", compiled.diagnostics.len());
        assert!(begun.elapsed() < FAR_TOO_LONG, "{:?}", begun.elapsed());
    }
}
