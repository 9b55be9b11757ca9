//! Gateway keys: who may call, and for whom.
//!
//! A key is compared by its SHA-256 digest: the table is keyed by digest, and the digest that is found is compared once more
//! in constant time. Nothing here keeps a secret in the clear.

use std::cell::RefCell;
use std::collections::HashMap;
use std::iter::once_with;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::clock::Timestamp;
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

/// Characters of an identifier that tell when it was made, in milliseconds: enough until the year 8888.
const TIME_CHARS: usize = 8;
/// And random ones, of 6 bits each.
const CHANCE_CHARS: usize = 12;
const CHANCE_BYTES: usize = CHANCE_CHARS * 6 / 8;
/// Identifiers whose randomness is fetched at once.
const STOCK: usize = 64;

/// A request's identifier: `prefix` and 20 characters, unguessable and unique. Later ones sort after earlier ones, so that an
/// index over them grows at its end.
pub(super) fn fresh_id(prefix: &str, now: Timestamp) -> Arc<str> {
    let mut id = String::with_capacity(prefix.len() + TIME_CHARS + CHANCE_CHARS);
    id.push_str(prefix);
    let mut millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
    let mut time = [0_u8; TIME_CHARS];
    for digit in time.iter_mut().rev() {
        *digit = (millis % 62).to_le_bytes()[0];
        millis /= 62;
    }
    id.extend(time.map(letter));
    let chance = CHANCE.with_borrow_mut(Chance::take);
    id.extend(chance.chunks_exact(3).flat_map(|three| {
        let [a, b, c] = [three[0], three[1], three[2]];
        [a >> 2, (a << 4 | b >> 4) & 63, (b << 2 | c >> 6) & 63, c & 63].map(letter)
    }));
    Arc::from(id)
}

/// The two digits that base62 does not have stand for two that it has.
fn letter(digit: u8) -> char {
    char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])
}

thread_local! {
    static CHANCE: RefCell<Chance> = const { RefCell::new(Chance { bytes: [0; CHANCE_BYTES * STOCK], left: 0 }) };
}

/// Randomness of the system, fetched for many identifiers at once, since every fetch is a system call.
struct Chance {
    bytes: [u8; CHANCE_BYTES * STOCK],
    left: usize,
}

impl Chance {
    fn take(&mut self) -> [u8; CHANCE_BYTES] {
        if self.left == 0 {
            if getrandom::fill(&mut self.bytes).is_err() {
                return Self::none();
            }
            self.left = STOCK;
        }
        self.left -= 1;
        let at = self.left * CHANCE_BYTES;
        // What was given out is not kept.
        let mut taken = [0; CHANCE_BYTES];
        taken.swap_with_slice(&mut self.bytes[at..at + CHANCE_BYTES]);
        taken
    }

    /// Without entropy identifiers stay unique within the process, which is all that correctness needs.
    fn none() -> [u8; CHANCE_BYTES] {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut count = [0; CHANCE_BYTES];
        count[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        count
    }
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
    fn identifiers_are_unique_and_grow_with_time() {
        let at = |seconds| fresh_id("req_", Timestamp::from_seconds(seconds));
        let (early, late) = (at(1_764_000_000), at(1_764_000_001));
        assert!(early < late && at(0) < early && late < at(200_000_000_000));
        assert!(early.len() == 24 && early[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{early}");
        let many: std::collections::HashSet<Arc<str>> = (0..10_000).map(|_| at(7)).collect();
        assert_eq!(many.len(), 10_000);
        assert!(many.iter().all(|id| id.starts_with(&early[..4]) && id[..12] == at(7)[..12]));
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
