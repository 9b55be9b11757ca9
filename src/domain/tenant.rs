//! Tenants: who pays, and what finance knows about them.

use std::fmt;
use std::sync::Arc;

use super::by_key::Keyed;
use super::money::Money;
use super::window::Period;

/// A tenant's identifier as applications send it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// The tenant of calls that nobody claims.
pub const UNATTRIBUTED: &str = "_unattributed";

/// The longest identifier, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not 1 to {MAX_ID_BYTES} visible ASCII characters without quotes, commas or backslashes")
    }
}

impl std::error::Error for InvalidId {}

/// Whether a text may name a tenant, user, endpoint, prompt version or workflow: 1 to 128 visible ASCII characters other
/// than quotes, comma and backslash, so that it needs no escaping in a header, a metric label or a CSV file.
pub fn is_valid_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b',' | b'\\' | b'`'))
}

impl TenantId {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<Self, InvalidId> {
        if is_valid_id(name) { Ok(Self(Arc::from(name))) } else { Err(InvalidId) }
    }

    /// The tenant of calls that nobody claims.
    pub fn unattributed() -> Self {
        Self(Arc::from(UNATTRIBUTED))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text.
    pub fn as_arc(&self) -> &Arc<str> {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a tenant pays us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revenue {
    /// The amount per period, in the policy's currency (nano-units of it).
    pub amount: Money,
    /// The period it is paid for.
    pub per: Period,
}

impl Revenue {
    /// `199/month`. `None` for what is not more than nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (amount, per) = text.split_once('/')?;
        let amount = Money::parse_decimal(amount.trim()).filter(|amount| *amount > Money::ZERO)?;
        Some(Self { amount, per: Period::parse(per.trim())? })
    }
}

/// One tenant of the directory. Never filled from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The identifier.
    pub id: TenantId,
    /// The customer's name, which no two have in common.
    pub name: Option<Box<str>>,
    /// The plan, by its name in the policy.
    pub plan: Option<Arc<str>>,
    /// The segment, by its name in the policy.
    pub segment: Option<Arc<str>>,
    /// Who answers for the account.
    pub account_owner: Option<Arc<str>>,
    /// What the tenant pays. `None` when unknown or zero: then nothing is relative to it.
    pub revenue: Option<Revenue>,
    /// Where the tenant can buy more.
    pub upgrade_url: Option<Arc<str>>,
}

impl Keyed for Tenant {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl Tenant {
    /// A tenant of whom only the name is known.
    pub fn unknown(id: TenantId) -> Self {
        Self { id, name: None, plan: None, segment: None, account_owner: None, revenue: None, upgrade_url: None }
    }
}
