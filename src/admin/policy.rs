//! The running policy, and a new one: validated whole, then swapped in, or refused whole.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, IF_MATCH};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::control::Change;

use super::{PolicyView, Problem, State, blocking};

/// A policy to put in force.
#[derive(Debug)]
pub struct Push {
    /// The new one; `None`: the directory is read again.
    pub change: Option<Change>,
    /// The revision that must run for this to happen.
    pub expected: Option<String>,
}

/// Why a policy is not put in force.
#[derive(Debug)]
pub enum PushRefusal {
    /// It has mistakes: the diagnostics.
    Broken(Vec<serde_json::Value>),
    /// Another revision runs than was expected.
    Moved {
        /// The one that runs.
        running: String,
    },
}

/// The files of a policy, as JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Files {
    files: Vec<File>,
}

/// One file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// Its name in the folder.
    name: String,
    /// Its text.
    text: String,
}

/// The running revision, its texts, and how the last load went.
#[utoipa::path(
    get,
    path = "/api/v1/policy",
    security(("admin_token" = [])),
    responses((status = 200, body = PolicyView), (status = 401, body = Problem))
)]
pub(super) async fn policy(state: State) -> Result<Json<PolicyView>, Problem> {
    blocking(move || Json((state.policy)())).await
}

/// Validates and applies a policy.
///
/// With an empty body the directory is read again. With YAML that takes the place of the only policy file, else of
/// `policy.yaml`. With JSON (`application/json`), `{"files": [{"name": …, "text": …}]}`, those files take the place of all
/// policy files; `tenants.csv` and tests stay. Nothing changes when there is an error in it.
#[utoipa::path(
    post,
    path = "/api/v1/policy",
    security(("admin_token" = [])),
    params(("If-Match" = Option<String>, Header, description = "The revision that must run, `\"r42 9f3c1ae\"` or `\"9f3c1ae\"`; else 412")),
    request_body(content = Option<String>, content_type = "application/yaml"),
    responses(
        (status = 200, body = PolicyView),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 412, body = Problem, description = "Another revision runs than `If-Match` names"),
        (status = 422, body = Problem, description = "Refused; `diagnostics` says why")
    )
)]
pub(super) async fn apply(
    state: State,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PolicyView>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text().to_lowercase()))?;
    let text = String::from_utf8(body.into()).map_err(|_| Problem::bad_request("the policy is not UTF-8 text"))?;
    let push = Push { change: change(&headers, text)?, expected: expected(&headers)? };
    blocking(move || (state.apply)(push).map(Json)).await?.map_err(|refusal| match refusal {
        PushRefusal::Broken(diagnostics) => {
            let detail = "the policy has errors; the one that ran before still runs";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_diagnostics(diagnostics)
        }
        PushRefusal::Moved { running } => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            format!("`{running}` runs, and not the revision of `If-Match`: plan again against what runs"),
        ),
    })
}

fn change(headers: &HeaderMap, text: String) -> Result<Option<Change>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Ok(Some(Change::Text(text)));
    }
    let Files { files } = serde_json::from_str(&text)
        .map_err(|error| Problem::bad_request(format!("the body is no list of files as JSON: {error}")))?;
    let files = files.into_iter().map(|File { name, text }| (name, text));
    Change::files(files).map(Some).map_err(Problem::bad_request)
}

/// The revision in `If-Match`, in quotes or not. `*` is any.
fn expected(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::bad_request("`If-Match` is no revision"))?.trim();
    let revision = text.trim_matches('"');
    Ok(Some(revision.to_owned()).filter(|revision| revision != "*"))
}
