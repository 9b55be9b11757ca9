//! Where requests go: a provider, its origin, and how a connection to it is made.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wire::Family;
use crate::wire::charge::Billing;

use super::outbox::{Gathered, Outbox};

/// How long a connection may take, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A provider as `plimsoll.yaml` declares it.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The name: the first segment of the path.
    pub name: Arc<str>,
    /// Its wire format.
    pub family: Family,
    /// Where it is.
    pub origin: Origin,
    /// The credential that replaces the caller's, as a header value (`Bearer …` for OpenAI).
    pub credential: Option<HeaderValue>,
    /// Whether the provider goes on billing after a client has cancelled a stream. Then an abandoned one is read to its end.
    pub bills_after_cancel: bool,
    /// What its operator is known to bill.
    pub billing: &'static Billing,
}

/// Scheme, host, port and path prefix of a base URL.
#[derive(Debug, Clone)]
pub struct Origin {
    host: String,
    port: u16,
    server_name: Option<ServerName<'static>>,
    /// The `Host` header.
    pub(super) authority: HeaderValue,
    /// The base URL's path without a trailing slash.
    pub(super) prefix: String,
}

impl Origin {
    /// Reads a base URL: `https://api.openai.com`, `http://127.0.0.1:8080/openai`.
    pub fn parse(base_url: &str) -> Result<Self, String> {
        let uri: Uri = base_url.parse().map_err(|error| format!("`{base_url}` is not a URL: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{base_url}` names no host"))?;
        if authority.as_str().contains('@') {
            return Err(format!("`{}` holds a credential; write it as `api_key`", authority.host()));
        }
        if uri.query().is_some() {
            return Err(format!("`{base_url}` has a query; a base URL ends with its path"));
        }
        let (default_port, tls) = match uri.scheme_str() {
            Some("https") => (443, true),
            Some("http") => (80, false),
            _ => return Err(format!("`{base_url}` must begin with `https://` or `http://`")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = tls
            .then(|| ServerName::try_from(host.clone()))
            .transpose()
            .map_err(|_| format!("`{host}` is not a name that a certificate can carry"))?;
        Ok(Self {
            port: authority.port_u16().unwrap_or(default_port),
            server_name,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
        })
    }

    /// The host, without brackets around an address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Opens a connection.
    pub(super) async fn connect(&self, tls: &TlsConnector, outbox: Rc<Outbox>) -> io::Result<Stream> {
        let connecting = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
            tcp.set_nodelay(true)?;
            let tcp = Gathered::new(tcp, outbox);
            match &self.server_name {
                None => Ok(Stream::Plain(tcp)),
                Some(name) => Ok(Stream::Tls(Box::new(tls.connect(name.clone(), tcp).await?))),
            }
        };
        tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s")))
    }
}

/// The TLS settings for every provider: the machine's roots, or the bundled ones where there are none.
pub fn tls_connector() -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// A connected stream, encrypted or not.
pub(super) enum Stream {
    /// TCP as it is.
    Plain(Gathered),
    /// TLS over TCP.
    Tls(Box<TlsStream<Gathered>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
