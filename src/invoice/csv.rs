//! Comma-separated values (RFC 4180) with the place of every cell, so that a mistake can be pointed at.

use std::borrow::Cow;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place, Source};

/// One cell.
#[derive(Debug)]
pub(super) struct Cell<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) place: Place,
}

/// A header and rows of as many cells.
pub(super) struct Table<'t> {
    pub(super) source: &'t Source,
    names: Vec<String>,
    pub(super) rows: Vec<Row<'t>>,
    /// Rows that are not as wide as the header.
    pub(super) uneven: Vec<Diagnostic>,
}

/// The cells of one record.
pub(super) struct Row<'t>(Vec<Cell<'t>>);

impl<'t> Table<'t> {
    pub(super) fn read(source: &'t Source) -> Result<Self, Vec<Diagnostic>> {
        let mut records = records(source).map_err(|problem| vec![problem])?.into_iter();
        let header = records.next().unwrap_or_default();
        let names: Vec<String> = header.iter().map(|cell| cell.text.trim().to_ascii_lowercase()).collect();
        let mut uneven = Vec::new();
        let mut rows = Vec::new();
        for record in records {
            if record.iter().all(|cell| cell.text.trim().is_empty()) {
                continue;
            }
            if record.len() != names.len() {
                uneven.extend(record.first().map(|cell| wide(cell, record.len(), names.len())));
            }
            rows.push(Row(record));
        }
        Ok(Self { source, names, rows, uneven })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The columns' names, as messages show them.
    pub(super) fn columns(&self) -> String {
        let shown: Vec<String> = self.names.iter().take(12).map(|name| name.chars().take(30).collect()).collect();
        shown.join(", ")
    }

    /// The place of a column that a format cannot do without.
    pub(super) fn required(&self, name: &str) -> Result<usize, Vec<Diagnostic>> {
        self.column(name).ok_or_else(|| {
            let missing = Diagnostic::error("E042", format!("the column `{name}` is missing"));
            vec![missing.at(&self.source.start(), "not in this line").help("export the file again with all columns")]
        })
    }
}

impl Row<'_> {
    /// A cell's text without spaces around it; empty where there is no such column.
    pub(super) fn text(&self, column: Option<usize>) -> &str {
        column.and_then(|column| self.0.get(column)).map_or("", |cell| cell.text.trim())
    }

    /// Where a column of this row stands; its first cell when there is no such column.
    pub(super) fn place(&self, column: Option<usize>) -> Place {
        let cell = column.and_then(|column| self.0.get(column)).or_else(|| self.0.first());
        cell.map_or_else(|| Place { file: Arc::from(""), line: 1, column: 1, length: 1 }, |cell| cell.place.clone())
    }
}

fn wide(cell: &Cell<'_>, found: usize, wanted: usize) -> Diagnostic {
    Diagnostic::error("E042", format!("a row of {found} cells under {wanted} columns"))
        .at(&cell.place, "")
        .help("export the file again; a spreadsheet may have changed it")
}

/// Reads cell by cell. A line break inside quotes belongs to its cell.
struct Reader<'t> {
    source: &'t Source,
    rest: &'t str,
    line: u32,
    column: u32,
}

fn records(source: &Source) -> Result<Vec<Vec<Cell<'_>>>, Diagnostic> {
    let text = source.text.trim_start_matches('\u{feff}');
    let mut reader = Reader { source, rest: text, line: 1, column: 1 };
    let (mut records, mut record) = (Vec::new(), Vec::new());
    while !reader.rest.is_empty() {
        record.push(reader.cell()?);
        match reader.rest.as_bytes() {
            [b',', ..] => {
                reader.skip(1);
                if reader.rest.is_empty() {
                    record.push(reader.cell()?);
                }
            }
            [b'\r', b'\n', ..] => {
                reader.skip(2);
                records.push(std::mem::take(&mut record));
            }
            [_, ..] => {
                reader.skip(1);
                records.push(std::mem::take(&mut record));
            }
            [] => {}
        }
    }
    if !record.is_empty() {
        records.push(record);
    }
    Ok(records)
}

impl<'t> Reader<'t> {
    /// Moves over `bytes` bytes, which end at a character's border.
    fn skip(&mut self, bytes: usize) -> &'t str {
        let (passed, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        for character in passed.chars() {
            if character == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
        passed
    }

    fn place(&self, length: usize) -> Place {
        let length = u32::try_from(length.max(1)).unwrap_or(u32::MAX);
        Place { file: Arc::clone(&self.source.name), line: self.line, column: self.column, length }
    }

    fn cell(&mut self) -> Result<Cell<'t>, Diagnostic> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let end = self.rest.find([',', '\n', '\r']).unwrap_or(self.rest.len());
        let place = self.place(self.rest[..end].chars().count());
        Ok(Cell { text: Cow::Borrowed(self.skip(end)), place })
    }

    fn quoted(&mut self) -> Result<Cell<'t>, Diagnostic> {
        let start = self.place(1);
        self.skip(1);
        let mut text = String::new();
        loop {
            let Some(quote) = self.rest.find('"') else {
                let open = Diagnostic::error("E042", "a quote that is never closed").at(&start, "opened here");
                return Err(open.help("export the file again; it may be cut off"));
            };
            text.push_str(self.skip(quote));
            self.skip(1);
            if !self.rest.starts_with('"') {
                break;
            }
            text.push('"');
            self.skip(1);
        }
        if !self.rest.is_empty() && !self.rest.starts_with([',', '\n', '\r']) {
            let stray = Diagnostic::error("E042", "text after a closing quote").at(&self.place(1), "");
            return Err(stray.help("write a quote inside quotes twice: `\"\"`"));
        }
        Ok(Cell { text: Cow::Owned(text), place: start })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        let source = Source::new("x.csv", text);
        let records = records(&source).expect("a table");
        records.iter().map(|record| record.iter().map(|cell| cell.text.to_string()).collect()).collect()
    }

    #[test]
    fn quotes_commas_and_line_breaks_belong_to_their_cell() {
        assert_eq!(cells("a,\"b, \"\"c\"\"\nd\",\r\ne,,f\n"), [vec!["a", "b, \"c\"\nd", ""], vec!["e", "", "f"]]);
        assert_eq!(cells("a,"), [["a", ""]]);
        let source = Source::new("x.csv", "a,b\n\"x\ny\",é,z");
        let records = records(&source).expect("a table");
        let last = &records[1][2];
        assert_eq!((last.text.as_ref(), last.place.line, last.place.column), ("z", 3, 6));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[a\",\r\né]{0,60}") {
            let _ = Table::read(&Source::new("x.csv", &text));
        }

        #[test]
        fn what_is_quoted_is_read_back(cells in proptest::collection::vec("[a\",\n\ré ]{0,6}", 1..5)) {
            let line: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            prop_assert_eq!(self::cells(&line.join(",")), vec![cells]);
        }
    }
}
