//! Diagnostics as workflow commands of GitHub Actions: one line each, shown beside the line of the file in a pull request.

use std::fmt::Write as _;

use super::{Diagnostic, Severity};

/// One `::error file=…,line=…,col=…,endColumn=…,title=…::message` per diagnostic, in the order given.
pub fn github(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(command).collect()
}

fn command(diagnostic: &Diagnostic) -> String {
    let mut line = match diagnostic.severity {
        Severity::Error => "::error ".to_owned(),
        Severity::Warning => "::warning ".to_owned(),
    };
    if let Some(place) = &diagnostic.place {
        let end = place.column.saturating_add(place.length.max(1));
        let _ = write!(line, "file={},line={},", property(&place.file), place.line);
        let _ = write!(line, "col={},endColumn={end},", place.column);
    }
    let _ = writeln!(line, "title={}::{}", property(diagnostic.code), message(&text(diagnostic)));
    line
}

/// The message with what else is said, a line each.
pub(super) fn text(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    if !diagnostic.label.is_empty() {
        let _ = write!(text, " ({})", diagnostic.label);
    }
    for help in &diagnostic.help {
        let _ = write!(text, "\nhelp: {help}");
    }
    for note in &diagnostic.notes {
        let _ = write!(text, "\n{note}");
    }
    text
}

/// The runner ends a command at a line break and reads `%25` as a percent sign.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// In properties a colon and a comma end something too.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Place;

    #[test]
    fn nothing_in_a_text_ends_the_command_early() {
        let place = Place { file: Arc::from("a,b:c%.yaml"), line: 3, column: 5, length: 4 };
        let error = Diagnostic::error("E121", "`$20` has no period").at(&place, "per what?").help("100%\nof it");
        let warning = Diagnostic::warning("W231", "2 endpointTags are not listed");
        assert_eq!(
            github(&[error, warning]),
            "::error file=a%2Cb%3Ac%25.yaml,line=3,col=5,endColumn=9,title=E121::`$20` has no period (per what?)%0Ahelp: 100%25%0Aof \
             it\n::warning title=W231::2 endpointTags are not listed\n"
        );
    }
}
