//! What a code means, why it is an error, a wrong example and the right one: the pages of `docs/codes`, inside the program.

use std::process::ExitCode;

use crate::cli::desk::fail;
use crate::cli::output;
use crate::config;
use crate::policy;

use super::pages::PAGES;

/// Whether a text looks like a code: `E104`, `w163`.
pub(in crate::cli) fn is_code(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| "EeWw".contains(first))
        && text.len() == 4
        && letters.all(|letter| letter.is_ascii_digit())
}

/// Every code with its title.
pub(in crate::cli) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    config::codes::CODES.iter().chain(policy::codes::CODES).copied()
}

/// The title of a code.
pub(in crate::cli) fn title(code: &str) -> Option<&'static str> {
    all().find(|(known, _)| *known == code).map(|(_, title)| title)
}

/// Prints the page of a code.
pub(super) fn show(code: &str) -> ExitCode {
    let code = code.to_uppercase();
    if let Some((_, page)) = PAGES.iter().find(|(known, _)| *known == code) {
        output::raw(&plain(page));
        return ExitCode::SUCCESS;
    }
    fail(&format!("error: no diagnostic has the code `{code}`; write it as it is shown: `error[E104]`"))
}

/// Markdown for a terminal: examples are indented instead of fenced, headings lose their signs.
fn plain(page: &str) -> String {
    let mut inside = false;
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
            continue;
        }
        if inside && !line.is_empty() {
            text.push_str("    ");
        }
        text.push_str(if inside { line } else { line.trim_start_matches('#').trim_start() });
        text.push('\n');
    }
    text
}
