//! The canonical bytes of a row, and the chain of hashes over rows: a changed, missing or moved row shows.
//!
//! The same row has the same bytes whether its values are about to be bound or were read back, and two different rows never
//! have the same bytes: every value says its type, and how long it is where the type does not. It knows no column names and
//! refuses nothing when it writes; when it reads it takes only what [`encode`] can have written, and never panics.

use rusqlite::types::{Value, ValueRef};
use sha2::{Digest, Sha256};

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const TEXT: u8 = 2;
const BLOB: u8 = 3;
/// No table of ours has a column for it; it has a tag so that every value has bytes.
const REAL: u8 = 4;

/// Appends the bytes of a row: for each value its tag, then eight bytes of it or of its length (little endian), then text or
/// blob as they are.
pub(super) fn encode<'a>(values: impl IntoIterator<Item = ValueRef<'a>>, out: &mut Vec<u8>) {
    for value in values {
        match value {
            ValueRef::Null => out.push(NULL),
            ValueRef::Integer(number) => fixed(INTEGER, number.to_le_bytes(), out),
            ValueRef::Real(number) => fixed(REAL, number.to_bits().to_le_bytes(), out),
            ValueRef::Text(bytes) => sized(TEXT, bytes, out),
            ValueRef::Blob(bytes) => sized(BLOB, bytes, out),
        }
    }
}

fn fixed(tag: u8, bytes: [u8; 8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}

fn sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    fixed(tag, (bytes.len() as u64).to_le_bytes(), out);
    out.extend_from_slice(bytes);
}

/// The values that [`encode`] made these bytes of. `None`: it did not.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        bytes = rest;
        values.push(match *tag {
            NULL => Value::Null,
            INTEGER => Value::Integer(i64::from_le_bytes(eight(&mut bytes)?)),
            REAL => Value::Real(f64::from_bits(u64::from_le_bytes(eight(&mut bytes)?))),
            TEXT => Value::Text(std::str::from_utf8(stretch(&mut bytes)?).ok()?.to_owned()),
            BLOB => Value::Blob(stretch(&mut bytes)?.to_vec()),
            _ => return None,
        });
    }
    Some(values)
}

fn eight(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(*first)
}

fn stretch<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_le_bytes(eight(bytes)?)).ok()?;
    let (first, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(first)
}

/// The hash over all rows so far, each linked to the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    head: [u8; 32],
}

impl Chain {
    /// Before the first row.
    pub(super) const GENESIS: Self = Self { head: [0; 32] };

    /// Goes on from a head that was stored. `None`: it is not 32 bytes long.
    pub(super) fn from_head(head: &[u8]) -> Option<Self> {
        Some(Self { head: head.try_into().ok()? })
    }

    /// The hash over everything that was linked.
    pub(super) fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Links one more row: SHA-256 over the head so far and the row's bytes is the new head.
    pub(super) fn link(&mut self, encoded: &[u8]) -> [u8; 32] {
        self.head = Sha256::new().chain_update(self.head).chain_update(encoded).finalize().into();
        self.head
    }
}

#[cfg(test)]
mod tests;
