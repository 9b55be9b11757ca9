//! The little of HTTP/1.1 that both ends of the benchmark need: where a head ends, and what a field says. It serves a load
//! generator and a fixed provider on loopback; no request of a user ever passes here.

use memchr::memmem;

const END: &[u8] = b"\r\n\r\n";

/// How long the head is, its empty line included; `None` while it is not all there.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, END).map(|at| at + END.len())
}

/// The value of a field of a head, without the blanks around it.
pub(super) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (found, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// A decimal number that is all of `text`.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12 \r\nx: y\r\n\r\nbody";

    #[test]
    fn a_head_ends_with_its_empty_line() {
        assert_eq!(head_length(HEAD), Some(HEAD.len() - 4));
        assert_eq!(head_length(&HEAD[..HEAD.len() - 5]), None);
    }

    #[test]
    fn fields_are_found_in_any_case_and_only_whole() {
        assert_eq!(field(HEAD, "content-length").and_then(number), Some(12));
        assert_eq!(field(HEAD, "content"), None);
        assert_eq!(field(HEAD, "HTTP/1.1 200 OK"), None);
        assert_eq!(field(b"", "x"), None);
    }
}
