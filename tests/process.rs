//! A real `plimsoll serve` in a process of its own: one that can be killed, traced, held still and started again over the same
//! files. The scripted provider stays with the test, so its bill survives whatever happens to the gateway.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{ADMIN_TOKEN, KEY, Reply};

/// The tenant of the hard budget; its calls go to `gpt-4o`, so that the provider's bill tells them apart.
pub(crate) const HARD: &str = "globex";
/// A tenant that is only counted; its calls go to `gpt-4o-mini`.
pub(crate) const SOFT: &str = "acme-corp";

/// A first start over a ledger of millions of rows of an earlier version counts them all.
const START_PATIENCE: Duration = Duration::from_mins(20);

/// Hard for one tenant, counted for all others.
pub(crate) fn policy(limit: &str) -> String {
    format!(
        "version: 1\nmode: enforce\nbudgets:\n  hard: {{ per: [tenantId], match: {{ tenantId: {HARD} }}, limit: {limit}, escalation: {{ contain: \
         {{ at: 100%, block: all }} }} }}\n  soft: {{ per: [tenantId], match: {{ tenantId: {SOFT} }}, limit: $1000/month, escalation: {{ \
         warning: {{ at: 90%, notify: [log] }} }} }}\n"
    )
}

/// The files of a gateway.
pub(crate) struct Files {
    pub folder: PathBuf,
    pub ledger: PathBuf,
}

impl Files {
    /// A configuration in `folder`, with the ledger in `ledger`.
    pub(crate) fn new(folder: &Path, ledger: &Path, provider: &str, policy: &str) -> Self {
        fs::create_dir_all(folder.join("policies")).expect("a folder");
        fs::write(folder.join("policies/policy.yaml"), policy).expect("a policy");
        fs::write(folder.join("policies/tenants.csv"), format!("tenantId\n{HARD}\n{SOFT}\n")).expect("tenants");
        let config = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0, token: {ADMIN_TOKEN} }}\nledger: \"sqlite://{}\"\nproviders:\n  openai: {{ \
             dialect: openai, base_url: \"{provider}\", api_key: \"sk-provider-secret\" }}\n  anthropic: {{ dialect: anthropic, base_url: \
             \"{provider}\", api_key: \"sk-x\" }}\n  gemini: {{ dialect: gemini, base_url: \"{provider}\", api_key: \"sk-x\" }}\nkeys:\n  - {{ name: \
             backend, secret: {KEY}, tenants: any }}\n",
            ledger.display()
        );
        fs::write(folder.join("plimsoll.yaml"), config).expect("a configuration");
        Self { folder: folder.to_owned(), ledger: ledger.to_owned() }
    }
}

/// A read-only connection to a ledger.
pub(crate) fn read(ledger: &Path) -> Connection {
    let connection = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a ledger to read");
    connection.busy_timeout(Duration::from_secs(5)).expect("a timeout");
    connection
}

/// A single number that a query finds.
pub(crate) fn number(connection: &Connection, query: &str) -> i64 {
    connection.query_one(query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// A running gateway. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub data: SocketAddr,
    pub admin: SocketAddr,
    log: PathBuf,
    /// From its start to the first 200 of `/readyz`.
    pub ready_after: Duration,
}

impl Process {
    pub(crate) async fn start(files: &Files) -> Self {
        Self::within(files, &[]).await
    }

    /// Starts `serve` behind other words, such as those of `nsenter`, and waits until it is ready.
    pub(crate) async fn within(files: &Files, words: &[&str]) -> Self {
        Self::try_start(files, words).await.unwrap_or_else(|text| panic!("no running gateway: {text}"))
    }

    /// What it says when it does not start.
    pub(crate) async fn try_start(files: &Files, words: &[&str]) -> Result<Self, String> {
        let log = files.folder.join(format!("log-{}", free_number(&files.folder)));
        let output = File::create(&log).expect("a log");
        let mut words: Vec<&str> = words.to_vec();
        words.extend([env!("CARGO_BIN_EXE_plimsoll"), "serve", "--config"]);
        let begun = Instant::now();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg(files.folder.join("plimsoll.yaml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("a process");
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let text = fs::read_to_string(&log).expect("its words");
            if let Some((data, admin)) = addresses(&text) {
                let mut process = Self { child, data, admin, log, ready_after: Duration::ZERO };
                while process.ready().await != StatusCode::OK {
                    assert!(Instant::now() < deadline, "not ready: {}", process.log());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                process.ready_after = begun.elapsed();
                return Ok(process);
            }
            if let Some(status) = child.try_wait().expect("a status") {
                return Err(format!("{status}: {}", fs::read_to_string(&log).expect("its words")));
            }
            assert!(Instant::now() < deadline, "no banner: {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("its words")
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a killed process");
        self.child.wait().expect("its end");
    }

    /// A clean end: SIGTERM, and the calls in flight finish.
    pub(crate) async fn stop(mut self) -> String {
        assert!(signal("TERM", self.child.id()));
        for _ in 0..1_200 {
            if let Some(status) = self.child.try_wait().expect("a status") {
                assert!(status.success(), "{status}: {}", self.log());
                return self.log();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not end within 30 s: {}", self.log());
    }

    pub(crate) async fn ready(&self) -> StatusCode {
        let request = Request::get("/readyz").body(Full::default()).expect("a request");
        Client::new(self.admin).send(request).await.map_or(StatusCode::BAD_GATEWAY, |reply| reply.status)
    }

    /// A GET on the admin listener with the token.
    pub(crate) async fn admin(&self, path: &str) -> Reply {
        let request = Request::get(path).header("authorization", format!("Bearer {ADMIN_TOKEN}"));
        Client::new(self.admin).send(request.body(Full::default()).expect("a request")).await.expect("an answer")
    }

    /// The line of a metric that is there once.
    pub(crate) async fn metric(&self, name: &str) -> String {
        let page = self.admin("/metrics").await.text();
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)).unwrap_or("absent").to_owned()
    }

    /// One call of a tenant over a connection of its own.
    pub(crate) async fn call(&self, tenant: &str) -> Reply {
        Client::new(self.data).send(chat(tenant, false, "hello")).await.expect("an answer")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(name: &str, pid: u32) -> bool {
    Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().is_ok_and(|status| status.success())
}

fn free_number(folder: &Path) -> usize {
    (0..1_000).find(|number| !folder.join(format!("log-{number}")).exists()).expect("a number")
}

/// Where it listens, from its banner.
fn addresses(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let after =
        |mark: &str, end: &str| -> Option<SocketAddr> { text.split(mark).nth(1)?.split(end).next()?.parse().ok() };
    Some((after("OPENAI_BASE_URL=http://", "/openai")?, after("'http://", "/api")?))
}

/// A small call of a tenant: at most sixteen tokens.
pub(crate) fn chat(tenant: &str, stream: bool, prompt: &str) -> Request<Full<Bytes>> {
    let model = if tenant == HARD { "gpt-4o" } else { "gpt-4o-mini" };
    let messages = json!([{ "role": "user", "content": prompt }]);
    let body: Value = json!({ "model": model, "max_tokens": 16, "stream": stream, "messages": messages });
    Request::post("/openai/v1/chat/completions")
        .header("authorization", format!("Bearer {KEY}"))
        .header("plimsoll-tenant-id", tenant)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a request")
}

/// A client that keeps its connection and expects that the gateway may vanish at any moment.
pub(crate) struct Client {
    address: SocketAddr,
    open: Option<(SendRequest<Full<Bytes>>, JoinSet<()>)>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// `None`: there was no answer. An answer that broke off says so.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Option<Reply> {
        let (mut sender, tasks) = match self.open.take() {
            Some(open) if open.0.is_ready() => open,
            _ => self.connect().await?,
        };
        let (mut head, body) = request.into_parts();
        head.headers.entry("host").or_insert(http::HeaderValue::from_static("gateway"));
        let response = sender.send_request(Request::from_parts(head, body)).await.ok()?;
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut cut) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Err(_) => cut = true,
            }
            if cut {
                break;
            }
        }
        if sender.ready().await.is_ok() {
            self.open = Some((sender, tasks));
        }
        Some(Reply { status: head.status, headers: head.headers, body: bytes.into(), cut })
    }

    async fn connect(&self) -> Option<(SendRequest<Full<Bytes>>, JoinSet<()>)> {
        let tcp = TcpStream::connect(self.address).await.ok()?;
        tcp.set_nodelay(true).ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.ok()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Some((sender, tasks))
    }
}

/// Whether a tool can be run. Says so when a test is skipped for the lack of it.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: `{tool}` is not here");
    }
    found
}

/// Asks again until `done`, for at most so long.
pub(crate) async fn eventually(what: &str, within: Duration, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !done().await {
        assert!(Instant::now() < deadline, "{what} did not happen within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
