//! A second look into a request, for rules that few policies have: whether it shows images, offers tools, and how long the
//! results of tools in it are. One pass, no tree; it is only made when a rule asks.

use std::borrow::Cow;

use super::ByteRange;
use super::fields::unescape;
use super::scan::{Kind, Text, Visit, scan};
use crate::domain::content::Content;
use crate::wire::estimate;

/// Where a dialect keeps images and the results of tools.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The field of the body that holds the conversation.
    pub(crate) list: &'static str,
    /// The fields of the body that offer tools.
    pub(crate) tools: &'static [&'static str],
    /// How many containers are around an object that may be a result.
    pub(crate) depth: usize,
    /// The member that says whether it is one.
    pub(crate) kind: &'static str,
    /// Whether that member's text says so.
    pub(crate) is_result: fn(&[u8]) -> bool,
    /// The member that holds the result.
    pub(crate) payload: &'static str,
    /// Texts of a `type` that mean an image.
    pub(crate) images: &'static [&'static str],
    /// Keys of objects that mean an image.
    pub(crate) image_keys: &'static [&'static str],
}

/// Looks into a body that has been read before.
pub(crate) fn look(body: &[u8], shape: &'static Shape) -> Content {
    let mut look = Look {
        body,
        shape,
        top: Top::Other,
        member: Member::Other,
        key: Cow::Borrowed(b""),
        result: None,
        content: Content::default(),
    };
    // What is not JSON was refused before anybody looks.
    let _ = scan(body, &mut look);
    look.content
}

/// The field of the body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Top {
    List,
    Tools,
    Other,
}

/// The member of a possible result that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Kind,
    Payload,
    Other,
}

/// An object that may be a result: whether it is one, and its bytes of text so far.
#[derive(Debug, Clone, Copy, Default)]
struct Possible {
    is_result: bool,
    bytes: u64,
}

struct Look<'b> {
    body: &'b [u8],
    shape: &'static Shape,
    top: Top,
    member: Member,
    /// The key of the value; elements of an array keep that of the array.
    key: Cow<'b, [u8]>,
    result: Option<Possible>,
    content: Content,
}

/// The text between quotes, whatever of it is written as an escape; only that takes memory.
fn said(written: &[u8]) -> Cow<'_, [u8]> {
    match unescape(written) {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Some(Cow::Borrowed(_)) | None => Cow::Borrowed(written),
    }
}

impl Look<'_> {
    fn string(&mut self, depth: usize, range: &ByteRange) {
        let written = self.body.get(range.start + 1..range.end.saturating_sub(1)).unwrap_or_default();
        if *self.key == *b"type" {
            let means = said(written);
            self.content.images |= self.shape.images.iter().any(|name| *name.as_bytes() == *means);
        }
        let is_text = !matches!(&*self.key, b"type" | b"data") && !written.starts_with(b"data:");
        let Some(result) = &mut self.result else { return };
        match self.member {
            Member::Kind if depth == self.shape.depth + 1 => result.is_result |= (self.shape.is_result)(&said(written)),
            Member::Payload if is_text => {
                result.bytes = result.bytes.saturating_add(u64::try_from(written.len()).unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }
}

impl Visit for Look<'_> {
    fn key(&mut self, depth: usize, key: Text) {
        let written = self.body.get(key.range.clone()).unwrap_or_default();
        self.key = if key.simple { Cow::Borrowed(written) } else { said(written) };
        let is = |name: &str| name.as_bytes() == &*self.key;
        if depth == 1 {
            self.top = match () {
                () if is(self.shape.list) => Top::List,
                () if self.shape.tools.iter().any(|name| is(name)) => Top::Tools,
                () => Top::Other,
            };
        } else if depth == self.shape.depth + 1 && self.top == Top::List {
            self.member = match () {
                () if is(self.shape.kind) => Member::Kind,
                () if is(self.shape.payload) => Member::Payload,
                () => Member::Other,
            };
        }
    }

    fn value(&mut self, depth: usize, kind: Kind, range: ByteRange) {
        match self.top {
            Top::Tools => self.content.tools |= depth == 2,
            Top::List if depth == self.shape.depth && kind == Kind::Object => {
                (self.result, self.member) = (Some(Possible::default()), Member::Other);
            }
            Top::List if kind == Kind::String => self.string(depth, &range),
            Top::List if kind == Kind::Object => {
                self.content.images |= self.shape.image_keys.iter().any(|name| name.as_bytes() == &*self.key);
            }
            Top::List | Top::Other => {}
        }
    }

    fn close(&mut self, depth: usize, _: usize) {
        if depth != self.shape.depth {
            return;
        }
        let Some(result) = self.result.take().filter(|result| result.is_result && result.bytes > 0) else { return };
        let tokens = estimate::tokens(result.bytes);
        self.content.tool_output = self.content.tool_output.saturating_add(tokens);
        self.content.longest_tool_output = self.content.longest_tool_output.max(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Dialect;
    use crate::wire::anthropic_messages::AnthropicMessages;
    use crate::wire::gemini::GeminiGenerate;
    use crate::wire::openai_chat::OpenAiChat;
    use crate::wire::openai_responses::OpenAiResponses;

    fn chat(body: &str) -> Content {
        OpenAiChat.content(body.as_bytes())
    }

    #[test]
    fn results_of_tools_are_counted_wherever_a_dialect_keeps_them() {
        let (long, short) = ("x".repeat(400), "y".repeat(40));
        let chat = chat(&format!(
            r#"{{"messages":[{{"role":"user","content":"{long}"}},{{"content":"{long}","role":"tool","tool_call_id":"a"}},
               {{"role":"tool","content":[{{"type":"text","text":"{short}"}}]}}],"tools":[]}}"#
        ));
        assert_eq!((chat.tool_output, chat.longest_tool_output), (110, 100));
        let responses = OpenAiResponses.content(
            format!(r#"{{"input":[{{"type":"function_call_output","output":"{long}"}},{{"type":"message","content":"{long}"}},{{"type":"custom_tool_call_output","output":"{short}"}}]}}"#)
                .as_bytes(),
        );
        assert_eq!((responses.tool_output, responses.longest_tool_output), (110, 100));
        let anthropic = AnthropicMessages.content(
            format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{long}"}},{{"type":"tool_result","tool_use_id":"a","content":[{{"type":"text","text":"{long}"}},{{"type":"image","source":{{"type":"base64","data":"{long}"}}}}]}},{{"type":"tool_result","content":"{short}"}}]}}]}}"#)
                .as_bytes(),
        );
        assert_eq!((anthropic.tool_output, anthropic.longest_tool_output), (110, 100), "an image is not text");
        assert!(anthropic.images && !anthropic.tools);
    }

    // Mutations: the value or the key is compared as it is written.
    #[test]
    fn an_escape_hides_no_result_of_a_tool() {
        for (plain, escaped) in [("\"tool_result\"", "\"tool_resul\\u0074\""), ("\"content\"", "\"\\u0063ontent\"")] {
            let body = r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"12345678"}]}]}"#;
            let seen = |body: &str| AnthropicMessages.content(body.as_bytes()).tool_output;
            assert_eq!((seen(body), seen(&body.replacen(plain, escaped, 9))), (2, 2), "{escaped}");
        }
        assert_eq!(chat(r#"{"messages":[{"role":"to\u006fl","content":"12345678"}]}"#).tool_output, 2);
    }

    #[test]
    fn tools_and_images_are_seen() {
        assert!(chat(r#"{"messages":[],"tools":[{"type":"function"}]}"#).tools);
        assert!(chat(r#"{"functions":[{}]}"#).tools);
        assert!(!chat(r#"{"tools":[],"messages":[{"role":"user","content":"tools"}]}"#).tools);
        let picture = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}"#;
        assert!(chat(picture).images);
        assert!(chat(&picture.replace("\"type\"", "\"ty\\u0070e\"")).images, "an escaped key is the same key");
        assert!(chat(&picture.replace("\"image_url\",", "\"image\\u005furl\",")).images, "and an escaped value");
        assert!(!chat(r#"{"messages":[{"role":"user","content":"image_url"}]}"#).images);
        assert!(OpenAiResponses.content(br#"{"input":[{"role":"user","content":[{"type":"input_image"}]}]}"#).images);
        let gemini =
            br#"{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"AA"}}]}],"tools":[{}]}"#;
        let gemini = GeminiGenerate.content(gemini);
        assert!(gemini.images && gemini.tools);
    }
}
