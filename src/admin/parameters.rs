//! What a call says in its path and query. A name that nobody knows is refused, never passed over.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use jiff::tz::TimeZone;

use crate::domain::clock::Timestamp;

use super::Problem;

/// The query's names and values in their order.
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error: QueryRejection| Problem::bad_request(error.body_text().to_lowercase()))
    }
}

/// The one variable part of the path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|error| Problem::bad_request(error.body_text().to_lowercase()))
    }
}

/// Reads an RFC 3339 moment, or a date, which is its first moment in `zone`.
pub(super) fn moment(name: &str, value: &str, zone: &TimeZone) -> Result<Timestamp, Problem> {
    // In a query `+` means a blank, and `+01:00` is what people paste.
    let text = value.replace(' ', "+");
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_jiff(moment));
    }
    let date = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == "2026-11-01".len());
    let start = date.and_then(|date| date.to_zoned_datetime(zone.clone()).ok()).and_then(|day| day.start_of_day().ok());
    start.map(|start| Timestamp::from_jiff(start.timestamp())).ok_or_else(|| {
        Problem::bad_request(format!(
            "`{name}={value}` is not a time: write a date (`2026-11-01`) or RFC 3339 (`2026-11-01T12:00:00Z`)"
        ))
    })
}
