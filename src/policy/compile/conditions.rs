//! `when:` of a `match`: what a dimension can be, and which characters of the file a fault is about.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place};
use crate::domain::attribution::{DataMode, Environment, INVALID};
use crate::policy::budget::Dimension;
use crate::policy::condition::{Condition, Fault, Stretch};
use crate::policy::reader::{Entry, Problems, expect_str, nearest};
use crate::policy::tree::{Kind, Node};

use super::Ground;

/// A condition, or every fault of it.
pub(super) fn condition(node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> Option<Arc<Condition>> {
    let text = expect_str(node, "`when`", problems)?;
    let known = |dimension: Dimension, value: &str| impossible(dimension, value, ground);
    match Condition::read(text, &known, &ground.patterns) {
        Ok(condition) => Some(Arc::new(condition)),
        Err(faults) => {
            problems.extend(faults.into_iter().map(|fault| diagnostic(fault, node, text)));
            None
        }
    }
}

/// Plans and segments must be defined, data modes and environments are closed lists: another value is a slip, for which the
/// budget would silently count nothing. Calls also have the mark of a word that was refused.
fn impossible(dimension: Dimension, value: &str, ground: &Ground<'_, '_>) -> Option<(&'static str, String, String)> {
    let modes = [DataMode::Real, DataMode::Test, DataMode::Demo].map(DataMode::as_str);
    let places = [Environment::Prod, Environment::Staging, Environment::Dev].map(Environment::as_str);
    let names = |entries: &[Entry<'_>]| entries.iter().map(|(key, _)| key.text.clone()).collect::<Vec<_>>();
    let (code, valid) = match dimension {
        Dimension::Plan => ("E131", names(&ground.document.plans)),
        Dimension::Segment => ("E131", names(&ground.document.segments)),
        Dimension::DataMode => ("E111", modes.map(str::to_owned).to_vec()),
        Dimension::Environment => ("E111", places.map(str::to_owned).to_vec()),
        _ => return None,
    };
    if valid.iter().any(|known| known == value) || (code == "E111" && value == INVALID) {
        return None;
    }
    let name = dimension.as_str();
    let message = match code {
        "E131" => format!("{name} `{value}` is not defined"),
        _ => format!("`{value}` is not a value of `{name}`"),
    };
    let near = nearest(value, valid.iter().map(String::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if code == "E131" => format!("define it under `{name}s:`"),
        None => format!("write one of: {}", valid.join(", ")),
    };
    Some((code, message, help))
}

fn diagnostic(fault: Fault, node: &Node, text: &str) -> Diagnostic {
    let place = part(node, text, fault.stretch);
    let mut diagnostic = Diagnostic::error(fault.code, fault.message);
    let is_exact = place.is_some();
    diagnostic = diagnostic.at(place.as_ref().unwrap_or(&node.place), fault.label);
    if let Some(help) = fault.help {
        diagnostic = diagnostic.help(help);
    }
    if !is_exact {
        let wrong: String = text.chars().skip(fault.stretch.start).take(fault.stretch.length).collect();
        diagnostic = diagnostic.note(format!("note: the wrong part is `{}`", shortened(&wrong)));
    }
    match fault.note {
        Some(more) => diagnostic.note(more),
        None => diagnostic,
    }
}

/// Where a part of a scalar stands, when the file holds the text as it is: in quotes on one line without escapes of YAML,
/// plain on one line, or in a block that keeps its lines. Escapes and folds are longer or shorter than what they stand for,
/// so lengths tell.
fn part(node: &Node, text: &str, stretch: Stretch) -> Option<Place> {
    let Kind::Scalar { quoted, .. } = node.kind else { return None };
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.first()?.chars().count();
    let written = usize::try_from(node.place.length).ok()?;
    let below = usize::try_from(node.end_line.checked_sub(node.place.line)?).ok()?;
    let quotes = usize::from(quoted && lines.len() == 1 && below == 0 && written == first + 2);
    let is_as_written = quotes == 1 || (written == first && (below + 1 == lines.len() || below == lines.len()));
    if !is_as_written {
        return None;
    }
    let before: String = text.chars().take(stretch.start).collect();
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next()?.chars().count();
    let rest = lines.get(line)?.chars().count().saturating_sub(column);
    Some(Place {
        line: node.place.line + u32::try_from(line).ok()?,
        column: node.place.column + u32::try_from(quotes + column).ok()?,
        length: u32::try_from(stretch.length.min(rest).max(1)).ok()?,
        ..node.place.clone()
    })
}

fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}
