//! The same gateway behind TLS, with HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use ::bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll::sim::{Canned, End, Fault};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{chat, with};
use crate::harness::{KEY, Rig, Setup};

struct Secured {
    rig: Rig,
    connector: TlsConnector,
    _files: tempfile::TempDir,
}

async fn secured(protocol: &[u8]) -> Secured {
    let files = tempfile::tempdir().expect("a temporary folder");
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (files.path().join("server.pem"), files.path().join("server.key"));
    std::fs::write(&cert, own.cert.pem()).expect("a file");
    std::fs::write(&key, own.signing_key.serialize_pem()).expect("a file");
    let config = format!("tls: {{ cert: \"{}\", key: \"{}\" }}\n", cert.display(), key.display());
    let rig = Rig::start(Setup { config: &config, ..Setup::default() }).await;
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![protocol.to_vec()];
    Secured { rig, connector: TlsConnector::from(Arc::new(client)), _files: files }
}

impl Secured {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.rig.node.data_address()).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        self.connector.connect(name, tcp).await.expect("a handshake")
    }
}

fn call(path: &str, body: &serde_json::Value) -> Request<Full<Bytes>> {
    let request = Request::post(format!("https://localhost{path}"))
        .header("authorization", format!("Bearer {KEY}"))
        .header("plimsoll-tenant-id", "globex");
    with(request, body.to_string())
}

fn header(response: &Response<Incoming>, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_is_served_over_tls() {
    let secured = secured(b"http/1.1").await;
    let stream = secured.connect().await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http/1");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let mut request = call("/openai/v1/chat/completions", &chat("[[tokens=4]]"));
    *request.uri_mut() = "/openai/v1/chat/completions".parse().expect("a path");
    request.headers_mut().insert("host", http::HeaderValue::from_static("localhost"));
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["usage"]["completion_tokens"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_share_one_http_2_connection_and_one_that_is_cut_harms_no_other() {
    let secured = secured(b"h2").await;
    let stream = secured.connect().await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("http/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let mut body = chat("[[tokens=50]]");
    body["stream"] = json!(true);

    // One event arrives while the provider says nothing more.
    let event = "data: {\"choices\":[{\"delta\":{}}]}\n\n";
    secured.rig.provider.enqueue(Canned { end: End::Stall, ..Canned::new(200, "text/event-stream", event) });
    let request = call("/openai/v1/chat/completions", &body);
    let mut waiting = sender.clone().send_request(request).await.expect("an answer");
    let frame = waiting.body_mut().frame().await.expect("an event").expect("no cut");
    assert_eq!(frame.into_data().ok().as_deref(), Some(event.as_bytes()));

    // A stream that the provider cuts is reset; whole ones beside it end as they should.
    secured.rig.provider.fail_next(Fault::Cut { after: 600, reset: false });
    let cut = sender.clone().send_request(call("/openai/v1/chat/completions", &body)).await.expect("an answer");
    assert!(cut.into_body().collect().await.is_err(), "a cut stream ended cleanly");
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (mut sender, request) = (sender.clone(), call("/openai/v1/chat/completions", &body));
        calls.spawn(async move {
            let response = sender.send_request(request).await.expect("an answer");
            assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
            let id = header(&response, "plimsoll-request-id");
            assert!(header(&response, "connection").is_empty());
            (id, response.into_body().collect().await.expect("a whole stream").to_bytes())
        });
    }
    let answers = calls.join_all().await;
    for (_, text) in &answers {
        assert!(text.ends_with(b"data: [DONE]\n\n"));
    }
    drop(waiting);

    // The rows of two of them, over the same connection.
    for (id, _) in &answers[..2] {
        let path = format!("https://localhost/plimsoll/v1/requests/{id}");
        let mut found = StatusCode::NOT_FOUND;
        for _ in 0..100 {
            let request = Request::get(&path)
                .header("authorization", format!("Bearer {KEY}"))
                .header("plimsoll-tenant-id", "globex");
            let response = sender.clone().send_request(with(request, "")).await.expect("an answer");
            found = response.status();
            if found == StatusCode::OK {
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(body["attempts"][0]["output_tokens"], 50, "{body}");
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(found, StatusCode::OK);
    }
}
