//! `GET /api/v1/spend`: sums over the ledger by any dimensions.

use std::collections::BTreeMap;

use axum::Json;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::clock::Timestamp;
use crate::domain::window::{Period, calendar_window};
use crate::ledger::{Column, SpendQuery, SpendRow, SpendTotals};

use super::parameters::{Parameters, moment};
use super::{Problem, State, blocking};

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Spend {
    /// Dearest first.
    rows: Vec<Row>,
}

/// The asked dimensions and their sums.
#[derive(Debug, Serialize, ToSchema)]
struct Row {
    /// The values of the dimensions in `by`; null where the calls had none.
    #[serde(flatten)]
    dimensions: BTreeMap<&'static str, Option<String>>,
    #[serde(flatten)]
    totals: SpendTotals,
}

/// Sums of requests, tokens and cost.
///
/// Any dimension is also a filter (`dataMode=real`); the same filter again is an alternative, an empty value stands for
/// calls that have none. A finished call is counted within a second.
#[utoipa::path(
    get,
    path = "/api/v1/spend",
    security(("admin_token" = [])),
    params(
        ("by" = Option<String>, Query, description = "Dimensions with commas: `tenantId,endpointTag`"),
        ("since" = Option<String>, Query, description = "RFC 3339 or a date; the start of this month when absent"),
        ("until" = Option<String>, Query, description = "RFC 3339 or a date, exclusive; no end when absent"),
        ("tenantId" = Option<String>, Query, description = "A filter; every dimension is one"),
    ),
    responses((status = 200, body = Spend), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn spend(state: State, parameters: Parameters) -> Result<Json<Spend>, Problem> {
    blocking(move || {
        let zone = (state.zone)();
        let query = query(&parameters.0, &zone, state.clock.now())?;
        let rows = state.ledger.spend(&query)?;
        Ok(Json(Spend { rows: rows.into_iter().map(|row| named(&query.by, row)).collect() }))
    })
    .await?
}

fn named(by: &[Column], row: SpendRow) -> Row {
    let names = by.iter().map(|column| column.as_str());
    Row { dimensions: names.zip(row.dimensions).collect(), totals: row.totals }
}

fn query(parameters: &[(String, String)], zone: &TimeZone, now: Timestamp) -> Result<SpendQuery, Problem> {
    let mut query = SpendQuery::default();
    for (name, value) in parameters {
        match name.as_str() {
            "by" => {
                for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                    let column = dimension(word)?;
                    if !query.by.contains(&column) {
                        query.by.push(column);
                    }
                }
            }
            "since" => query.since = Some(moment(name, value, zone)?),
            "until" => query.until = Some(moment(name, value, zone)?),
            _ => query.filters.push((dimension(name)?, value.clone())),
        }
    }
    let since = *query.since.get_or_insert_with(|| calendar_window(Period::Month, zone, now).start);
    if query.until.is_some_and(|until| until < since) {
        return Err(Problem::bad_request("`until` is before `since`: `since` is this month's start unless you set it"));
    }
    Ok(query)
}

fn dimension(word: &str) -> Result<Column, Problem> {
    Column::parse(word).ok_or_else(|| {
        let known: Vec<&str> = Column::ALL.into_iter().map(Column::as_str).collect();
        Problem::bad_request(format!(
            "`{word}` is neither a parameter (by, since, until) nor a dimension ({})",
            known.join(", ")
        ))
    })
}
