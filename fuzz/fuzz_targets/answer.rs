//! Whatever a provider sends as an answer: nothing panics, and how it comes in pieces changes nothing of what is read.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use plimsoll::wire::http1::{Body, answer_head};

/// What is read of a body that comes in these two pieces.
fn read(mut body: Body, first: &[u8], second: &[u8]) -> (Vec<u8>, usize, bool, Body) {
    let (mut content, mut used) = (Vec::new(), 0);
    for piece in [first, second] {
        let (some, read) = body.read(piece);
        content.extend_from_slice(&some);
        used += read;
    }
    (content, used, body.is_over(), body)
}

fuzz_target!(|bytes: &[u8]| {
    for method in [Method::POST, Method::HEAD] {
        let Ok(Some(head)) = answer_head(bytes, &method) else { continue };
        let body = &bytes[head.length..];
        let whole = read(head.body.clone(), body, &[]);
        assert!(whole.1 <= body.len() && whole.0.len() <= whole.1);
        for cut in 1..body.len().min(64) {
            let (first, second) = body.split_at(cut);
            assert_eq!(whole, read(head.body.clone(), first, second));
        }
    }
});
