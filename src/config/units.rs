//! Small values of `plimsoll.yaml`: sizes, durations, digests, networks, header names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::HeaderName;

use crate::diagnostic::Diagnostic;
use crate::gateway::TrustedNetwork;
use crate::policy::reader::{Problems, expect_str};
use crate::policy::tree::Node;

fn fault<T>(node: &Node, code: &'static str, message: String, help: &str, problems: &mut Problems) -> Option<T> {
    problems.push(Diagnostic::error(code, message).at(&node.place, "").help(help));
    None
}

/// A number and its unit: `32 MiB`, `10 s`.
fn quantity(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    Some((text.get(..digits)?.parse().ok()?, text.get(digits..)?.trim()))
}

/// Bytes: `32 MiB`, `512 KiB`, `1048576`.
pub(super) fn bytes(node: &Node, problems: &mut Problems) -> Option<u64> {
    let text = expect_str(node, "a size", problems)?;
    let size = quantity(text).and_then(|(number, unit)| {
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(factor)
    });
    size.or_else(|| fault(node, "E026", format!("`{text}` is not a size"), "write `32 MiB`", problems))
}

/// `10 s`, `5 min`, `250 ms`, `1 hour`.
pub(super) fn duration(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let text = expect_str(node, "a duration", problems)?;
    let duration = quantity(text).and_then(|(number, unit)| match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "min" => number.checked_mul(60).map(Duration::from_secs),
        "hour" | "hours" => number.checked_mul(3_600).map(Duration::from_secs),
        _ => None,
    });
    let sensible = duration.filter(|duration| !duration.is_zero() && duration.as_secs() <= 86_400);
    sensible.or_else(|| {
        fault(node, "E027", format!("`{text}` is not a duration between 1 ms and a day"), "write `10 s`", problems)
    })
}

/// 64 hexadecimal digits.
pub(super) fn hex32(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0_u8; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// A header's name.
pub(super) fn header(node: &Node, problems: &mut Problems) -> Option<HeaderName> {
    let text = expect_str(node, "a header's name", problems)?;
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    name.or_else(|| fault(node, "E028", format!("`{text}` is not a header's name"), "write `x-my-header`", problems))
}

/// `10.0.0.0/8`.
pub(super) fn network(node: &Node, problems: &mut Problems) -> Option<TrustedNetwork> {
    let text = expect_str(node, "a network", problems)?;
    let network = text.split_once('/').and_then(|(address, bits)| {
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let widest = if address.is_ipv4() { 32 } else { 128 };
        (bits <= widest).then_some(TrustedNetwork { address, bits })
    });
    network.or_else(|| fault(node, "E029", format!("`{text}` is not a network"), "write `10.0.0.0/8`", problems))
}

/// This machine.
pub(super) fn loopback_networks() -> Vec<TrustedNetwork> {
    vec![
        TrustedNetwork { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 },
        TrustedNetwork { address: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 },
    ]
}
