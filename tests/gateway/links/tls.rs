//! The same over TLS: who is believed to be the provider, and that its answers pass whatever records they come in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{CHAT, Client, Close, OK, Odd, Say, Take, Wait, long, post, reason, whole, with};
use crate::process::{Files, Process, policy};

/// An authority that a gateway trusts, or does not.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// What a server of this name shows until the end of the year.
    fn acceptor(&self, name: &str, year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 12, 31));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth();
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).expect("a server")))
    }
}

/// Takes TLS off what comes and passes it on. Returns its port and how many bytes came out of TLS.
async fn relay(acceptor: TlsAcceptor, to: &Odd, tasks: &mut JoinSet<()>) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (passed, to) = (Arc::<AtomicU64>::default(), to.address);
    let count = Arc::clone(&passed);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            connections.spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let (mut near, mut to_near) = tokio::io::split(tls);
                let (mut far, mut to_far) = TcpStream::connect(to).await.expect("a connection").into_split();
                let up = async {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(read @ 1..) = near.read(&mut buffer).await {
                        count.fetch_add(read as u64, Ordering::Relaxed);
                        to_far.write_all(&buffer[..read]).await.expect("passed on");
                    }
                };
                let down = async {
                    let mut buffer = vec![0; 1 << 16];
                    let mut last = Vec::new();
                    while let Ok(read @ 1..) = far.read(&mut buffer).await {
                        last = buffer[..read].to_vec();
                        to_near.write_all(&last).await.expect("passed on");
                        to_near.flush().await.expect("passed on");
                    }
                    // What ends with these words is broken off without a word of TLS.
                    if !last.ends_with(b"and broken off") {
                        let _ = to_near.shutdown().await;
                    }
                };
                tokio::select! { () = up => {}, () = down => {} }
            });
        }
    });
    (port, passed)
}

/// A gateway whose provider `odd` is `https://localhost:port`, and which trusts this authority alone.
async fn gateway(folder: &Path, port: u16, authority: &Authority) -> Process {
    let files = Files::new(folder, &folder.join("plimsoll.db"), "http://127.0.0.1:9", &policy("$1000/month"));
    let config = std::fs::read_to_string(folder.join("plimsoll.yaml")).expect("a configuration");
    let odd =
        format!("  odd: {{ dialect: openai, base_url: \"https://localhost:{port}\", api_key: sk-secret }}\nkeys:\n");
    std::fs::write(folder.join("plimsoll.yaml"), config.replace("keys:\n", &odd)).expect("a configuration");
    let roots = folder.join("roots.pem");
    std::fs::write(&roots, &authority.pem).expect("roots");
    Process::within(&files, &["env", &format!("SSL_CERT_FILE={}", roots.display())]).await
}

/// Row B19 of the fault matrix.
// Mutation: the connector takes whatever certificate it is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b19_a_provider_that_cannot_show_who_it_is_gets_no_byte_of_a_call() {
    let (authority, odd, mut tasks) = (Authority::new(), Odd::start().await, JoinSet::new());
    for acceptor in [
        authority.acceptor("localhost", 2025),
        authority.acceptor("elsewhere.example", 2099),
        Authority::new().acceptor("localhost", 2099),
    ] {
        let (port, passed) = relay(acceptor, &odd, &mut tasks).await;
        let folder = tempfile::tempdir().expect("a folder");
        let gateway = gateway(folder.path(), port, &authority).await;
        let reply = Client::of(gateway.data).ask().await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", reply.text());
        assert_eq!(reason(CHAT, &reply).0, "upstream_failed");
        assert_eq!(passed.load(Ordering::Relaxed), 0);
    }
    assert_eq!(odd.connections(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_over_tls_pass_whole_in_both_directions_and_a_broken_one_is_cut() {
    let (authority, odd, mut tasks) = (Authority::new(), Odd::start().await, JoinSet::new());
    let (port, _) = relay(authority.acceptor("localhost", 2099), &odd, &mut tasks).await;
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = gateway(folder.path(), port, &authority).await;
    let mut client = Client::of(gateway.data);

    let long_answer = "y".repeat(5 << 20);
    let chunks: String = long_answer.as_bytes().chunks(70_001).map(chunk).collect();
    odd.will([Take, Say(format!("{OK}content-length: {}\r\n\r\n", long_answer.len())), Say(long_answer.clone())]);
    odd.will([Take, Say(format!("{OK}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"))]);
    for _ in 0..2 {
        let reply = client.send(with(post(super::ODD), long())).await;
        assert!(!reply.cut && reply.body == long_answer.as_bytes(), "{} bytes", reply.body.len());
    }
    odd.will([
        Say(format!("{OK}transfer-encoding: chunked\r\n\r\n")),
        Wait(20),
        Take,
        Say("1\r\nz\r\n0\r\n\r\n".to_owned()),
    ]);
    assert_eq!(client.send(with(post(super::ODD), long())).await.text(), "z");
    odd.will([Take, whole("short")]);
    assert_eq!(client.ask().await.text(), "short");
    assert_eq!(odd.connections(), [0; 4]);

    odd.will([Take, Say("HTTP/1.1 200 OK\r\n\r\nto the end".to_owned()), Close]);
    let reply = client.ask().await;
    assert_eq!((reply.text().as_str(), reply.cut), ("to the end", false));
    // Whoever sits between us and the provider may end a connection, but not an answer.
    odd.will([
        Take,
        Say("HTTP/1.1 200 OK\r\n\r\nto the middle".to_owned()),
        Wait(20),
        Say(" and broken off".to_owned()),
        Close,
    ]);
    assert!(client.ask().await.cut);
}

fn chunk(data: &[u8]) -> String {
    format!("{:x}\r\n{}\r\n", data.len(), String::from_utf8_lossy(data))
}
