//! `plimsoll explain`: why a request, a tenant or a call that nobody made gets what it gets; and what a code means.
//!
//! Exit codes: 0 explained, 1 there is no such request or tenant, 2 usage, files or a gateway that cannot be asked.

pub(super) mod codes;
mod pages;
mod render;
mod request;
mod tenant;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Args;

use super::desk::{Form, fail};
use super::output;
use super::vantage::Where;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A request's id (`req_…`), `tenant`, or a code (`E104`).
    #[arg(value_name = "WHAT", required_unless_present = "request")]
    what: Option<String>,
    /// After `tenant`: which one.
    #[arg(value_name = "TENANT")]
    name: Option<String>,
    /// A call that nobody made, as JSON or YAML: `{"tenantId":"globex","endpointTag":"digest.weekly","model":"gpt-4o"}`.
    #[arg(long, value_name = "JSON", conflicts_with = "what")]
    request: Option<String>,
    #[command(flatten)]
    place: Where,
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// What is to be explained.
enum Target<'a> {
    /// A diagnostic's code.
    Code(&'a str),
    /// A tenant.
    Tenant(&'a str),
    /// A request of the ledger.
    Request(&'a str),
    /// A call that nobody made.
    Hypothesis(&'a str),
}

impl Arguments {
    fn target(&self) -> Result<Target<'_>, String> {
        if let Some(text) = &self.request {
            return Ok(Target::Hypothesis(text));
        }
        match (self.what.as_deref().unwrap_or_default(), self.name.as_deref()) {
            ("tenant", Some(name)) => Ok(Target::Tenant(name)),
            ("tenant", None) => Err("error: which tenant? `plimsoll explain tenant globex`".to_owned()),
            (what, Some(more)) => Err(format!("error: `{more}` is one word too many after `{what}`")),
            (what, None) if codes::is_code(what) => Ok(Target::Code(what)),
            (what, None) => Ok(Target::Request(what)),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let explained = match arguments.target() {
        Err(fault) => return fail(&fault),
        Ok(Target::Code(code)) => return codes::show(code),
        Ok(Target::Tenant(name)) => tenant::explained(name, &arguments.place, arguments.output),
        Ok(Target::Request(id)) => request::past(id, &arguments.place, arguments.output),
        Ok(Target::Hypothesis(text)) => request::hypothetical(text, &arguments.place, arguments.output),
    };
    match explained {
        Err(fault) => fail(&fault),
        Ok(Some(text)) => {
            output::line(&text);
            ExitCode::SUCCESS
        }
        Ok(None) => {
            let what = arguments.name.as_deref().or(arguments.what.as_deref()).unwrap_or_default();
            output::note(&format!("error: there is no `{what}`: the ledger shows calls that ended, and their tenants"));
            ExitCode::from(1)
        }
    }
}
