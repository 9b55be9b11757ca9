//! `rollout: 25% of tenants`: which tenants belong to a share.
//!
//! The algorithm is part of the language, so that every machine and every version picks the same tenants: FNV-1a with 64 bits
//! over the bytes of the tenant's identifier, mixed by the finalizer of `MurmurHash3`; the result times 1,000,000 divided by 2⁶⁴,
//! rounded down, is the tenant's place. Those whose place is below the share in parts per million belong to it, so that a
//! larger share adds tenants and never takes one out.

use super::amount::WHOLE;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A share of all tenants, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rollout(u64);

impl Rollout {
    /// Every tenant.
    pub const ALL: Self = Self(WHOLE);

    /// A share in parts per million; `None` for more than all.
    pub fn new(share: u64) -> Option<Self> {
        (share <= WHOLE).then_some(Self(share))
    }

    /// Parts per million.
    pub fn share(self) -> u64 {
        self.0
    }

    /// Whether it is every tenant.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Whether a tenant belongs to it.
    pub fn includes(self, tenant: &str) -> bool {
        self.is_all() || place(tenant) < self.0
    }
}

/// A tenant's place among a million.
fn place(tenant: &str) -> u64 {
    let fnv = tenant.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
    let mixed = u128::from(mix(fnv)) * u128::from(WHOLE);
    u64::try_from(mixed >> 64).unwrap_or(WHOLE)
}

/// Spreads every bit over all of them: names that differ in their last letter must not be neighbours.
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_those_of_the_published_algorithm() {
        // From another implementation of the algorithm as it is described above.
        for (tenant, expected) in [
            ("globex", 177_218),
            ("acme-corp", 793_264),
            ("soylent", 453_043),
            ("t", 804_743),
            ("_unattributed", 770_505),
        ] {
            assert_eq!(place(tenant), expected, "{tenant}");
        }
    }

    #[test]
    fn a_share_is_about_that_share_of_numbered_tenants() {
        let quarter = Rollout::new(250_000).expect("a share");
        let included = (0..10_000).filter(|number| quarter.includes(&format!("tenant-{number}"))).count();
        assert!((2_300..2_700).contains(&included), "{included}");
    }

    proptest! {
        #[test]
        fn a_larger_share_only_adds_tenants(tenant in "[ -~]{1,40}", one in 0..=WHOLE, other in 0..=WHOLE) {
            let (less, more) = (Rollout(one.min(other)), Rollout(one.max(other)));
            prop_assert!(!less.includes(&tenant) || more.includes(&tenant));
            prop_assert!(Rollout::ALL.includes(&tenant) && !Rollout(0).includes(&tenant));
        }
    }
}
