//! Whole calls: a gateway on loopback with keys, attribution, the realistic policy and the ledger on, in front of the scripted
//! provider, in this process. One client sends one call after the other over one connection.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use plimsoll::config::Settings;
use plimsoll::domain::clock::ManualClock;
use plimsoll::node::Node;
use plimsoll::sim::{Provider, Script};
use tokio::runtime::Runtime;

use super::{allocations, inputs};

/// A kind of call.
pub(crate) struct Call {
    /// Its name in the table of figures.
    pub(crate) name: &'static str,
    stream: bool,
}

/// Every kind.
pub(crate) const CALLS: &[Call] =
    &[Call { name: "call-chat-2k", stream: false }, Call { name: "call-sse-64", stream: true }];

const KEY: &str = "bench-key-of-one-client";
/// Calls before anything is counted: connections, tenants' accounts, leases and buffers are there then.
const WARM_UP: u64 = 100;

/// A gateway, what is behind it, and a client.
struct Rig {
    node: Node,
    _provider: Provider,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
    client: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Rig {
    fn start(call: &Call) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("provider")
            .enable_all()
            .build()?;
        let provider = runtime.block_on(Provider::start(Script::fast()))?;
        let folder = tempfile::tempdir()?;
        let policies = folder.path().join("policies");
        fs::create_dir(&policies)?;
        fs::write(policies.join("policy.yaml"), inputs::POLICY)?;
        fs::write(policies.join("tenants.csv"), inputs::TENANTS)?;
        let file = folder.path().join("plimsoll.yaml");
        fs::write(
            &file,
            format!(
                "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0, token: bench-admin-token }}\nproviders:\n  openai: {{ dialect: openai, \
                 base_url: \"{}\", api_key: sk-bench }}\nkeys:\n  - {{ name: bench, secret: {KEY}, tenants: any }}\n",
                provider.base_url()
            ),
        )?;
        let settings =
            Settings::load(Some(&file), &|_| None).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let clock = Arc::new(ManualClock::at(inputs::NOW));
        let node = Node::start(settings, clock).map_err(|error| io::Error::other(error.to_string()))?;
        let client = TcpStream::connect(node.data_address())?;
        client.set_nodelay(true)?;
        let body = inputs::chat(2_000, call.stream);
        let mut request = format!(
            "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\nuser-agent: OpenAI/Python 2.8.0\r\n\
             accept: application/json\r\ncontent-type: application/json\r\nplimsoll-tenant-id: globex\r\nplimsoll-endpoint-tag: digest.weekly\r\n\
             plimsoll-prompt-version: v7\r\nplimsoll-user-id: user-4711\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        let answer = vec![0; 1 << 16];
        Ok(Self { node, _provider: provider, _runtime: runtime, _folder: folder, client, request, answer })
    }

    /// Sends one call and reads its answer to the end.
    fn call(&mut self) -> io::Result<()> {
        self.client.write_all(&self.request)?;
        let mut length = 0;
        while !is_whole(&self.answer[..length]) {
            let read = self.client.read(&mut self.answer[length..])?;
            if read == 0 {
                return Err(io::Error::other(String::from_utf8_lossy(&self.answer[..length]).into_owned()));
            }
            length += read;
        }
        if self.answer.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.answer[..length]).into_owned()))
    }

    fn calls(&mut self, calls: u64) -> io::Result<()> {
        (0..calls).try_for_each(|_| self.call())
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let length = memchr::memmem::find(&answer[..head], b"content-length: ").map(|at| {
        let digits = answer[at + 16..head].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    });
    match length {
        Some(length) => answer.len() >= head + 4 + length,
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// Whether a thread is one of the gateway's cores.
fn is_core(thread: &str) -> bool {
    thread.strip_prefix("plimsoll-").is_some_and(|core| core.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What the gateway's cores allocate for one call, in hundredths.
pub(crate) fn allocations(call: &Call) -> io::Result<u64> {
    const CALLS: u64 = 400;
    let mut rig = Rig::start(call)?;
    rig.calls(WARM_UP)?;
    let before = allocations::of_threads(is_core);
    rig.calls(CALLS)?;
    let after = allocations::of_threads(is_core);
    rig.node.stop();
    Ok((after - before + CALLS / 2) / CALLS)
}

/// Makes so many calls beyond the first ones, for a tool that counts from outside.
pub(crate) fn run(call: &Call, calls: u64) -> io::Result<()> {
    let mut rig = Rig::start(call)?;
    rig.calls(WARM_UP + calls)?;
    rig.node.stop();
    Ok(())
}
