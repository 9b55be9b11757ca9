//! `plimsoll apply`: the files of a folder in place of the policy that runs, in one step, if that is still the one planned against.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::desk::{Desk, Place};
use crate::cli::files::Folder;
use crate::cli::output;
use crate::cli::remote::Remote;
use crate::cli::vantage::{At, now};

use super::Fault;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder of the policies to be. `tenants.csv` and tests stay where they are.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    #[command(flatten)]
    gateway: At,
    /// The revision that must run, as `plimsoll plan` printed it: `r42 9f3c1ae`, or `9f3c1ae`. `r42` alone is another policy after a
    /// restart.
    #[arg(long, value_name = "REVISION", conflicts_with = "plan", required_unless_present = "plan")]
    expect: Option<String>,
    /// A plan that `plimsoll plan --out FILE` wrote: its revision must run, and the files must be as they were.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match applied(arguments) {
        Ok(text) => {
            output::line(&text);
            ExitCode::SUCCESS
        }
        Err(fault) => fault.told(),
    }
}

fn applied(arguments: &Arguments) -> Result<String, Fault> {
    let usage = "error: name the gateway with `--url http://ADMIN_ADDRESS`";
    let remote = arguments.gateway.remote().ok_or_else(|| usage.to_owned())?;
    let folder = Folder::read(&arguments.folder)?.priced_by(Desk::open(&arguments.place)?.prices);
    folder.valid_policy(now()).map_err(Fault::Files)?;
    let expected = expected(arguments, &folder)?;
    let files: Vec<Value> =
        folder.files.policies.iter().map(|file| json!({ "name": &*file.name, "text": &*file.text })).collect();
    let body = Bytes::from(json!({ "files": files }).to_string());
    let if_match = HeaderValue::from_str(&format!("\"{expected}\""));
    let if_match = if_match.map_err(|_| format!("error: `{expected}` is no revision"))?;
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json), (IF_MATCH, if_match)]);
    let (status, body) = remote.send(Method::POST, "/api/v1/policy", headers, body)?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = answer["detail"].as_str().unwrap_or_default();
    match status {
        StatusCode::OK => Ok(format!("{} is in force", answer["revision"].as_str().unwrap_or_default())),
        StatusCode::PRECONDITION_FAILED => Err(Fault::Files(format!("error: not applied: {detail}"))),
        StatusCode::UNPROCESSABLE_ENTITY => Err(Fault::Files(refused(&answer))),
        status => Err(Fault::Other(Remote::refused(status, &body))),
    }
}

/// The revision that was planned against.
fn expected(arguments: &Arguments, folder: &Folder) -> Result<String, Fault> {
    let Some(file) = &arguments.plan else { return whole(arguments.expect.as_deref().unwrap_or_default()) };
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("error: `{}` cannot be read: {error}", file.display()))?;
    let plan: Option<Value> = serde_json::from_str(&text).ok();
    let text = |name: &str| plan.as_ref().and_then(|plan| plan[name].as_str());
    let (Some(revision), Some(digest)) = (text("revision"), text("digest")) else {
        return Err(Fault::Other(format!(
            "error: `{}` is no plan: `plimsoll plan --out FILE` writes one",
            file.display()
        )));
    };
    if digest != folder.files.policies_digest() {
        let why = "error: not applied: the files are not those that were planned; plan again";
        return Err(Fault::Files(why.to_owned()));
    }
    Ok(revision.to_owned())
}

/// A revision that names one policy.
fn whole(revision: &str) -> Result<String, Fault> {
    let number =
        revision.strip_prefix('r').filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(_) => Err(Fault::Other(format!(
            "error: `{revision}` can be another policy after a restart; give all of it, as `plimsoll plan` prints it: '{revision} 9f3c1ae'"
        ))),
        None => Ok(revision.to_owned()),
    }
}

/// The diagnostics of a gateway that sees more mistakes than this machine: its notify targets, its prices, its tenants.
fn refused(answer: &Value) -> String {
    let mut lines = vec![format!("error: not applied: {}", answer["detail"].as_str().unwrap_or_default())];
    for found in answer["diagnostics"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place = &found["place"];
        let at = place["line"].as_u64().map(|line| format!("{}:{line}:{}: ", text(&place["file"]), place["column"]));
        let (severity, code, message) = (text(&found["severity"]), text(&found["code"]), text(&found["message"]));
        lines.push(format!("{}{severity}[{code}]: {message}", at.unwrap_or_default()));
    }
    lines.join("\n")
}
