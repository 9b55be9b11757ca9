//! `plimsoll keys new`: makes a gateway key, prints it once, and the line to paste.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::domain::tenant::TenantId;
use crate::gateway::keys;

use super::output;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a key. It is shown once; only its digest goes into plimsoll.yaml.
    New {
        /// The key's name, for ledgers and logs.
        name: String,
        #[command(flatten)]
        whom: Whom,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whom {
    /// The one tenant that the key speaks for.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The key speaks for whatever tenant a request names.
    #[arg(long)]
    any: bool,
}

pub(super) fn run(verb: &Verb) -> ExitCode {
    let Verb::New { name, whom } = verb;
    let speaks = match &whom.tenant {
        None => "tenants: any".to_owned(),
        Some(tenant) => match TenantId::new(tenant) {
            Ok(tenant) => format!("tenant: {tenant}"),
            Err(error) => {
                output::note(&format!("error: `{tenant}` is {error}"));
                return ExitCode::from(2);
            }
        },
    };
    let Ok(secret) = keys::generate() else {
        output::note("error: the operating system gives no randomness");
        return ExitCode::from(2);
    };
    let digest = hex(&keys::digest(&secret));
    output::line(&secret);
    output::note("\nThis key is shown once. Paste this under `keys:` in plimsoll.yaml:");
    output::line(&format!("  - {{ name: {name}, sha256: \"{digest}\", {speaks} }}"));
    ExitCode::SUCCESS
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
