//! The usage object of OpenAI and its relatives, in chat (`prompt_tokens`) and Responses (`input_tokens`) spelling.

use super::outline::{Absurd, Counts};
use super::tap::Reported;
use crate::domain::usage::Usage;

/// Reads usage. Cached tokens are inside the input and reasoning inside the output, with one exception: where the total
/// says that reasoning stands beside the completion (xAI chat), it is added.
pub(crate) fn normalise(reported: &Reported<'_>) -> Result<Usage, Absurd> {
    let usage = &Counts::of(reported.usage.or(reported.side));
    let input = first(usage, &[&["prompt_tokens"], &["input_tokens"]])?;
    let completion = first(usage, &[&["completion_tokens"], &["output_tokens"]])?;
    let reasoning = first(
        usage,
        &[
            &["completion_tokens_details", "reasoning_tokens"],
            &["output_tokens_details", "reasoning_tokens"],
            &["reasoning_tokens"],
        ],
    )?;
    let cached_input = first(
        usage,
        &[
            &["prompt_tokens_details", "cached_tokens"],
            &["input_tokens_details", "cached_tokens"],
            &["prompt_cache_hit_tokens"],
            &["cached_tokens"],
            &["cache_read_input_tokens"],
        ],
    )?;
    let cache_write = first(
        usage,
        &[
            &["prompt_tokens_details", "cache_write_tokens"],
            &["input_tokens_details", "cache_write_tokens"],
            &["cache_creation_input_tokens"],
        ],
    )?;
    let beside = completion.zip(reasoning).map(|(completion, reasoning)| completion.saturating_add(reasoning));
    let all = beside.zip(input).map(|(output, input)| output.saturating_add(input));
    let is_beside = reasoning > Some(0) && all.is_some() && all == usage.count(&["total_tokens"])?;
    Ok(Usage {
        input,
        cached_input,
        cache_write,
        cache_write_1h: None,
        output: if is_beside { beside } else { completion },
        reasoning,
    })
}

fn first(usage: &Counts<'_>, paths: &[&[&str]]) -> Result<Option<u64>, Absurd> {
    for path in paths {
        if let Some(found) = usage.count(path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
