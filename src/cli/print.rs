//! `plimsoll print`: the policies of a folder as one file, as they are understood. What is printed is read again before it leaves:
//! it may stand in place of the files, so it must mean the same.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::Outlook;
use crate::diagnostic::{self, Diagnostic, Place, Source};
use crate::domain::clock::Timestamp;
use crate::policy::print::{left_out, print};

use super::check::paint::painted;
use super::desk::{USUAL_FILE, environment, fail};
use super::files::Folder;
use super::output;
use super::vantage::now;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The policies' folder. Without one: that of the configuration, else `policies`.
    folder: Option<PathBuf>,
    /// The boot configuration: its `prices:` and its `policies:`. Without one: `plimsoll.yaml`, when it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Exit code 1 with an error in the policies, 2 when they cannot be read.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let usual = Path::new(USUAL_FILE);
    let config = arguments.config.as_deref().or_else(|| usual.exists().then_some(usual));
    let outlook = match config.map(|file| Outlook::load(file, &environment)).transpose() {
        Ok(outlook) => outlook,
        Err(broken) => return fail(&painted(&diagnostic::render(&broken.diagnostics, &broken.sources))),
    };
    let folder = arguments.folder.as_deref().or(outlook.as_ref().map(|outlook| outlook.policies.as_path()));
    let folder = match Folder::read(folder.unwrap_or(Path::new("policies"))) {
        Ok(folder) => folder,
        Err(fault) => return fail(&fault),
    };
    let folder = match outlook {
        Some(outlook) => folder.priced_by(outlook.prices),
        None => folder,
    };
    match printed(&folder, now()) {
        Ok(text) => {
            output::raw(&text);
            ExitCode::SUCCESS
        }
        Err(faults) => {
            output::note(&painted(&faults));
            ExitCode::from(1)
        }
    }
}

fn printed(folder: &Folder, now: Timestamp) -> Result<String, String> {
    let compiled = folder.compiled(now);
    let Some(policy) = &compiled.policy else {
        let errors: Vec<Diagnostic> = compiled.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        return Err(diagnostic::render(&errors, &folder.files.sources()));
    };
    let text = print(policy);
    let source = Source::new("printed.yaml", &text);
    let again = folder.compiled_from(std::slice::from_ref(&source), now);
    match again.policy {
        Some(again) if again.means_the_same(policy) => {}
        Some(_) => return Err(unfit("it reads back as another policy")),
        None => return Err(unfit(&diagnostic::render(&again.diagnostics, &[source]))),
    }
    let ended = compiled.diagnostics.iter().filter(|one| one.code == "W163");
    let ended: Vec<&Place> = ended.filter_map(|one| one.place.as_ref()).collect();
    Ok(format!("{}{text}", left_out(policy, &ended)))
}

fn unfit(why: &str) -> String {
    format!("error: these policies cannot stand in one file:\n{why}")
}
