//! A whole gateway on real sockets: the scripted provider behind it, a folder of policies beside it, an embedded ledger in
//! a temporary folder.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use plimsoll::config::Settings;
use plimsoll::domain::clock::{Clock, SystemClock};
use plimsoll::node::Node;
use plimsoll::sim::{Provider, Script};
use serde_json::Value;
use tokio::net::TcpStream;

pub(crate) const KEY: &str = "test-key-of-a-trusted-backend";
pub(crate) const ADMIN_TOKEN: &str = "test-admin-token-0123456789";

/// A running gateway and everything around it.
pub(crate) struct Rig {
    pub provider: Provider,
    pub node: Node,
    pub folder: tempfile::TempDir,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The stream broke before its end.
    pub cut: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        assert!(!self.cut, "the answer breaks off: {}", self.text());
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a rig differs from the usual one.
pub(crate) struct Setup<'a> {
    pub policy: Option<&'a str>,
    pub tenants: Option<&'a str>,
    pub script: Script,
    pub clock: Arc<dyn Clock>,
    /// Lines added to plimsoll.yaml.
    pub config: &'a str,
    /// Lines added to its `providers:`.
    pub providers: &'a str,
    /// Keys added to each of the three usual providers, such as `bills_after_cancel: false`.
    pub of_each_provider: &'a str,
    /// Whether gateway keys are configured.
    pub keys: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            policy: None,
            tenants: None,
            script: Script::default(),
            clock: Arc::new(SystemClock),
            config: "",
            providers: "",
            of_each_provider: "",
            keys: true,
        }
    }
}

impl Rig {
    pub(crate) async fn start(setup: Setup<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).expect("a folder");
        if let Some(policy) = setup.policy {
            fs::write(policies.join("policy.yaml"), policy).expect("a policy");
        }
        if let Some(tenants) = setup.tenants {
            fs::write(policies.join("tenants.csv"), tenants).expect("tenants");
        }
        let provider = Provider::start(setup.script.clone()).await.expect("a scripted provider");
        let file = folder.path().join("plimsoll.yaml");
        fs::write(&file, config(&provider.base_url(), &setup)).expect("a configuration");
        let node = start_node(&file, setup.clock).await;
        Self { provider, node, folder }
    }

    /// Stops the gateway and starts it again over the same files.
    pub(crate) async fn restart(self, clock: Arc<dyn Clock>) -> Self {
        let Self { provider, node, folder } = self;
        tokio::task::spawn_blocking(move || node.stop()).await.expect("a stop");
        let node = start_node(&folder.path().join("plimsoll.yaml"), clock).await;
        Self { provider, node, folder }
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policies/policy.yaml")
    }

    /// Sends a request to the data plane.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        send(self.node.data_address(), request).await
    }

    /// An OpenAI chat call of a tenant.
    pub(crate) async fn chat(&self, tenant: &str, tag: &str, body: &Value) -> Reply {
        let request = Request::post("/openai/v1/chat/completions")
            .header("authorization", format!("Bearer {KEY}"))
            .header("plimsoll-tenant-id", tenant)
            .header("plimsoll-endpoint-tag", tag)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        self.send(request).await
    }

    /// A GET on the admin listener with the token.
    pub(crate) async fn admin(&self, path: &str) -> Reply {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .body(Full::default())
            .expect("a request");
        send(self.node.admin_address(), request).await
    }

    /// The ledger's rows of a request, once they are committed.
    pub(crate) async fn rows(&self, request_id: &str) -> Vec<Value> {
        for _ in 0..200 {
            let reply = self.admin(&format!("/api/v1/requests/{request_id}")).await;
            if reply.status == StatusCode::OK {
                return reply.json()["rows"].as_array().cloned().unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no row for {request_id} within 2 s");
    }

    pub(crate) async fn stop(self) {
        let Self { node, .. } = self;
        tokio::task::spawn_blocking(move || node.stop()).await.expect("a stop");
    }
}

async fn start_node(file: &Path, clock: Arc<dyn Clock>) -> Node {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || {
        let environment = |_: &str| None;
        let settings = Settings::load(Some(&file), &environment).expect("a valid configuration");
        Node::start(settings, clock).expect("a running gateway")
    })
    .await
    .expect("a start")
}

pub(crate) fn config(provider: &str, setup: &Setup<'_>) -> String {
    let Setup { keys, config: more, providers, of_each_provider, .. } = *setup;
    let key = if keys { ", api_key: \"sk-provider-secret\"" } else { "" };
    let more_of_each = if of_each_provider.is_empty() { String::new() } else { format!(", {of_each_provider}") };
    let key = format!("{key}{more_of_each}");
    let mut text = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0, token: {ADMIN_TOKEN} }}\nproviders:\n  openai: {{ dialect: openai, base_url: \
         \"{provider}\"{key} }}\n  anthropic: {{ dialect: anthropic, base_url: \"{provider}\"{key} }}\n  gemini: {{ dialect: gemini, base_url: \
         \"{provider}\"{key} }}\n"
    );
    text.push_str(providers);
    if keys {
        text.push_str("keys:\n  - { name: backend, secret: ");
        text.push_str(KEY);
        text.push_str(", tenants: any }\n");
        text.push_str("  - { name: globex, secret: test-key-bound-to-globex, tenant: globex }\n");
    }
    text.push_str(more);
    text
}

/// One exchange over a connection of its own.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    let Exchange { status, headers, mut body, _connection } = Exchange::open(address, request).await;
    let mut bytes = Vec::new();
    let mut cut = false;
    while let Some(frame) = body.frame().await {
        if let Ok(frame) = frame {
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        } else {
            cut = true;
            break;
        }
    }
    Reply { status, headers, body: Bytes::from(bytes), cut }
}

/// An answer that is read piece by piece. Dropped in between, it closes its connection.
pub(crate) struct Exchange {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: hyper::body::Incoming,
    _connection: tokio::task::JoinSet<()>,
}

impl Exchange {
    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn open(address: SocketAddr, request: Request<Full<Bytes>>) -> Self {
        let tcp = TcpStream::connect(address).await.expect("a connection");
        tcp.set_nodelay(true).expect("a socket option");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.expect("a handshake");
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        let (mut head, body) = request.into_parts();
        head.headers.entry("host").or_insert(http::HeaderValue::from_static("gateway"));
        let response = sender.send_request(Request::from_parts(head, body)).await.expect("an answer");
        let (head, body) = response.into_parts();
        Self { status: head.status, headers: head.headers, body, _connection: tasks }
    }

    /// The next bytes; `None` at a clean end, an error where the stream was cut.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame()).await.expect("bytes within 5 s")?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// The next bytes, whenever they come.
    pub(crate) async fn frame(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = self.body.frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// Writes bytes as they are and reads what comes until the connection is closed, for at most eight seconds.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> RawReply {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = TcpStream::connect(address).await.expect("a connection");
    // The gateway may have closed before everything was written: that is an outcome, not a fault.
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0_u8; 4096];
        while let Ok(read @ 1..) = tcp.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(8), reading).await.is_ok();
    RawReply { text: String::from_utf8_lossy(&answer).into_owned(), closed }
}

/// What came back over a raw socket.
#[derive(Debug)]
pub(crate) struct RawReply {
    pub text: String,
    /// The gateway closed the connection.
    pub closed: bool,
}

impl RawReply {
    /// The status of the first answer, 0 when there was none.
    pub(crate) fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

/// A webhook receiver that remembers what it was sent.
pub(crate) struct Receiver {
    address: SocketAddr,
    seen: Arc<std::sync::Mutex<Vec<Value>>>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        let kept = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        assert!(request.headers().contains_key("webhook-signature"), "a webhook is signed");
                        let body = request.into_body().collect().await.expect("a body").to_bytes();
                        kept.lock().expect("a lock").push(serde_json::from_slice(&body).expect("JSON"));
                        Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default()))
                    }
                });
                connections.spawn(async move {
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Everything that came.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.seen.lock().expect("a lock").clone()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("a lock");
        seen.iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The first event of a kind, which must come within five seconds.
    pub(crate) async fn wait_for(&self, kind: &str) -> Value {
        for _ in 0..500 {
            if let Some(event) = self.seen.lock().expect("a lock").iter().find(|event| event["type"] == kind) {
                return event.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {kind} within 5 s, only {:?}", self.kinds());
    }
}
