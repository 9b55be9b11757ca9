//! Rows of CSV with the place of every cell.
//!
//! Cells are separated by commas and may be quoted (RFC 4180); a cell holds no line break, so that a forgotten quote is
//! found in its own line.

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
struct Cell {
    text: String,
    place: Place,
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
    let Some(header) = cells(&csv.name, header, number, diagnostics) else { return Vec::new() };
    let Some(columns) = columns(&header, diagnostics) else { return Vec::new() };
    let known = known.map(Names::of);
    let mut seen: HashMap<TenantId, Place> = HashMap::new();
    let mut tenants = Vec::new();
    for (line, number) in lines {
        let Some(row) = cells(&csv.name, line, number, diagnostics) else { continue };
        let Some((tenant, place)) = Row { cells: &row, columns: &columns }.tenant(known.as_ref(), diagnostics) else {
            continue;
        };
        if let Some(first) = seen.get(&tenant.id) {
            let fault =
                Diagnostic::error("E172", format!("tenant `{}` is given twice", tenant.id)).at(&place, "again here");
            diagnostics.push(fault.see(first, "first given here").help("keep one of the two rows"));
            continue;
        }
        seen.insert(tenant.id.clone(), place);
        tenants.push(tenant);
    }
    tenants
}

/// Which column each cell of the header names. `None` when the tenants cannot be told.
fn columns(header: &[Cell], diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<Option<&'static str>>> {
    let mut columns: Vec<Option<&'static str>> = Vec::new();
    for cell in header {
        let column = COLUMNS.into_iter().find(|column| *column == cell.text);
        let twice = column.is_some() && columns.contains(&column);
        if column.is_none() || twice {
            let what = if twice { "is given twice" } else { "is not a column of tenants" };
            let fault = Diagnostic::error("E171", format!("`{}` {what}", cell.text)).at(&cell.place, "");
            diagnostics.push(fault.note(format!("valid here: {}", COLUMNS.join(", "))));
        }
        columns.push(column.filter(|_| !twice));
    }
    if columns.contains(&Some("tenantId")) {
        return Some(columns);
    }
    let place = header.first().map(|cell| &cell.place)?;
    diagnostics.push(Diagnostic::error("E171", "there is no column `tenantId`").at(place, "this line is the header"));
    None
}

/// The cells of one line, or `E173`.
fn cells(file: &Arc<str>, line: &str, number: u32, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<Cell>> {
    let mut cells = Vec::new();
    let mut rest = line;
    let mut column = 1_u32;
    loop {
        let Some((text, raw)) = cell(rest) else {
            let place = Place { file: Arc::clone(file), line: number, column, length: 1 };
            let fault = Diagnostic::error("E173", "this quote is not closed in its line").at(&place, "");
            diagnostics.push(fault.help("close it, or leave it out: only cells with a comma need quotes"));
            return None;
        };
        let width = u32::try_from(raw.chars().count()).unwrap_or(u32::MAX);
        let place = Place { file: Arc::clone(file), line: number, column, length: width.max(1) };
        let after = rest.get(raw.len()..)?;
        cells.push(Cell { text, place: place.clone() });
        if after.is_empty() {
            return Some(cells);
        }
        let Some(next) = after.strip_prefix(',') else {
            diagnostics.push(Diagnostic::error("E173", "a comma is expected after a quoted cell").at(&place, ""));
            return None;
        };
        rest = next;
        column = column.saturating_add(width).saturating_add(1);
    }
}

/// The text of the first cell and how it was written. `None` when its quote is not closed.
fn cell(rest: &str) -> Option<(String, &str)> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let raw = rest.split_once(',').map_or(rest, |(raw, _)| raw);
        return Some((raw.trim().to_owned(), raw));
    };
    let end = closing(quoted)?;
    Some((quoted.get(..end)?.replace("\"\"", "\""), rest.get(..end + 2)?))
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
    cells: &'r [Cell],
    columns: &'r [Option<&'static str>],
}

impl Row<'_> {
    /// The cell of a column; `None` when it is absent or empty.
    fn cell(&self, column: &str) -> Option<&Cell> {
        let at = self.columns.iter().position(|name| *name == Some(column))?;
        self.cells.get(at).filter(|cell| !cell.text.is_empty())
    }

    fn text(&self, column: &str) -> Option<Arc<str>> {
        self.cell(column).map(|cell| Arc::from(cell.text.as_str()))
    }

    fn tenant(&self, known: Option<&Names<'_>>, diagnostics: &mut Vec<Diagnostic>) -> Option<(Tenant, Place)> {
        let start = self.cells.first().map(|cell| cell.place.clone())?;
        if self.cells.len() > self.columns.len() {
            let extra = self.cells.get(self.columns.len()).map_or(&start, |cell| &cell.place);
            let message = format!("this row has {} cells, the header {}", self.cells.len(), self.columns.len());
            let fault = Diagnostic::error("E173", message).at(extra, "one too many");
            diagnostics.push(fault.help("put a cell that holds a comma in double quotes"));
            return None;
        }
        let Some(id) = self.cell("tenantId") else {
            diagnostics.push(Diagnostic::error("E174", "this row has no `tenantId`").at(&start, ""));
            return None;
        };
        let tenant_id = TenantId::new(&id.text).ok().filter(|_| id.text != UNATTRIBUTED);
        if tenant_id.is_none() {
            let fault = Diagnostic::error("E174", format!("`{}` is not an identifier of a tenant", id.text));
            let help =
                format!("1 to {MAX_ID_BYTES} visible ASCII characters without quotes, commas, backslashes or blanks");
            diagnostics.push(fault.at(&id.place, "").help(help));
        }
        let revenue = self.revenue(diagnostics);
        let tenant = Tenant {
            id: tenant_id?,
            name: self.text("name"),
            plan: self.text("plan"),
            segment: self.text("segment"),
            account_owner: self.text("account_owner"),
            revenue: revenue.ok()?,
            upgrade_url: self.text("upgrade_url"),
        };
        if let Some(known) = known {
            self.compare("plan", &known.plans, diagnostics);
            self.compare("segment", &known.segments, diagnostics);
        }
        Some((tenant, id.place.clone()))
    }

    /// A row may be ahead of the policy: an undefined name is a warning. The names that are defined are listed beside the
    /// first ones only: a hundred thousand rows may be wrong.
    fn compare(&self, column: &str, (known, list): &(HashSet<&str>, String), diagnostics: &mut Vec<Diagnostic>) {
        let Some(cell) = self.cell(column).filter(|cell| !known.contains(cell.text.as_str())) else { return };
        let mut fault = Diagnostic::warning("W175", format!("{column} `{}` is not defined in the policy", cell.text));
        fault = fault.at(&cell.place, "");
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
            let fault = Diagnostic::error("E174", format!("`{}` is not a revenue", cell.text)).at(&cell.place, "");
            diagnostics.push(fault.help("write `199/month` (the policy's currency, no sign, no thousands separator)"));
            return Err(());
        };
        Ok(Some(revenue).filter(|revenue| revenue.amount.nano() > 0))
    }
}
