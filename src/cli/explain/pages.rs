//! The pages by code. A code without a page, and a page without a code, fail a test.

macro_rules! pages {
    ($($code:ident)*) => {
        &[$((stringify!($code), include_str!(concat!("../../../docs/codes/", stringify!($code), ".md")))),*]
    };
}

/// Code and page, in order.
pub(super) const PAGES: &[(&str, &str)] = pages! {};
