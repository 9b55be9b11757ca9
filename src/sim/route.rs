//! Which endpoint of which provider a path means.

use http::Method;

/// Whose words an error is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What is called. Gemini names its model in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    Responses,
    InputTokens,
    Models,
    Messages,
    CountTokens,
    Generate { model: String },
    GenerateStream { model: String, sse: bool },
    GeminiCount { model: String },
    GeminiEmbed { model: String, batch: bool },
}

/// The endpoint behind a path, or only the family that says that there is none.
pub(super) fn route(method: &Method, path: &str, query: &str) -> (Family, Option<Endpoint>) {
    if let Some(rest) = gemini_rest(path) {
        return (Family::Gemini, gemini(method, rest, query));
    }
    if path.starts_with("/v1/messages") {
        let endpoint = match (method, path) {
            (&Method::POST, "/v1/messages") => Some(Endpoint::Messages),
            (&Method::POST, "/v1/messages/count_tokens") => Some(Endpoint::CountTokens),
            _ => None,
        };
        return (Family::Anthropic, endpoint);
    }
    let endpoint = match (method, path) {
        (&Method::POST, "/v1/chat/completions") => Some(Endpoint::Chat),
        (&Method::POST, "/v1/completions") => Some(Endpoint::Completions),
        (&Method::POST, "/v1/embeddings") => Some(Endpoint::Embeddings),
        (&Method::POST, "/v1/responses") => Some(Endpoint::Responses),
        (&Method::POST, "/v1/responses/input_tokens") => Some(Endpoint::InputTokens),
        (&Method::GET, "/v1/models") => Some(Endpoint::Models),
        _ => None,
    };
    (Family::OpenAi, endpoint)
}

/// Google's SDKs call `/v1beta`, the newest of them (Python 3.4) `/v1`, which OpenAI uses too: there the verb behind a colon
/// tells them apart.
fn gemini_rest(path: &str) -> Option<&str> {
    let versioned = ["/v1beta/", "/v1alpha/"].iter().find_map(|version| path.strip_prefix(version));
    versioned.or_else(|| path.strip_prefix("/v1/").filter(|rest| rest.starts_with("models/") && rest.contains(':')))
}

fn gemini(method: &Method, rest: &str, query: &str) -> Option<Endpoint> {
    if *method != Method::POST {
        return None;
    }
    let (model, verb) = rest.strip_prefix("models/")?.split_once(':')?;
    let model = model.to_owned();
    match verb {
        "generateContent" => Some(Endpoint::Generate { model }),
        "streamGenerateContent" => {
            let sse = query.split('&').any(|pair| pair == "alt=sse");
            Some(Endpoint::GenerateStream { model, sse })
        }
        "countTokens" => Some(Endpoint::GeminiCount { model }),
        "embedContent" => Some(Endpoint::GeminiEmbed { model, batch: false }),
        "batchEmbedContents" => Some(Endpoint::GeminiEmbed { model, batch: true }),
        _ => None,
    }
}
