//! Rows of CSV with the place of every cell.
//!
//! Cells are separated by commas and may be quoted (RFC 4180); a cell holds no line break, so that a forgotten quote is
//! found in its own line.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, MOST_SHOWN, Place, Source};
use crate::domain::money::Money;
use crate::domain::tenant::{MAX_ID_BYTES, Revenue, Tenant, TenantId, UNATTRIBUTED};
use crate::domain::window::Period;

use super::KnownNames;

/// The columns, in the order of the documentation.
const COLUMNS: [&str; 7] = ["tenantId", "name", "plan", "segment", "account_owner", "revenue", "upgrade_url"];

/// One cell.
struct Cell<'c> {
    text: Cow<'c, str>,
    spot: Spot,
}

/// Where a cell stands in the file.
#[derive(Clone, Copy)]
struct Spot {
    line: u32,
    column: u32,
    length: u32,
}

impl Spot {
    fn of(self, file: &Arc<str>) -> Place {
        let Self { line, column, length } = self;
        Place { file: Arc::clone(file), line, column, length }
    }
}

/// The names that a policy defines, to be found at once, and in words.
struct Names<'a> {
    plans: (HashSet<&'a str>, String),
    segments: (HashSet<&'a str>, String),
}

impl<'a> Names<'a> {
    fn of(known: KnownNames<'a>) -> Self {
        let names = |names: &'a [&'a str]| (names.iter().copied().collect(), names.join(", "));
        Self { plans: names(known.plans), segments: names(known.segments) }
    }
}

pub(super) fn read(csv: &Source, known: Option<KnownNames<'_>>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Tenant> {
    let text = csv.text.strip_prefix('\u{feff}').unwrap_or(&csv.text);
    let mut lines = text.lines().zip(1_u32..).filter(|(line, _)| !line.trim().is_empty());
    let Some((header, number)) = lines.next() else {
        let fault = Diagnostic::error("E171", "the file of tenants has no header").at(&csv.start(), "");
        diagnostics.push(fault.help(format!("begin with the line `{}`", COLUMNS.join(","))));
        return Vec::new();
    };
    let file = &csv.name;
    let mut cells = Vec::new();
    if read_cells(&mut cells, file, header, number, diagnostics).is_none() {
        return Vec::new();
    }
    let Some(columns) = columns(file, &cells, diagnostics) else { return Vec::new() };
    let known = known.map(Names::of);
    let mut seen: HashMap<TenantId, Spot> = HashMap::new();
    let (mut tenants, shared) = (Vec::new(), RefCell::default());
    for (line, number) in lines {
        if read_cells(&mut cells, file, line, number, diagnostics).is_none() {
            continue;
        }
        let row = Row { file, cells: &cells, columns: &columns, shared: &shared };
        let Some((tenant, spot)) = row.tenant(known.as_ref(), diagnostics) else { continue };
        if let Some(first) = seen.get(&tenant.id) {
            let fault = Diagnostic::error("E172", format!("tenant `{}` is given twice", tenant.id));
            let fault = fault.at(&spot.of(file), "again here").see(&first.of(file), "first given here");
            diagnostics.push(fault.help("keep one of the two rows"));
            continue;
        }
        seen.insert(tenant.id.clone(), spot);
        tenants.push(tenant);
    }
    tenants
}

/// Which column each cell of the header names. `None` when the tenants cannot be told.
fn columns(
    file: &Arc<str>,
    header: &[Cell<'_>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<Option<&'static str>>> {
    let mut columns: Vec<Option<&'static str>> = Vec::new();
    for cell in header {
        let column = COLUMNS.into_iter().find(|column| *column == cell.text);
        let twice = column.is_some() && columns.contains(&column);
        if column.is_none() || twice {
            let what = if twice { "is given twice" } else { "is not a column of tenants" };
            let fault = Diagnostic::error("E171", format!("`{}` {what}", cell.text)).at(&cell.spot.of(file), "");
            diagnostics.push(fault.note(format!("valid here: {}", COLUMNS.join(", "))));
        }
        columns.push(column.filter(|_| !twice));
    }
    if columns.contains(&Some("tenantId")) {
        return Some(columns);
    }
    let place = header.first().map(|cell| cell.spot.of(file))?;
    diagnostics.push(Diagnostic::error("E171", "there is no column `tenantId`").at(&place, "this line is the header"));
    None
}

/// Takes the cells of one line in place of those of the last; `None` when it is `E173`.
fn read_cells<'c>(
    cells: &mut Vec<Cell<'c>>,
    file: &Arc<str>,
    line: &'c str,
    number: u32,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<()> {
    cells.clear();
    let mut rest = line;
    let mut column = 1_u32;
    loop {
        let Some((text, raw)) = cell(rest) else {
            let spot = Spot { line: number, column, length: 1 };
            let fault = Diagnostic::error("E173", "this quote is not closed in its line").at(&spot.of(file), "");
            diagnostics.push(fault.help("close it, or leave it out: only cells with a comma need quotes"));
            return None;
        };
        let width = u32::try_from(raw.chars().count()).unwrap_or(u32::MAX);
        let spot = Spot { line: number, column, length: width.max(1) };
        let after = rest.get(raw.len()..)?;
        cells.push(Cell { text, spot });
        if after.is_empty() {
            return Some(());
        }
        let Some(next) = after.strip_prefix(',') else {
            let fault = Diagnostic::error("E173", "a comma is expected after a quoted cell");
            diagnostics.push(fault.at(&spot.of(file), ""));
            return None;
        };
        rest = next;
        column = column.saturating_add(width).saturating_add(1);
    }
}

/// The text of the first cell and how it was written. `None` when its quote is not closed.
fn cell(rest: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let raw = rest.split_once(',').map_or(rest, |(raw, _)| raw);
        return Some((Cow::Borrowed(raw.trim()), raw));
    };
    let end = closing(quoted)?;
    let inner = quoted.get(..end)?;
    let text = if inner.contains('"') { Cow::Owned(inner.replace("\"\"", "\"")) } else { Cow::Borrowed(inner) };
    Some((text, rest.get(..end + 2)?))
}

/// Where the quote that ends a quoted cell stands; a doubled quote is part of the text.
fn closing(quoted: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + quoted.get(from..)?.find('"')?;
        if !quoted.get(at + 1..)?.starts_with('"') {
            return Some(at);
        }
        from = at + 2;
    }
}

struct Row<'r> {
    file: &'r Arc<str>,
    cells: &'r [Cell<'r>],
    columns: &'r [Option<&'static str>],
    /// Texts that many rows have, each of them once.
    shared: &'r RefCell<HashSet<Arc<str>>>,
}

impl Row<'_> {
    /// The cell of a column; `None` when it is absent or empty.
    fn cell(&self, column: &str) -> Option<&Cell<'_>> {
        let at = self.columns.iter().position(|name| *name == Some(column))?;
        self.cells.get(at).filter(|cell| !cell.text.is_empty())
    }

    /// A text that many rows have.
    fn shared(&self, column: &str) -> Option<Arc<str>> {
        let text = &*self.cell(column)?.text;
        let mut shared = self.shared.borrow_mut();
        if let Some(known) = shared.get(text) {
            return Some(Arc::clone(known));
        }
        let new = Arc::from(text);
        shared.insert(Arc::clone(&new));
        Some(new)
    }

    fn tenant(&self, known: Option<&Names<'_>>, diagnostics: &mut Vec<Diagnostic>) -> Option<(Tenant, Spot)> {
        let start = self.cells.first()?.spot;
        if self.cells.len() > self.columns.len() {
            let extra = self.cells.get(self.columns.len()).map_or(start, |cell| cell.spot);
            let message = format!("this row has {} cells, the header {}", self.cells.len(), self.columns.len());
            let fault = Diagnostic::error("E173", message).at(&extra.of(self.file), "one too many");
            diagnostics.push(fault.help("put a cell that holds a comma in double quotes"));
            return None;
        }
        let Some(id) = self.cell("tenantId") else {
            diagnostics.push(Diagnostic::error("E174", "this row has no `tenantId`").at(&start.of(self.file), ""));
            return None;
        };
        let tenant_id = TenantId::new(&id.text).ok().filter(|_| id.text != UNATTRIBUTED);
        if tenant_id.is_none() {
            let fault = Diagnostic::error("E174", format!("`{}` is not an identifier of a tenant", id.text));
            let help =
                format!("1 to {MAX_ID_BYTES} visible ASCII characters without quotes, commas, backslashes or blanks");
            diagnostics.push(fault.at(&id.spot.of(self.file), "").help(help));
        }
        let revenue = self.revenue(diagnostics);
        let tenant = Tenant {
            id: tenant_id?,
            name: self.cell("name").map(|cell| Box::from(&*cell.text)),
            plan: self.shared("plan"),
            segment: self.shared("segment"),
            account_owner: self.shared("account_owner"),
            revenue: revenue.ok()?,
            upgrade_url: self.shared("upgrade_url"),
        };
        if let Some(known) = known {
            self.compare("plan", &known.plans, diagnostics);
            self.compare("segment", &known.segments, diagnostics);
        }
        Some((tenant, id.spot))
    }

    /// A row may be ahead of the policy: an undefined name is a warning. The names that are defined are listed beside the
    /// first ones only: a hundred thousand rows may be wrong.
    fn compare(&self, column: &str, (known, list): &(HashSet<&str>, String), diagnostics: &mut Vec<Diagnostic>) {
        let Some(cell) = self.cell(column).filter(|cell| !known.contains(&*cell.text)) else { return };
        let mut fault = Diagnostic::warning("W175", format!("{column} `{}` is not defined in the policy", cell.text));
        fault = fault.at(&cell.spot.of(self.file), "");
        if !known.is_empty() && diagnostics.len() < MOST_SHOWN {
            fault = fault.note(format!("defined: {list}"));
        }
        diagnostics.push(fault);
    }

    /// `199/month`; empty or zero is no revenue. `Err` is a mistake that was reported.
    fn revenue(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<Option<Revenue>, ()> {
        let Some(cell) = self.cell("revenue").filter(|cell| cell.text != "0") else { return Ok(None) };
        let parsed = cell.text.split_once('/').and_then(|(amount, per)| {
            let amount = Money::parse_decimal(amount.trim()).filter(|amount| amount.nano() >= 0)?;
            let per = per.trim();
            let per = Period::parse(if per == "min" { "minute" } else { per })?;
            Some(Revenue { amount, per })
        });
        let Some(revenue) = parsed else {
            let fault = Diagnostic::error("E174", format!("`{}` is not a revenue", cell.text));
            let fault = fault.at(&cell.spot.of(self.file), "");
            diagnostics.push(fault.help("write `199/month` (the policy's currency, no sign, no thousands separator)"));
            return Err(());
        };
        Ok(Some(revenue).filter(|revenue| revenue.amount.nano() > 0))
    }
}
