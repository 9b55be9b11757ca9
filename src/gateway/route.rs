//! Which provider a path means, and the one form of a path that everything below judges.
//!
//! `/{provider}/{rest}` goes to that provider; bare API paths mean the provider of their dialect. A leading
//! `/@endpointTag=…;promptVersion=…` segment carries attribution for tools that accept only a base URL.

use http::HeaderMap;

/// A path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// The attributes of the `/@…` prefix, as text.
    pub(super) attributes: Option<&'a str>,
    /// The provider's name.
    pub(super) provider: &'a str,
    /// The rest, beginning with `/`.
    pub(super) path: &'a str,
}

/// Why a path goes nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost<'a> {
    /// The path has more than one reading.
    Ambiguous,
    /// No provider has this name.
    UnknownProvider(&'a str),
}

/// Takes a path apart. `known` tells whether a provider of that name exists.
pub(super) fn route<'a>(
    path: &'a str,
    headers: &HeaderMap,
    known: impl Fn(&str) -> bool,
) -> Result<Route<'a>, Lost<'a>> {
    let (attributes, path) = match path.strip_prefix("/@") {
        Some(rest) => {
            let (attributes, _) = rest.split_once('/').ok_or(Lost::Ambiguous)?;
            (Some(attributes), &rest[attributes.len()..])
        }
        None => (None, path),
    };
    if !is_normal(path) {
        return Err(Lost::Ambiguous);
    }
    let first = path[1..].split('/').next().unwrap_or_default();
    let bare = |provider| Ok(Route { attributes, provider, path });
    match first {
        "v1" if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") => bare("anthropic"),
        "v1" => bare("openai"),
        "v1beta" => bare("gemini"),
        name if known(name) => {
            let rest = &path[1 + name.len()..];
            Ok(Route { attributes, provider: name, path: if rest.is_empty() { "/" } else { rest } })
        }
        name => Err(Lost::UnknownProvider(name)),
    }
}

/// Whether a path has one reading only: no dot segments, empty segments, encoded separators or parameters.
fn is_normal(path: &str) -> bool {
    let Some(segments) = path.as_bytes().strip_prefix(b"/") else { return false };
    let mut from = 0;
    for (at, byte) in segments.iter().enumerate() {
        let fine = match byte {
            b'\\' | b';' => false,
            b'%' => is_plain_code(segments.get(at + 1..at + 3)),
            b'/' => !matches!(&segments[std::mem::replace(&mut from, at + 1)..at], b"" | b"." | b".."),
            _ => true,
        };
        if !fine {
            return false;
        }
    }
    !matches!(&segments[from..], b"." | b"..")
}

/// Whether the two digits behind a percent sign stand for a byte that could not be read as structure.
fn is_plain_code(hex: Option<&[u8]>) -> bool {
    let code = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    code.is_some_and(|byte| !matches!(byte, b'.' | b'/' | b'\\' | b';' | 0..=0x1f | 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(path: &str) -> Result<(Option<&str>, &str, &str), Lost<'_>> {
        let known = |name: &str| ["openai", "anthropic", "gemini", "groq"].contains(&name);
        route(path, &HeaderMap::new(), known).map(|route| (route.attributes, route.provider, route.path))
    }

    #[test]
    fn a_path_names_its_provider_or_its_dialect() {
        assert_eq!(to("/groq/v1/chat/completions"), Ok((None, "groq", "/v1/chat/completions")));
        assert_eq!(to("/v1/chat/completions"), Ok((None, "openai", "/v1/chat/completions")));
        assert_eq!(to("/v1/messages/count_tokens"), Ok((None, "anthropic", "/v1/messages/count_tokens")));
        assert_eq!(to("/v1beta/models/g:generateContent"), Ok((None, "gemini", "/v1beta/models/g:generateContent")));
        assert_eq!(to("/openai"), Ok((None, "openai", "/")));
        assert_eq!(to("/mistral/v1/x"), Err(Lost::UnknownProvider("mistral")));
    }

    #[test]
    fn a_header_tells_a_bare_path_of_anthropic() {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", http::HeaderValue::from_static("2023-06-01"));
        let found = route("/v1/models", &headers, |_| true).expect("a bare path");
        assert_eq!(found.provider, "anthropic");
    }

    #[test]
    fn attributes_ride_in_the_first_segment() {
        assert_eq!(
            to("/@endpointTag=a.b;promptVersion=v1/openai/v1/models"),
            Ok((Some("endpointTag=a.b;promptVersion=v1"), "openai", "/v1/models"))
        );
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in [
            "/openai/../anthropic/v1",
            "/openai//v1",
            "/openai/./v1",
            "/openai/%2e%2e/x",
            "/openai/a%2Fb",
            "/openai/a;b",
            "/openai/%zz",
            "/openai/%",
            "/openai/%00",
            "/openai\\x",
            "/@a=b",
            "*",
        ] {
            assert_eq!(to(path), Err(Lost::Ambiguous), "{path}");
        }
    }
}
