//! What a request is, by method and path alone. The path is taken as it stands: whatever does not match to the letter is
//! unmetered, so that no spelling of a path can slip past a budget.

use http::Method;

use super::anthropic_messages::{AnthropicCountTokens, AnthropicMessages};
use super::gemini::{GeminiCountTokens, GeminiEmbed, GeminiGenerate, GeminiStream};
use super::openai_chat::OpenAiChat;
use super::openai_completions::OpenAiCompletions;
use super::openai_embeddings::OpenAiEmbeddings;
use super::openai_responses::OpenAiResponses;
use super::{Dialect, Family, Operation, Target};

/// Judges a request by its method and path.
pub fn operation(family: Family, target: &Target<'_>) -> Operation {
    let known: Option<&'static dyn Dialect> = match family {
        Family::OpenAi => openai(target.path),
        Family::Anthropic => anthropic(target.path),
        Family::Gemini => gemini(target.path),
    };
    match *target.method {
        Method::POST => match known {
            Some(dialect) => Operation::Known(dialect),
            None if family == Family::OpenAi && is_free_post(target.path) => Operation::Free,
            None => Operation::Unmetered,
        },
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE if !opens_a_session(family, target.path) => {
            Operation::Free
        }
        _ => Operation::Unmetered,
    }
}

/// Whether a path leads somewhere that costs money although it is not posted to: a WebSocket, or a Google method that a
/// `GET` with `X-HTTP-Method-Override` would call.
fn opens_a_session(family: Family, path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    match family {
        Family::OpenAi => last == "realtime",
        Family::Anthropic => false,
        Family::Gemini => path.starts_with("/ws/") || last.contains([':', '%']),
    }
}

/// The path below the version. A provider's base URL may carry `/v1` or more, and SDKs of compatible providers add their own
/// prefix.
fn below_version(path: &str) -> &str {
    ["/openai/v1/", "/api/v1/", "/v1/", "/"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default()
}

fn openai(path: &str) -> Option<&'static dyn Dialect> {
    match below_version(path) {
        "chat/completions" => Some(&OpenAiChat),
        "completions" => Some(&OpenAiCompletions),
        "responses" => Some(&OpenAiResponses),
        "embeddings" => Some(&OpenAiEmbeddings),
        _ => None,
    }
}

fn is_free_post(path: &str) -> bool {
    matches!(below_version(path), "moderations" | "responses/input_tokens")
}

fn anthropic(path: &str) -> Option<&'static dyn Dialect> {
    match path {
        "/v1/messages" => Some(&AnthropicMessages),
        "/v1/messages/count_tokens" => Some(&AnthropicCountTokens),
        _ => None,
    }
}

fn gemini(path: &str) -> Option<&'static dyn Dialect> {
    let (_, verb) = gemini_call(path)?;
    match verb {
        "generateContent" => Some(&GeminiGenerate),
        "streamGenerateContent" => Some(&GeminiStream),
        "countTokens" => Some(&GeminiCountTokens),
        "embedContent" | "batchEmbedContents" => Some(&GeminiEmbed),
        _ => None,
    }
}

/// The model and the method of `/v1beta/models/{model}:{method}`.
pub(crate) fn gemini_call(path: &str) -> Option<(&str, &str)> {
    let rest =
        ["/v1beta/models/", "/v1/models/", "/v1alpha/models/"].iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let (model, verb) = rest.split_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'@');
    (!model.is_empty() && model.bytes().all(plain)).then_some((model, verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(family: Family, method: &Method, path: &str) -> &'static str {
        match operation(family, &Target { method, path, query: None }) {
            Operation::Known(dialect) => dialect.name(),
            Operation::Free => "free",
            Operation::Unmetered => "unmetered",
        }
    }

    #[test]
    fn known_paths_have_a_dialect() {
        for (family, path, name) in [
            (Family::OpenAi, "/v1/chat/completions", "openai-chat"),
            (Family::OpenAi, "/chat/completions", "openai-chat"),
            (Family::OpenAi, "/openai/v1/chat/completions", "openai-chat"),
            (Family::OpenAi, "/v1/completions", "openai-completions"),
            (Family::OpenAi, "/v1/responses", "openai-responses"),
            (Family::OpenAi, "/v1/embeddings", "openai-embeddings"),
            (Family::OpenAi, "/v1/moderations", "free"),
            (Family::OpenAi, "/v1/responses/input_tokens", "free"),
            (Family::Anthropic, "/v1/messages", "anthropic-messages"),
            (Family::Anthropic, "/v1/messages/count_tokens", "anthropic-count-tokens"),
            (Family::Gemini, "/v1beta/models/gemini-2.5-flash:generateContent", "gemini-generate"),
            (Family::Gemini, "/v1/models/gemini-2.5-flash:streamGenerateContent", "gemini-stream"),
            (Family::Gemini, "/v1alpha/models/g:countTokens", "gemini-count-tokens"),
            (Family::Gemini, "/v1beta/models/g:embedContent", "gemini-embed"),
            (Family::Gemini, "/v1beta/models/g:batchEmbedContents", "gemini-embed"),
        ] {
            assert_eq!(word(family, &Method::POST, path), name, "{path}");
        }
    }

    #[test]
    fn every_other_spelling_is_unmetered() {
        for (family, path) in [
            (Family::OpenAi, "/v1/chat/completions/"),
            (Family::OpenAi, "/v1//chat/completions"),
            (Family::OpenAi, "//chat/completions"),
            (Family::OpenAi, "/V1/chat/completions"),
            (Family::OpenAi, "/v1/chat/completions;x"),
            (Family::OpenAi, "/v1/v1/chat/completions"),
            (Family::OpenAi, "/openai/deployments/gpt/chat/completions"),
            (Family::OpenAi, "/v1/moderations/../responses"),
            (Family::OpenAi, "/v1/images/generations"),
            (Family::OpenAi, ""),
            (Family::Anthropic, "/messages"),
            (Family::Anthropic, "/v1/messages/batches"),
            (Family::Gemini, "/v1beta/models/a/b:generateContent"),
            (Family::Gemini, "/v1beta/models/:generateContent"),
            (Family::Gemini, "/v1beta/models/g%2e:generateContent"),
            (Family::Gemini, "/v1beta/models/g:generateContent/"),
            (Family::Gemini, "/v1beta/models/g:predict"),
        ] {
            assert_eq!(word(family, &Method::POST, path), "unmetered", "{path}");
        }
        assert_eq!(word(Family::OpenAi, &Method::PUT, "/v1/chat/completions"), "unmetered");
        assert_eq!(word(Family::OpenAi, &Method::GET, "/v1/realtime"), "unmetered");
        assert_eq!(word(Family::Gemini, &Method::GET, "/v1beta/models/g:generateContent"), "unmetered");
        assert_eq!(word(Family::Gemini, &Method::GET, "/v1beta/models"), "free");
        assert_eq!(word(Family::Anthropic, &Method::GET, "/v1/models"), "free");
    }
}
