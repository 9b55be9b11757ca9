//! A plan for people: short, unless all of it is asked for.

use crate::cli::text::{count, many, table};

use super::impact::Move;
use super::{Change, Plan, Said};

/// Rows of who changes step that are shown unless all are asked for.
const MOST_MOVES: usize = 20;

/// The whole plan.
pub(super) fn plan(plan: &Plan, full: bool) -> String {
    let mut lines = Vec::new();
    if plan.changes.is_empty() {
        lines.push(format!("no changes: the files say what `{}` says", plan.revision));
        return lines.join("\n");
    }
    let rows: Vec<Vec<String>> = plan.changes.iter().flat_map(|change| rows(change, full)).collect();
    lines.extend(table(&rows, 4).lines().map(str::to_owned));
    if full {
        lines.extend(plan.unchanged_sections.iter().map(|section| format!("  = {section}")));
    } else if !plan.unchanged_sections.is_empty() {
        lines.push(format!("  ({})", many(plan.unchanged_sections.len(), "unchanged section")));
    }
    lines.push(String::new());
    match plan.critical_refused {
        None => lines.push("No ledger is at hand: who changes step is not known.".to_owned()),
        Some(refused) => impact(&mut lines, plan, refused, full),
    }
    lines.push(String::new());
    lines.push(format!("planned against {}", plan.revision));
    if plan.is_running {
        lines.push(format!("Apply: `plimsoll apply --expect '{}' --url …`, or commit", plan.revision));
    }
    lines.join("\n")
}

fn impact(lines: &mut Vec<String>, plan: &Plan, refused: i64, full: bool) {
    lines.push("On reload, using today's counters:".to_owned());
    let moves: Vec<&Move> = plan.moves.iter().filter(|one| full || one.changes_step()).collect();
    let most = if full { usize::MAX } else { MOST_MOVES };
    let rows: Vec<Vec<String>> = moves.iter().take(most).map(|one| row(one)).collect();
    if rows.is_empty() {
        lines.push("  nobody changes step".to_owned());
    }
    lines.extend(table(&rows, 5).lines().filter(|line| !line.is_empty()).map(str::to_owned));
    if moves.len() > most {
        lines.push(format!("  and {} more (`--full`)", many(moves.len() - most, "counter")));
    }
    let requests = if refused == 1 { "request" } else { "requests" };
    lines.push(format!(
        "  {} {requests} on critical endpoints would be refused, of those of the last 24 hours",
        count(i128::from(refused))
    ));
}

fn row(one: &Move) -> Vec<String> {
    let percent = |percent: Option<u32>| percent.map_or_else(|| "–".to_owned(), |percent| format!("{percent}%"));
    let step = |step: Option<&str>, percent: Option<u32>| match (step, percent) {
        (Some(step), _) => step.to_owned(),
        (None, Some(_)) => "ok".to_owned(),
        (None, None) => "not limited".to_owned(),
    };
    let (before, after) = (one.used_percent_before, one.used_percent_after);
    vec![
        format!("  {}", one.tenant.as_deref().unwrap_or("(all)")),
        one.budget.clone(),
        format!("{} → {}", percent(before), percent(after)),
        format!("{} → {}", step(one.step_before, before), step(one.step_after, after)),
        one.begins.join(", "),
    ]
}

/// A row per text that differs; of a new or a lost rule one row, unless all is asked for.
fn rows(change: &Change, full: bool) -> Vec<Vec<String>> {
    let line = change.line.as_ref().map(ToString::to_string).unwrap_or_default();
    let head = format!("  {} {}", change.sign, change.rule);
    if change.sign != '~' && !full {
        return vec![vec![head, String::new(), summary(change), line]];
    }
    let said = |said: &Said| match (&said.old, &said.new) {
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (None, Some(new)) if change.sign == '~' => format!("+ {new}"),
        (Some(old), None) if change.sign == '~' => format!("- {old}"),
        (old, new) => new.as_ref().or(old.as_ref()).cloned().unwrap_or_default(),
    };
    let mut rows = Vec::new();
    for (at, field) in change.fields.iter().enumerate() {
        let first = at == 0;
        let (head, line) = if first { (head.clone(), line.clone()) } else { (String::new(), String::new()) };
        rows.push(vec![head, field.name.to_owned(), said(field), line]);
    }
    if rows.is_empty() { vec![vec![head, String::new(), String::new(), line]] } else { rows }
}

/// `$20/month per tenantId on endpointTag digest.*`: what matters most about a rule.
fn summary(change: &Change) -> String {
    let of = |name: &str| {
        let said = change.fields.iter().find(|said| said.name == name)?;
        said.new.clone().or_else(|| said.old.clone())
    };
    let parts = [
        of("limit"),
        of("llm_budget"),
        of("per").map(|per| format!("per {per}")),
        of("match").map(|matches| format!("on {matches}")),
        of("escalation").filter(|name| name != "its own").map(|escalation| format!("escalation {escalation}")),
        of("rules"),
        of("always"),
        of("never").map(|never| format!("never {never}")),
        of("critical").map(|critical| format!("critical: {critical}")),
        of("expires").map(|expires| format!("until {expires}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        let texts = change.fields.iter().filter_map(|said| said.new.as_ref().or(said.old.as_ref()));
        return texts.cloned().collect::<Vec<_>>().join("; ");
    }
    parts.join(" ")
}
