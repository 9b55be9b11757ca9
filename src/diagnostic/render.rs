//! Diagnostics as text for people, in the layout of rustc: code, place, the lines with carets, what would fix it.
//!
//! Plain text only; colour and the choice of a machine form belong to whoever prints.

use std::fmt::Write as _;

use super::{Diagnostic, MOST_SHOWN, Place, Source};

/// The longest source line that is shown whole, in characters.
const LONGEST_LINE: usize = 140;

/// Every diagnostic (at most [`MOST_SHOWN`]) with its lines of source, sorted by position, a blank line between two.
pub fn render(diagnostics: &[Diagnostic], sources: &[Source]) -> String {
    let mut sorted = diagnostics.to_vec();
    super::sort(&mut sorted);
    let mut blocks: Vec<String> = sorted.iter().take(MOST_SHOWN).map(|one| block(one, sources)).collect();
    if sorted.len() > MOST_SHOWN {
        blocks.push(format!("… and {} more\n", sorted.len() - MOST_SHOWN));
    }
    blocks.join("\n")
}

/// A token to mark: the primary one with `^`, the others with `-`.
struct Mark<'a> {
    place: &'a Place,
    label: &'a str,
    sign: char,
}

impl Mark<'_> {
    fn column(&self) -> usize {
        usize::try_from(self.place.column.saturating_sub(1)).unwrap_or(0)
    }

    fn length(&self) -> usize {
        usize::try_from(self.place.length.max(1)).unwrap_or(1)
    }
}

fn block(diagnostic: &Diagnostic, sources: &[Source]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}[{}]: {}", diagnostic.severity.as_str(), diagnostic.code, diagnostic.message);
    let mut width = 1;
    if let Some(place) = &diagnostic.place {
        let lines = diagnostic.related.iter().map(|(related, _)| related.line).chain([place.line]);
        width = lines.max().unwrap_or(1).to_string().len();
        let _ = writeln!(out, "{:width$}--> {}:{}:{}", "", place.file, place.line, place.column);
        snippets(&mut out, diagnostic, place, sources, width);
    }
    let (explaining, further): (Vec<_>, Vec<_>) = diagnostic.notes.iter().partition(|note| note.starts_with("note: "));
    for line in explaining {
        let _ = writeln!(out, "{:width$} = {line}", "");
    }
    for help in &diagnostic.help {
        let _ = writeln!(out, "{:width$} = help: {help}", "");
    }
    for line in further {
        let _ = writeln!(out, "{:width$} = {line}", "");
    }
    out
}

/// The marked lines of the primary file, then those of other files, each under its own arrow.
fn snippets(out: &mut String, diagnostic: &Diagnostic, place: &Place, sources: &[Source], width: usize) {
    let mut marks = vec![Mark { place, label: &diagnostic.label, sign: '^' }];
    marks.extend(diagnostic.related.iter().map(|(place, label)| Mark { place, label, sign: '-' }));
    marks.sort_by_key(|mark| (mark.place.file != place.file, mark.place.clone()));
    let mut file = &place.file;
    let mut last_line: Option<u32> = None;
    for line_marks in
        marks.chunk_by(|one, other| (&one.place.file, one.place.line) == (&other.place.file, other.place.line))
    {
        let Some(first) = line_marks.first() else { continue };
        if first.place.file != *file {
            file = &first.place.file;
            last_line = None;
            let _ = writeln!(out, "{:width$}::: {file}:{}:{}", "", first.place.line, first.place.column);
        }
        if last_line.is_none_or(|last| first.place.line > last + 1) {
            let _ = writeln!(out, "{:width$} |", "");
        }
        last_line = Some(first.place.line);
        marked_line(out, line_marks, sources, width);
    }
}

fn marked_line(out: &mut String, marks: &[Mark<'_>], sources: &[Source], width: usize) {
    let Some(first) = marks.first() else { return };
    let source = sources.iter().find(|source| source.name == first.place.file);
    let index = usize::try_from(first.place.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(text) = source.and_then(|source| source.text.lines().nth(index)) else { return };
    let end = marks.iter().map(|mark| mark.column() + mark.length()).max().unwrap_or(0);
    let _ = writeln!(out, "{:>width$} | {}", first.place.line, shown(text, end));
    let Some((last, others)) = marks.split_last() else { return };
    let _ = writeln!(out, "{:width$} | {}", "", underline(marks, last.label).trim_end());
    for (at, mark) in others.iter().enumerate().rev().filter(|(_, mark)| !mark.label.is_empty()) {
        let before = others.get(..at).unwrap_or(&[]);
        let _ = writeln!(out, "{:width$} | {}", "", bars(before, mark, "|"));
        let _ = writeln!(out, "{:width$} | {}", "", bars(before, mark, mark.label));
    }
}

/// Tabs take one column, so that carets stand under their token; a very long line is cut after the last mark.
fn shown(text: &str, end: usize) -> String {
    let keep = LONGEST_LINE.max(end);
    let mut line: String =
        text.chars().map(|character| if character == '\t' { ' ' } else { character }).take(keep).collect();
    if text.chars().count() > keep {
        line.push('…');
    }
    line
}

fn underline(marks: &[Mark<'_>], label: &str) -> String {
    let mut line = String::new();
    let mut at = 0;
    for mark in marks {
        while at < mark.column() {
            line.push(' ');
            at += 1;
        }
        while at < mark.column() + mark.length() {
            line.push(mark.sign);
            at += 1;
        }
    }
    line.push(' ');
    line.push_str(label);
    line
}

/// A `|` under every mark of `before`, then `text` under `mark`.
fn bars(before: &[Mark<'_>], mark: &Mark<'_>, text: &str) -> String {
    let mut line = String::new();
    let mut at = 0;
    for other in before.iter().filter(|other| !other.label.is_empty()) {
        while at < other.column() {
            line.push(' ');
            at += 1;
        }
        line.push('|');
        at += 1;
    }
    while at < mark.column() {
        line.push(' ');
        at += 1;
    }
    line.push_str(text);
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn place(line: u32, column: u32, length: u32) -> Place {
        Place { file: Arc::from("policy.yaml"), line, column, length }
    }

    #[test]
    fn two_marks_on_a_line_hang_below_each_other() {
        let source = Source::new("policy.yaml", "routes:\n  cheaper:\n    gpt-4o-mini: gpt-4o\n");
        let diagnostic = Diagnostic::error("E151", "route `cheaper` makes `gpt-4o-mini` requests 16.7x more expensive")
            .at(&place(3, 18, 6), "$2.50/$10.00 per 1M in/out")
            .see(&place(3, 5, 11), "$0.15/$0.60 per 1M in/out")
            .help("swap the two names");
        insta::assert_snapshot!(render(&[diagnostic], &[source]), @r"
        error[E151]: route `cheaper` makes `gpt-4o-mini` requests 16.7x more expensive
         --> policy.yaml:3:18
          |
        3 |     gpt-4o-mini: gpt-4o
          |     -----------  ^^^^^^ $2.50/$10.00 per 1M in/out
          |     |
          |     $0.15/$0.60 per 1M in/out
          = help: swap the two names
        ");
    }

    #[test]
    fn a_place_outside_the_text_and_a_missing_source_are_survived() {
        let far = Diagnostic::error("E101", "syntax").at(&place(9_999, 40, 0), "here");
        assert!(render(std::slice::from_ref(&far), &[]).contains("policy.yaml:9999:40"));
        assert!(render(&[far], &[Source::new("policy.yaml", "x\n")]).contains("9999:40"));
    }

    #[test]
    fn at_most_twenty_are_shown() {
        let many: Vec<Diagnostic> = (0..27).map(|_| Diagnostic::error("E101", "syntax")).collect();
        assert!(render(&many, &[]).ends_with("… and 7 more\n"));
    }
}
