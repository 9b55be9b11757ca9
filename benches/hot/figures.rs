//! The table of figures: what is checked in, what was measured, and whether they agree.

use std::fmt::Write as _;
use std::process::Command;
use std::{fs, io};

/// Where the table is.
pub(crate) const FILE: &str = "benches/hot/figures.txt";

/// What the file says about itself.
const HEAD: &str = "\
# What the hot path costs, per call: instructions that callgrind counts in the code as it is shipped (release profile), and
# allocations. The parts are in parts.rs, their inputs in inputs.rs; `call-…` is a whole call (whole.rs), counted on the
# gateway's cores. `scripts/hot-path` measures anew and fails when a figure is off, in either direction: a gain that is not
# written down is lost again unseen. Where a change is meant: `scripts/hot-path --update`, and the commit says why.
#
";
const COLUMNS: &str = "# part                instructions   allocations\n";

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// Instructions of one call. `None`: they are not counted.
    pub(crate) instructions: Option<u64>,
    /// Allocations of one call.
    pub(crate) allocations: u64,
}

/// Stands before the name of the compiler.
const COMPILER: &str = "# Measured with ";

/// The checked-in table.
pub(crate) struct Table {
    figures: Vec<Figure>,
    /// Another compiler makes other code: then only what is far off counts.
    other_compiler: bool,
}

/// Reads the checked-in table.
pub(crate) fn read() -> io::Result<Table> {
    let text = fs::read_to_string(FILE)?;
    let measured_with = text.lines().find_map(|line| line.strip_prefix(COMPILER)).unwrap_or_default();
    Ok(Table { figures: parse(&text), other_compiler: measured_with != compiler()? })
}

fn compiler() -> io::Result<String> {
    let version = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8_lossy(&version.stdout).trim().to_owned())
}

fn parse(text: &str) -> Vec<Figure> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figure = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, instructions, allocations) = (words.next()?, words.next()?, words.next()?);
        Some(Figure {
            name: name.to_owned(),
            instructions: instructions.parse().ok(),
            allocations: allocations.parse().ok()?,
        })
    };
    lines.filter_map(figure).collect()
}

/// Writes the table anew.
pub(crate) fn write(figures: &[Figure]) -> io::Result<()> {
    let mut text = format!("{HEAD}{COMPILER}{}\n#\n{COLUMNS}", compiler()?);
    for figure in figures {
        let _ = writeln!(text, "{figure}");
    }
    fs::write(FILE, text)
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let instructions = self.instructions.map_or_else(|| "-".to_owned(), |count| count.to_string());
        write!(f, "{:<20}{instructions:>14}{:>14}", self.name, self.allocations)
    }
}

/// By how many instructions a figure may be off. Counts repeat but for seeds of hash maps and, in whole calls, for how the
/// kernel cuts the bytes; the rest is for other versions of the C library.
fn tolerated(count: u64, other_compiler: bool) -> u64 {
    let percent = if other_compiler { 10 } else { 2 };
    (count * percent / 100).max(30)
}

/// Of a whole call one allocation more or less is noise; of a part none is.
fn tolerated_allocations(figure: &Figure) -> u64 {
    u64::from(figure.name.starts_with("call-"))
}

impl Table {
    /// A sentence about how the comparison is made, where that is not the usual way.
    pub(crate) fn caveat(&self) -> Option<&'static str> {
        self.other_compiler.then_some("the table was measured with another compiler: instructions may be off by 10 %")
    }

    /// Figures of parts that are measured no more.
    pub(crate) fn stale<'a>(&'a self, measured: &'a [Figure]) -> impl Iterator<Item = String> + 'a {
        let gone = self.figures.iter().filter(|figure| measured.iter().all(|known| known.name != figure.name));
        gone.map(|figure| format!("`{}` is in the table and not measured", figure.name))
    }
}

/// How a measured figure differs from the one that is checked in, as a sentence. `None`: it does not.
pub(crate) fn difference(table: &Table, measured: &Figure) -> Option<String> {
    let Some(known) = table.figures.iter().find(|known| known.name == measured.name) else {
        return Some(format!("`{}` is not in the table", measured.name));
    };
    let mut words = Vec::new();
    if let (Some(was), Some(is)) = (known.instructions, measured.instructions)
        && was.abs_diff(is) > tolerated(was, table.other_compiler)
    {
        words.push(changed("instructions", was, is));
    }
    if known.allocations.abs_diff(measured.allocations) > tolerated_allocations(known) {
        words.push(changed("allocations", known.allocations, measured.allocations));
    }
    (!words.is_empty()).then(|| format!("`{}`: {}", measured.name, words.join(", ")))
}

fn changed(what: &str, was: u64, is: u64) -> String {
    let permille = was.abs_diff(is) * 1_000 / was.max(1);
    let sign = if is > was { '+' } else { '-' };
    format!("{is} {what} instead of {was} ({sign}{}.{} %)", permille / 10, permille % 10)
}
