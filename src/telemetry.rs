//! What Plimsoll tells its operators: log lines, and the numbers of `/metrics`.
//!
//! It knows nobody: everything comes in as strings and numbers. It refuses to put a user, a request or an unbounded number
//! of tenants into a label.

mod metrics;
mod scrape;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use metrics::{
    Action, BudgetReading, Finished, MAX_TENANT_LABELS, Metrics, Mode, OTHER_TENANTS, Readings, Traffic,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged when nobody says otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// Why logging could not be set up.
#[derive(Debug)]
pub enum LogError {
    /// The filter cannot be read.
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in this process logs already.
    AlreadySet,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter { filter, reason } => {
                write!(
                    f,
                    "the log filter `{filter}` cannot be read ({reason}): write a level, such as `info` or `debug`"
                )
            }
            Self::AlreadySet => f.write_str("logging is already set up in this process"),
        }
    }
}

impl std::error::Error for LogError {}

/// Sends log lines to standard error. `filter` is a level, or `module=level` items with commas ([`DEFAULT_FILTER`]).
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let set = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|_| LogError::AlreadySet)
}
