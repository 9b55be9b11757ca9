//! The only place that prints: answers to stdout, talk to stderr.

use std::io::Write;

/// A line of the answer.
pub fn line(text: &str) {
    // A closed pipe is the reader's choice, not our fault.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Text as it is, and out at once.
pub fn raw(text: &str) {
    let mut out = anstream::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// A line beside the answer.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
