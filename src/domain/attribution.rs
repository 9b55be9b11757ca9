//! What a call says about itself: the telemetry dimensions.

use std::fmt;
use std::sync::Arc;

/// The endpoint tag of calls that name none.
pub const UNTAGGED: &str = "_untagged";
/// The prompt version of calls that name none.
pub const UNVERSIONED: &str = "_unversioned";
/// What stands in place of a value that was refused.
pub const INVALID: &str = "_invalid";

/// Whether a call serves a customer or is a trial run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DataMode {
    /// Real traffic.
    #[default]
    Real,
    /// A test.
    Test,
    /// A demonstration.
    Demo,
    /// The caller sent a word that is none of these.
    Invalid,
}

/// Where the calling application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Environment {
    /// Production.
    #[default]
    Prod,
    /// Staging.
    Staging,
    /// Development.
    Dev,
    /// The caller sent a word that is none of these.
    Invalid,
}

impl DataMode {
    /// The word in headers, policies and the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Test => "test",
            Self::Demo => "demo",
            Self::Invalid => INVALID,
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Real, Self::Test, Self::Demo].into_iter().find(|mode| mode.as_str() == word)
    }
}

impl Environment {
    /// The word in headers, policies and the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prod => "prod",
            Self::Staging => "staging",
            Self::Dev => "dev",
            Self::Invalid => INVALID,
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Prod, Self::Staging, Self::Dev].into_iter().find(|environment| environment.as_str() == word)
    }
}

impl fmt::Display for DataMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The dimensions of one call, apart from its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// The feature that calls.
    pub endpoint_tag: Arc<str>,
    /// The version of its prompt.
    pub prompt_version: Arc<str>,
    /// Real, test or demo.
    pub data_mode: DataMode,
    /// Prod, staging or dev.
    pub environment: Environment,
    /// The end user, when the application says who.
    pub user_id: Option<Arc<str>>,
    /// The application's name for this logical request, the same over its retries.
    pub external_request_id: Option<Arc<str>>,
    /// The unit of work that this call is part of.
    pub workflow_id: Option<Arc<str>>,
    /// Further attributes (`plimsoll-attr-<name>`): at most 8.
    pub extras: Vec<(Box<str>, Box<str>)>,
    /// How many attempts of this logical request came before, as the client's SDK counts them.
    pub retry_count: u32,
}

impl Default for Attribution {
    fn default() -> Self {
        Self {
            endpoint_tag: Arc::from(UNTAGGED),
            prompt_version: Arc::from(UNVERSIONED),
            data_mode: DataMode::default(),
            environment: Environment::default(),
            user_id: None,
            external_request_id: None,
            workflow_id: None,
            extras: Vec::new(),
            retry_count: 0,
        }
    }
}
