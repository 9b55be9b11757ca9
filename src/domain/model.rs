//! Names of providers and models.

use std::fmt;
use std::sync::Arc;

/// A provider by its name in `plimsoll.yaml`, which is the first segment of a request's path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub Arc<str>);

/// A model as a provider names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(pub Arc<str>);

macro_rules! name {
    ($type:ident) => {
        impl $type {
            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self(Arc::from(name))
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
name!(ProviderId);
name!(ModelId);

/// Whether `model` is `name` itself or a dated release of it: `gpt-4o-2024-08-06`, `claude-opus-4-5-20251101`,
/// `gemini-2.5-flash-001`, `…-latest`.
///
/// A suffix that is not a date, a three-digit revision or `latest` names another model: `gpt-4o-mini` is not `gpt-4o`.
pub fn is_release_of(model: &str, name: &str) -> bool {
    let Some(rest) = model.strip_prefix(name) else { return false };
    if rest.is_empty() {
        return true;
    }
    let Some(suffix) = rest.strip_prefix(['-', '@']) else { return false };
    suffix == "latest" || is_date_or_revision(suffix)
}

fn is_date_or_revision(suffix: &str) -> bool {
    let digits = suffix.bytes().filter(u8::is_ascii_digit).count();
    let dashes = suffix.bytes().filter(|byte| *byte == b'-').count();
    digits + dashes == suffix.len() && matches!((digits, dashes), (8, 0 | 2) | (3 | 4, 0) | (4, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_releases_are_the_same_model_and_variants_are_not() {
        for release in ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-latest", "gpt-4o-0613"] {
            assert!(is_release_of(release, "gpt-4o"), "{release}");
        }
        assert!(is_release_of("claude-opus-4-5-20251101", "claude-opus-4-5"));
        assert!(is_release_of("claude-opus-4-5@20251101", "claude-opus-4-5"));
        assert!(is_release_of("gemini-2.5-flash-001", "gemini-2.5-flash"));
        assert!(!is_release_of("gemini-2.5-flash-preview", "gemini-2.5-flash"));
        for other in ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4", "gpt-4o-", "gpt-4o2024"] {
            assert!(!is_release_of(other, "gpt-4o"), "{other}");
        }
    }
}
