//! Trees → one [`Policy`], or every mistake at once.
//!
//! Each part reports into one list and goes on; names count as defined even where their own definition is wrong, so that
//! one slip is one message. A policy is built only when there was no error.

mod budgets;
mod conditions;
mod currency;
mod document;
mod exceptions;
mod extras;
mod family;
mod ladders;
mod routes;
mod rules;
mod segments;
mod spans;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::diagnostic::{self, Diagnostic, Source};
use crate::domain::clock::Timestamp;

use super::condition::Patterns;
use super::exchange::Exchange;
use super::reader::{Entry, Problems, expect_str, expect_word, nearest};
use super::route::{Abilities, Route};
use super::shortlist::Shortlist;
use super::tree::{Node, Tree, read};
use super::{Mode, Policy};

use document::Document;

/// What the price table says about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// An input token, in pico-dollars.
    pub input_pico: u64,
    /// An output token, in pico-dollars.
    pub output_pico: u64,
    /// Who serves it.
    pub provider: Option<String>,
    /// Whether it reasons before it answers.
    pub reasoning: bool,
    /// What it can do.
    pub abilities: Abilities,
}

/// What a policy is compiled against.
pub struct Surroundings<'a> {
    /// What the price table says about a model.
    pub prices: &'a dyn Fn(&str) -> Option<ModelFacts>,
    /// How messages call the price table: `built-in table 2026-11-16`.
    pub price_table: &'a str,
    /// The targets under `notify:` of `plimsoll.yaml`; `log` and `account_owner` need not be among them.
    pub notify_targets: &'a [String],
    /// The present: exceptions expire by it.
    pub now: Timestamp,
}

/// What became of the sources.
#[derive(Debug)]
pub struct Compiled {
    /// The policy; `None` when there was an error.
    pub policy: Option<Policy>,
    /// Every mistake, sorted by position.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles the files of a policy directory. Without any source the result is [`Policy::empty`].
pub fn compile(sources: &[Source], surroundings: &Surroundings<'_>) -> Compiled {
    let mut problems = Problems::new();
    let trees: Vec<Tree> = sources.iter().map(read).collect();
    for tree in &trees {
        problems.extend(tree.diagnostics.iter().cloned());
    }
    if sources.is_empty() {
        return Compiled { policy: Some(Policy::empty()), diagnostics: problems };
    }
    let roots: Vec<&Node> = trees.iter().filter_map(|tree| tree.root.as_ref()).collect();
    let complete = roots.len() == trees.len();
    let document = Document::merge(&roots, &mut problems);
    if let Some(first) = sources.first().filter(|_| complete || !diagnostic::has_errors(&problems)) {
        document.require_head(&first.start(), &mut problems);
    }
    let policy = build(document, surroundings, &mut problems);
    let broken = diagnostic::has_errors(&problems);
    diagnostic::sort(&mut problems);
    Compiled { policy: Some(policy).filter(|_| !broken), diagnostics: problems }
}

/// What every part of the policy may refer to.
struct Ground<'t, 's> {
    document: Document<'t>,
    surroundings: &'s Surroundings<'s>,
    zone: TimeZone,
    zone_name: String,
    exchange: Exchange,
    routes: BTreeMap<Arc<str>, Arc<Route>>,
    patterns: Patterns,
}

fn build(document: Document<'_>, surroundings: &Surroundings<'_>, problems: &mut Problems) -> Policy {
    let mode = document.mode.and_then(|node| mode(node, problems)).unwrap_or(Mode::DryRun);
    let exchange = currency::exchange(&document, problems);
    let (zone, zone_name) = timezone(&document, problems);
    let routes = routes::all(&document, surroundings, problems);
    let ground = Ground { document, surroundings, zone, zone_name, exchange, routes, patterns: Patterns::default() };
    let (plans, plan_limits) = rules::plans(&ground, problems);
    let segments = segments::all(&ground, problems);
    let endpoints = rules::endpoints(&ground, problems);
    let ladders = ladders::named(&ground, problems);
    let budgets = budgets::all(&ground, &ladders, &plan_limits, mode, problems);
    let exceptions = exceptions::all(&ground, &ladders, &budgets, problems);
    let defaults = extras::defaults(&ground, problems);
    let not_in_force = extras::not_in_force(&ground, problems);
    Policy {
        mode,
        zone: ground.zone,
        exchange: ground.exchange,
        defaults,
        shortlist: Shortlist::of(&budgets),
        budgets,
        exceptions,
        plans,
        segments,
        endpoints,
        routes_look: ground.routes.values().any(|route| route.looks_at_content()),
        routes: ground.routes,
        escalations: ladders,
        not_in_force,
    }
}

fn mode(node: &Node, problems: &mut Problems) -> Option<Mode> {
    expect_word(node, "`mode`", &[("enforce", Mode::Enforce), ("dry_run", Mode::DryRun)], problems)
}

fn timezone(document: &Document<'_>, problems: &mut Problems) -> (TimeZone, String) {
    let utc = || (TimeZone::UTC, "UTC".to_owned());
    let Some(node) = document.timezone else { return utc() };
    let Some(name) = expect_str(node, "`timezone`", problems) else { return utc() };
    if let Ok(zone) = TimeZone::get(name) {
        // In one form, because counters go by it: `europe/berlin` is no other zone.
        let name = zone.iana_name().unwrap_or(name).to_owned();
        return (zone, name);
    }
    let fault = Diagnostic::error("E114", format!("time zone `{name}` is not known")).at(&node.place, "");
    problems.push(fault.help("write an IANA name: `Europe/Berlin`, `UTC`"));
    utc()
}

/// `E131` for a name that nothing defines.
fn undefined(kind: &str, node: &Node, name: &str, known: &[Entry<'_>]) -> Diagnostic {
    let mut fault = Diagnostic::error("E131", format!("{kind} `{name}` is not defined")).at(&node.place, "used here");
    let near = nearest(name, known.iter().map(|(key, _)| key.text.as_str()));
    if let Some((key, _)) = known.iter().find(|(key, _)| Some(key.text.as_str()) == near) {
        fault = fault.see(&key.place, "a similar name is defined here").help(format!("did you mean `{}`?", key.text));
    } else if !known.is_empty() {
        let names: Vec<&str> = known.iter().map(|(key, _)| key.text.as_str()).collect();
        fault = fault.note(format!("defined: {}", names.join(", ")));
    }
    fault
}

/// From how many mistakes on names are no longer compared.
const MOST_COMPARED: usize = 100;

/// The name in `node`, if one of `known` has it; else `E131`.
fn reference<'t>(kind: &str, node: &'t Node, known: &[Entry<'_>], problems: &mut Problems) -> Option<&'t str> {
    let name = expect_str(node, kind, problems)?;
    if known.iter().any(|(key, _)| key.text == name) {
        return Some(name);
    }
    // A name of thousands is not compared with thousands of names.
    let known = if problems.len() < MOST_COMPARED { known } else { &[] };
    problems.push(undefined(kind, node, name, known));
    None
}

/// The value of a text in the grammar of `amount`, its fault reported at the node.
fn value<T>(
    node: &Node,
    what: &str,
    parse: impl Fn(&str) -> Result<T, super::amount::Fault>,
    problems: &mut Problems,
) -> Option<T> {
    let text = expect_str(node, what, problems)?;
    parse(text).map_err(|fault| problems.push(fault.at(&node.place))).ok()
}

/// A text to keep.
fn text(node: &Node, what: &str, problems: &mut Problems) -> Option<Arc<str>> {
    expect_str(node, what, problems).map(Arc::from)
}
