//! The table of an explanation, the same whatever is explained.

use serde_json::{Value, json};

use crate::cli::desk::Form;
use crate::cli::text::table;
use crate::policy::account::{Account, Line, Row};

/// What stands where there is nothing.
const NOTHING: &str = "—";

/// What is explained, and by whom.
pub(super) struct Head {
    /// Lines above the table.
    pub(super) lines: Vec<String>,
    /// The same for machines.
    pub(super) facts: Value,
    /// What the last two columns say.
    pub(super) columns: [&'static str; 2],
    /// Lines below the table.
    pub(super) notes: Vec<String>,
    /// Who has the exceptions.
    pub(super) tenant: String,
}

/// The explanation in one of its forms.
pub(super) fn explanation(head: &Head, account: &Account, form: Form) -> String {
    match form {
        Form::Json => {
            let mut whole = head.facts.clone();
            whole["account"] = json!(account);
            whole["notes"] = json!(head.notes);
            whole.to_string()
        }
        Form::Text => text(head, account),
    }
}

fn text(head: &Head, account: &Account) -> String {
    let [asks, result] = head.columns;
    let mut rows = vec![["  counted in", "used", "step", asks, result, ""].map(str::to_owned).to_vec()];
    rows.extend(account.budgets.iter().chain(&account.always).map(cells));
    let mut lines = head.lines.clone();
    lines.push(String::new());
    lines.extend(table(&rows, rows.first().map_or(0, Vec::len)).lines().map(str::to_owned));
    let exceptions = account.exceptions.iter().map(sentence);
    let mut exceptions: Vec<String> = exceptions.collect();
    if exceptions.is_empty() {
        exceptions.push(format!("none for {}", head.tenant));
    }
    lines.extend(exceptions.into_iter().map(|text| format!("  exceptions  {text}")));
    lines.extend(account.floor.iter().map(|floor| format!("  floors      {}", sentence(floor))));
    if !head.notes.is_empty() {
        lines.push(String::new());
        lines.extend(head.notes.iter().cloned());
    }
    lines.join("\n")
}

fn cells(row: &Row) -> Vec<String> {
    let or_nothing = |text: &str| if text.is_empty() { NOTHING.to_owned() } else { text.to_owned() };
    let result = match row.result.as_str() {
        "" => NOTHING.to_owned(),
        result if row.dry_run && row.step.is_some() => format!("dry run, would: {result}"),
        result => result.to_owned(),
    };
    let used = row.used_percent.map_or_else(|| "–".to_owned(), |percent| format!("{percent}%"));
    let step = match row.step {
        Some(step) => step,
        None if row.counted => "ok",
        None => NOTHING,
    };
    vec![format!("  {}", row.rule), used, step.to_owned(), or_nothing(&row.asks), result, row.written.to_string()]
}

fn sentence(line: &Line) -> String {
    match &line.written {
        Some(written) => format!("{} ({written})", line.text),
        None => line.text.clone(),
    }
}
