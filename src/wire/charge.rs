//! What providers bill for calls that do not end well: who goes on after a cancel, and which errors may cost money.
//!
//! One table, by the host that a provider's `base_url` names. Where a provider's own documentation says nothing, the cautious
//! reading stands: it bills on, and an error after generation may have begun is billed. It refuses to guess in the
//! provider's disfavour only where a page is cited.

/// How the operator of a host bills.
#[derive(Debug, PartialEq, Eq)]
pub struct Billing {
    /// The host, or the end of it after a dot. Empty: every other host.
    pub host: &'static str,
    /// Whether a stream that the client gives up is generated and billed to its end.
    pub after_cancel: bool,
    /// Error statuses that are free here although the general rule charges them.
    pub free: &'static [u16],
    /// Error statuses that are billed here although the general rule does not charge them.
    pub billed: &'static [u16],
    /// Where that is written.
    pub source: &'static str,
}

/// Everything that is known. Sources were read in November 2026.
pub static BILLINGS: [Billing; 6] = [
    Billing {
        host: "api.openai.com",
        after_cancel: true,
        free: &[],
        billed: &[],
        source: "undocumented; the SDK's maintainers advise reading a stream to its end for exact usage \
                 (github.com/openai/openai-node/issues/1505)",
    },
    Billing {
        host: "api.anthropic.com",
        after_cancel: true,
        free: &[],
        billed: &[],
        source: "undocumented; a refusal in mid-stream is billed up to the refusal and states its usage \
                 (platform.claude.com, handle-streaming-refusals)",
    },
    Billing {
        host: "generativelanguage.googleapis.com",
        after_cancel: true,
        free: &[400, 500],
        billed: &[],
        source: "errors: requests that fail with 400 or 500 are not charged (ai.google.dev/gemini-api/docs/billing); \
                 cancelling: undocumented",
    },
    Billing { host: "azure.com", after_cancel: true, free: &[], billed: &[400, 408], source: AZURE },
    Billing {
        host: "openrouter.ai",
        after_cancel: true,
        free: &[],
        billed: &[],
        source: "a stream's cancellation ends the bill only for some of the providers behind it, and never that of other \
                 calls (openrouter.ai/docs/api-reference/streaming)",
    },
    Billing { host: "", after_cancel: true, free: &[], billed: &[], source: "the cautious rule" },
];

const AZURE: &str = "errors: charged where processing was performed, such as a 400 of the content filter or a 408 \
                     (learn.microsoft.com, manage costs of Azure OpenAI); cancelling: undocumented";

/// How the operator of `host` bills.
pub fn billing(host: &str) -> &'static Billing {
    let belongs = |known: &str| {
        known.is_empty()
            || host.len().checked_sub(known.len()).and_then(|at| host.split_at_checked(at)).is_some_and(
                |(front, end)| end.eq_ignore_ascii_case(known) && (front.is_empty() || front.ends_with('.')),
            )
    };
    let [.., general] = &BILLINGS;
    BILLINGS.iter().find(|billing| belongs(billing.host)).unwrap_or(general)
}

impl Billing {
    /// Whether an answer of this status may cost money although it states no usage.
    ///
    /// The general rule: what is turned away before generation (redirects, 4xx, 429, 503, 529) is free. A success without
    /// usage, a 408 and every other 5xx may have generated.
    pub fn may_charge(&self, status: u16) -> bool {
        if self.billed.contains(&status) {
            return true;
        }
        if self.free.contains(&status) {
            return false;
        }
        match status {
            503 | 529 => false,
            200..=299 | 408 | 500.. => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_its_name_or_its_end() {
        for (host, known) in [
            ("api.openai.com", "api.openai.com"),
            ("API.OpenAI.com", "api.openai.com"),
            ("acme.openai.azure.com", "azure.com"),
            ("notazure.com", ""),
            ("api.openai.com.evil.example", ""),
            ("127.0.0.1", ""),
            ("", ""),
        ] {
            assert_eq!(billing(host).host, known, "{host}");
        }
    }

    #[test]
    fn what_is_turned_away_is_free_and_what_may_have_generated_is_not() {
        let general = billing("llm.example.com");
        for free in [301, 400, 401, 403, 404, 413, 422, 429, 499, 503, 529] {
            assert!(!general.may_charge(free), "{free}");
        }
        for charged in [200, 204, 408, 500, 502, 504, 520, 524, 599] {
            assert!(general.may_charge(charged), "{charged}");
        }
        let gemini = billing("generativelanguage.googleapis.com");
        assert_eq!([400, 500, 502].map(|status| gemini.may_charge(status)), [false, false, true]);
        let azure = billing("x.openai.azure.com");
        assert_eq!([400, 401, 408, 429].map(|status| azure.may_charge(status)), [true, false, true, false]);
    }

    #[test]
    fn the_documentation_names_every_row() {
        let page = include_str!("../../docs/wire.md");
        for billing in BILLINGS.iter().filter(|billing| !billing.host.is_empty()) {
            assert!(page.contains(billing.host), "docs/wire.md does not name `{}`", billing.host);
        }
    }
}
