//! Patterns in which `*` stands for any run of characters, dots among them.

use std::sync::Arc;

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob(Arc<str>);

impl Glob {
    /// A pattern; every text is one.
    pub fn new(pattern: &str) -> Self {
        Self(Arc::from(pattern))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it holds no `*`.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// What every text that fits begins with: the pattern up to its first `*`.
    pub fn start(&self) -> &str {
        self.0.split_once('*').map_or(&*self.0, |(start, _)| start)
    }

    /// Whether the whole of `text` fits: the first part at the start, the last at the end, the others in order between.
    pub fn matches(&self, text: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return *self.0 == *text };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut between) = text.strip_prefix(head).and_then(|text| text.strip_suffix(tail)) else { return false };
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some((_, after)) = between.split_once(part) else { return false };
            between = after;
        }
        true
    }

    /// How specific it is: the longer literal start wins, then the longer pattern; a literal beats every pattern.
    pub fn specificity(&self) -> (bool, usize, usize) {
        let literal = self.0.find('*').unwrap_or(self.0.len());
        (self.is_literal(), literal, self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_crosses_dots_and_nothing_else_is_special() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a.b.c"),
            ("digest.*", "digest.weekly.mail"),
            ("*.mail", "digest.mail"),
            ("a*b*c", "a__b_b_c"),
            ("a**c", "ac"),
            ("support", "support"),
        ] {
            assert!(Glob::new(pattern).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("digest.*", "digest"), ("a*a", "a"), ("a*b*c", "acb"), ("a?c", "abc"), ("support", "support.x")]
        {
            assert!(!Glob::new(pattern).matches(text), "{pattern} {text}");
        }
    }
}
