//! `plimsoll plan` and `plimsoll apply`: what a folder would change about the policy that runs, and the change itself.
//!
//! Exit codes of `plan`: 0 nothing changes, 1 errors in the files, 2 usage or a gateway that cannot be asked, 3 something
//! changes. Of `apply`: 0 in force, 1 refused, 2 as above.

mod apply;
mod impact;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde::Serialize;

use crate::policy::account::Place as Line;
use crate::policy::difference::{Difference, Differences};

use super::desk::{Desk, Form, Place, fail};
use super::files::Folder;
use super::output;
use super::vantage::{At, Vantage, now};

pub(super) use apply::Arguments as Apply;
pub(super) use apply::run as apply;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("old").args(["url", "against"]).required(true)))]
pub(super) struct Arguments {
    /// The folder of the policies to be.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    #[command(flatten)]
    gateway: At,
    /// Compares with another folder instead of with what a gateway runs.
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Shows every text of new and lost rules, the unchanged sections, and every tenant whose share changes.
    #[arg(long)]
    full: bool,
    /// Writes the plan as JSON to a file, for `plimsoll apply --plan FILE`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// What would change.
#[derive(Debug, Serialize)]
struct Plan {
    /// The revision that it was compared with.
    revision: String,
    /// Whether a gateway runs that.
    #[serde(skip)]
    is_running: bool,
    /// Of the policy files that it was made from.
    digest: String,
    changes: Vec<Change>,
    unchanged_sections: Vec<&'static str>,
    moves: Vec<impact::Move>,
    /// Requests on critical endpoints, as many as there were in the last 24 hours, that would be refused now; null without books.
    critical_refused: Option<i64>,
}

/// One rule that differs.
#[derive(Debug, Serialize)]
struct Change {
    sign: char,
    rule: String,
    fields: Vec<Said>,
    #[serde(rename = "written")]
    line: Option<Line>,
}

#[derive(Debug, Serialize)]
struct Said {
    name: &'static str,
    old: Option<String>,
    new: Option<String>,
}

/// Why there is no plan.
enum Fault {
    /// The files have errors.
    Files(String),
    /// Everything else.
    Other(String),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl Fault {
    fn told(self) -> ExitCode {
        match self {
            Self::Other(text) => fail(&text),
            Self::Files(text) => {
                output::note(&text);
                ExitCode::from(1)
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let plan = match made(arguments) {
        Ok(plan) => plan,
        Err(fault) => return fault.told(),
    };
    let json = serde_json::to_string(&plan).unwrap_or_default();
    let written = arguments.out.as_ref().map_or(Ok(()), |file| std::fs::write(file, &json));
    if let Err(error) = written {
        return fail(&format!("error: the plan cannot be written: {error}"));
    }
    output::line(&match arguments.output {
        Form::Text => text::plan(&plan, arguments.full),
        Form::Json => json,
    });
    ExitCode::from(if plan.changes.is_empty() { 0 } else { 3 })
}

fn made(arguments: &Arguments) -> Result<Plan, Fault> {
    let now = now();
    let desk = Desk::open(&arguments.place)?;
    let folder = Folder::read(&arguments.folder)?.priced_by(desk.prices.clone());
    let fresh = folder.valid_policy(now).map_err(Fault::Files)?;
    let running = match (arguments.gateway.remote(), &arguments.against) {
        (Some(remote), _) => Vantage::there(remote, &arguments.place, now)?.with_counters(None)?,
        (None, against) => {
            let old = Folder::read(against.as_deref().unwrap_or(Path::new("policies")))?;
            Vantage::of_folder(old.priced_by(desk.prices.clone()), desk, now)?
        }
    };
    let Differences { rules, unchanged } = Differences::between(&running.policy, &fresh);
    let (moves, critical_refused) = if rules.is_empty() || !running.has_books() {
        (Vec::new(), running.has_books().then_some(0))
    } else {
        (impact::moves(&running, &fresh, now)?, Some(impact::critical_refused(&running, &fresh, now)?))
    };
    Ok(Plan {
        revision: running.revision.clone(),
        is_running: arguments.gateway.url.is_some(),
        digest: folder.files.policies_digest(),
        changes: rules.into_iter().map(Change::from).collect(),
        unchanged_sections: unchanged,
        moves,
        critical_refused,
    })
}

impl From<Difference> for Change {
    fn from(difference: Difference) -> Self {
        let Difference { section, name, kind, fields, written } = difference;
        let rule = if section == "general" { name } else { format!("{section}.{name}") };
        let fields = fields.into_iter().map(|field| Said { name: field.name, old: field.old, new: field.new });
        Self { sign: kind.sign(), rule, fields: fields.collect(), line: written.as_ref().map(Line::from) }
    }
}
