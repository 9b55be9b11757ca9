//! Gateway keys: who may call, and for whom.
//!
//! A key is compared by its SHA-256 digest: the table is keyed by digest, and the digest that is found is compared once more
//! in constant time. Nothing here keeps a secret in the clear.

use std::collections::HashMap;
use std::iter::once_with;
use std::sync::Arc;

use base64::Engine;
use foldhash::quality::RandomState;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::tenant::TenantId;

/// A SHA-256 digest of a key.
pub type KeyDigest = [u8; 32];

/// The prefix of keys that `plimsoll keys new` makes.
pub const KEY_PREFIX: &str = "plim_";

/// Where Anthropic's SDK puts its key.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Where Google's SDK puts its key.
pub(super) const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 32 random bytes in base62 are 43 characters, a CRC32 is 6.
const RANDOM_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;

/// Whom a key speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaks {
    /// For one tenant only.
    For(TenantId),
    /// For whatever tenant a request names.
    Any,
}

/// One gateway key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name in `plimsoll.yaml`.
    pub name: Arc<str>,
    /// Whom it speaks for.
    pub speaks: Speaks,
}

/// All gateway keys, by digest.
#[derive(Debug, Default)]
pub struct KeyRing(HashMap<KeyDigest, (KeyDigest, Key), RandomState>);

impl KeyRing {
    /// Adds a key; `false` when its secret is there already.
    pub fn insert(&mut self, digest: KeyDigest, key: Key) -> bool {
        self.0.insert(digest, (digest, key)).is_none()
    }

    /// Whether no key is configured: then callers bring their provider's own.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of a presented secret.
    pub fn find(&self, secret: &str) -> Option<&Key> {
        let presented = digest(secret);
        let (stored, key) = self.0.get(&presented)?;
        bool::from(stored.ct_eq(&presented)).then_some(key)
    }
}

/// SHA-256 of a secret.
pub fn digest(secret: &str) -> KeyDigest {
    Sha256::digest(secret.as_bytes()).into()
}

/// A new secret: `plim_`, 32 random bytes in base62, and a CRC32 that catches typing errors.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)?;
    let body = base62(&random, RANDOM_CHARS);
    let check = base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECK_CHARS);
    Ok(format!("{KEY_PREFIX}{body}{check}"))
}

/// Whether a text looks like a generated key but cannot be one: a character was lost or changed.
pub(super) fn is_mistyped(secret: &str) -> bool {
    let Some(rest) = secret.strip_prefix(KEY_PREFIX) else { return false };
    if rest.len() != RANDOM_CHARS + CHECK_CHARS || !rest.is_ascii() {
        return true;
    }
    let (body, check) = rest.split_at(RANDOM_CHARS);
    base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECK_CHARS) != check
}

/// Big-endian bytes in base62, padded to `width`.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut digits = vec![0_u8; width];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in digits.iter_mut().rev() {
            carry += u32::from(*digit) << 8;
            *digit = u8::try_from(carry % 62).unwrap_or_default();
            carry /= 62;
        }
    }
    digits.iter().map(|digit| char::from(ALPHABET[usize::from(*digit)])).collect()
}

/// Every credential that a request presents: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, `?key=`. One that is not
/// asked for is not looked for.
pub(super) fn presented<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = move || {
        let (scheme, token) = text(&AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    let parameter = move || query?.split('&').find_map(|pair| pair.strip_prefix("key="));
    once_with(bearer)
        .chain(once_with(move || text(&X_API_KEY)))
        .chain(once_with(move || text(&X_GOOG_API_KEY)))
        .chain(once_with(parameter))
        .flatten()
}

/// A query without the caller's `key=`.
pub(super) fn without_key(query: &str) -> String {
    query.split('&').filter(|pair| !pair.starts_with("key=")).collect::<Vec<_>>().join("&")
}

/// A request's identifier: `prefix` and 20 characters, unguessable and unique.
pub(super) fn fresh_id(prefix: &str) -> String {
    let mut random = [0_u8; 15];
    if getrandom::fill(&mut random).is_err() {
        // Without entropy identifiers stay unique within the process, which is all that correctness needs.
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        random[..8].copy_from_slice(&count.to_be_bytes());
    }
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    format!("{prefix}{}", encoded.replace('-', "A").replace('_', "B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_by_its_digest_alone() {
        let secret = generate().expect("entropy");
        assert_eq!(secret.len(), KEY_PREFIX.len() + RANDOM_CHARS + CHECK_CHARS);
        let mut ring = KeyRing::default();
        ring.insert(digest(&secret), Key { name: "backend".into(), speaks: Speaks::Any });
        assert_eq!(ring.find(&secret).map(|key| &*key.name), Some("backend"));
        assert!(ring.find("plim_other").is_none());
    }

    #[test]
    fn a_changed_character_is_a_typing_error() {
        let secret = generate().expect("entropy");
        assert!(!is_mistyped(&secret));
        let mut changed = secret.clone();
        let last = changed.pop().expect("a character");
        changed.push(if last == 'a' { 'b' } else { 'a' });
        assert!(is_mistyped(&changed));
        assert!(is_mistyped("plim_short"));
        assert!(!is_mistyped("sk-some-provider-key"));
    }

    #[test]
    fn base62_is_positional() {
        assert_eq!(base62(&[0], 3), "000");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
    }

    #[test]
    fn every_usual_place_of_a_credential_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", http::HeaderValue::from_static("bearer one"));
        headers.insert("x-api-key", http::HeaderValue::from_static("two"));
        headers.insert("x-goog-api-key", http::HeaderValue::from_static("three"));
        assert_eq!(presented(&headers, Some("alt=sse&key=four")).collect::<Vec<_>>(), ["one", "two", "three", "four"]);
        assert_eq!(without_key("alt=sse&key=four&x=1"), "alt=sse&x=1");
    }
}
