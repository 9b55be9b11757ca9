//! Where notifications go: the `notify:` section of `plimsoll.yaml`, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use secrecy::SecretSlice;

use super::signature;

/// The target that is always there.
pub const LOG: &str = "log";
/// The word that stands for the tenant's owner.
pub const ACCOUNT_OWNER: &str = "account_owner";
/// Where `account_owner` goes when the owner is no target.
pub const DEFAULT: &str = "default";

/// One place that notifications go to.
#[derive(Clone)]
pub enum Target {
    /// A line in the log.
    Log,
    /// A Standard Webhooks receiver.
    Webhook {
        /// Its address.
        url: Uri,
        /// The key of its signatures.
        secret: SecretSlice<u8>,
    },
    /// An incoming webhook of Slack, or of anything that takes `{"text": …}`.
    Slack {
        /// Its address. Whoever knows it can post, so it is never shown.
        url: Uri,
    },
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("Log"),
            Self::Webhook { url, .. } => write!(f, "Webhook({})", url.host().unwrap_or_default()),
            Self::Slack { url } => write!(f, "Slack({})", url.host().unwrap_or_default()),
        }
    }
}

/// Why a target cannot be used. The message never holds the address or the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidTarget {
    /// Not an address.
    Address,
    /// `http:` to another machine.
    Plain,
    /// The secret is empty, or `whsec_` without base64 after it.
    Secret,
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "not an address; write `https://host/path` without a user name",
            Self::Plain => "`http:` goes to this machine only; write `https:`",
            Self::Secret => "not a secret; write some text, or `whsec_` and base64",
        })
    }
}

impl std::error::Error for InvalidTarget {}

impl Target {
    /// A webhook; `secret` is `whsec_` and base64, or any text.
    pub fn webhook(url: &str, secret: &str) -> Result<Self, InvalidTarget> {
        let key = signature::key(secret).filter(|key| !key.is_empty()).ok_or(InvalidTarget::Secret)?;
        Ok(Self::Webhook { url: address(url)?, secret: SecretSlice::from(key) })
    }

    /// A Slack channel.
    pub fn slack(url: &str) -> Result<Self, InvalidTarget> {
        Ok(Self::Slack { url: address(url)? })
    }
}

fn address(url: &str) -> Result<Uri, InvalidTarget> {
    let uri: Uri = url.parse().map_err(|_| InvalidTarget::Address)?;
    let authority = uri.authority().ok_or(InvalidTarget::Address)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(InvalidTarget::Address);
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(authority.host()) => Ok(uri),
        Some("http") => Err(InvalidTarget::Plain),
        _ => Err(InvalidTarget::Address),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The targets by name.
#[derive(Debug, Clone)]
pub struct Targets {
    by_name: BTreeMap<Arc<str>, Target>,
}

impl Default for Targets {
    fn default() -> Self {
        Self::new([])
    }
}

impl Targets {
    /// These targets, and `log`.
    pub fn new(targets: impl IntoIterator<Item = (Arc<str>, Target)>) -> Self {
        let mut by_name: BTreeMap<Arc<str>, Target> = targets.into_iter().collect();
        by_name.insert(Arc::from(LOG), Target::Log);
        Self { by_name }
    }

    /// Whether a `notify:` of a policy may name it.
    pub fn is_defined(&self, name: &str) -> bool {
        name == ACCOUNT_OWNER || self.by_name.contains_key(name)
    }

    /// Every target with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Target)> {
        self.by_name.iter()
    }

    /// The targets that `names` stand for, each once, in their order. `account_owner` is the target named like the owner,
    /// else `default`. What is not defined goes to the log: it must not vanish.
    pub fn resolve<N: AsRef<str>>(&self, names: &[N], owner: Option<&str>) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::with_capacity(names.len());
        for name in names {
            let target = self.named(name.as_ref(), owner);
            if !found.contains(&target) {
                found.push(target);
            }
        }
        found
    }

    fn named(&self, name: &str, owner: Option<&str>) -> &str {
        let known = |name: &str| self.by_name.get_key_value(name).map(|(name, _)| &**name);
        let target = match name {
            ACCOUNT_OWNER => owner.and_then(known).or_else(|| known(DEFAULT)),
            name => known(name),
        };
        target.unwrap_or(LOG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(names: &[&str]) -> Targets {
        Targets::new(names.iter().map(|name| (Arc::from(*name), Target::slack("https://hooks.example.com/x").unwrap())))
    }

    #[test]
    fn an_owner_who_is_a_target_is_told_directly() {
        let all = targets(&["dana@example.com", "default", "slack:llm-margin"]);
        let owner = Some("dana@example.com");
        assert_eq!(
            all.resolve(&["account_owner", "slack:llm-margin"], owner),
            ["dana@example.com", "slack:llm-margin"]
        );
        assert_eq!(all.resolve(&["account_owner"], Some("lee@example.com")), ["default"]);
        assert_eq!(all.resolve(&["account_owner"], None), ["default"]);
        assert_eq!(targets(&[]).resolve(&["account_owner"], owner), ["log"]);
    }

    #[test]
    fn nobody_is_told_twice_and_nothing_vanishes() {
        let all = targets(&["default", "oncall"]);
        assert_eq!(all.resolve(&["oncall", "account_owner", "default", "oncall"], None), ["oncall", "default"]);
        assert_eq!(all.resolve(&["finanse", "log"], None), ["log"]);
        assert!(all.is_defined("account_owner") && all.is_defined("log") && !all.is_defined("finanse"));
    }

    #[test]
    fn addresses_are_checked_and_never_shown() {
        assert!(Target::slack("http://127.0.0.1:9/x").is_ok() && Target::slack("http://[::1]:9/x").is_ok());
        assert_eq!(Target::slack("http://example.com/x").unwrap_err(), InvalidTarget::Plain);
        for url in ["", "/x", "ftp://example.com", "https://user@example.com/", "https://"] {
            assert_eq!(Target::slack(url).unwrap_err(), InvalidTarget::Address, "{url}");
        }
        assert_eq!(Target::webhook("https://example.com", "").unwrap_err(), InvalidTarget::Secret);
        assert_eq!(Target::webhook("https://example.com", "whsec_?").unwrap_err(), InvalidTarget::Secret);
        let shown = format!("{:?}", Target::webhook("https://example.com/T0/secret", "s3cret").unwrap());
        assert_eq!(shown, "Webhook(example.com)");
    }
}
