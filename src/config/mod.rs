//! `plimsoll.yaml`: files and environment become [`Settings`], or every mistake at once.
//!
//! Read at boot, never again. Variables are expanded after parsing, so a value can never change the file's shape; a name that
//! is not set is an error, not an empty text. Nothing is templated beyond that.

mod callers;
pub mod codes;
mod expand;
mod outlook;
mod providers;
mod replay;
pub mod schema;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use crate::alert::target::Targets;
use crate::control::Broken;
use crate::diagnostic::{Diagnostic, Source, has_errors};
use crate::domain::price::PriceBook;
use crate::domain::tenant::TenantId;
use crate::gateway::keys::{self, Key, KeyRing, Speaks};
use crate::gateway::{Limits, Options};
use crate::policy::reader::{Fields, Problems, expect_bool, expect_integer, expect_list, expect_str, expect_word};
use crate::policy::tree::{self, Kind, Node};

use expand::{Environment, expanded};

pub use outlook::Outlook;

/// The shortest secret of a gateway key.
const SHORTEST_SECRET: usize = 16;

/// Everything that the boot configuration decides.
pub struct Settings {
    /// The data plane's address.
    pub listen: SocketAddr,
    /// The admin listener's address.
    pub admin_listen: SocketAddr,
    /// The admin token; `None`: make one and print it.
    pub admin_token: Option<SecretString>,
    /// The policies' folder.
    pub policies: PathBuf,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// The data plane.
    pub data: Options,
    /// Where notifications may go.
    pub targets: Targets,
    /// The tariff.
    pub prices: PriceBook,
    /// Certificate and key of the listeners.
    pub tls: Option<TlsFiles>,
    /// Warnings, to be shown at start.
    pub warnings: Vec<Diagnostic>,
}

/// Where the listeners' certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

impl Settings {
    /// Reads a file, or takes the defaults when there is none. `environment` looks a variable up.
    pub fn load(file: Option<&Path>, environment: &Environment<'_>) -> Result<Self, Broken> {
        let Some(file) = file else {
            return Self::read(&Source::new("(defaults)", ""), Path::new("."), environment);
        };
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| Broken {
            diagnostics: vec![Diagnostic::error("E001", format!("`{name}` cannot be read: {error}"))],
            sources: Vec::new(),
        })?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::read(&Source::new(&name, &text), folder, environment)
    }

    fn read(source: &Source, folder: &Path, environment: &Environment<'_>) -> Result<Self, Broken> {
        let tree = tree::read(source);
        let mut problems = tree.diagnostics;
        let broken = |diagnostics| Broken { diagnostics, sources: vec![source.clone()] };
        let root = match tree.root {
            Some(root) => expanded(root, environment, &mut problems),
            None if has_errors(&problems) => return Err(broken(problems)),
            None => Node { place: source.start(), end_line: 1, kind: Kind::Map(Vec::new()) },
        };
        let settings = Fields::of(&root, "the configuration", &mut problems).and_then(|fields| {
            let mut boot = Boot { folder, environment, problems: &mut problems };
            boot.settings(fields)
        });
        expand::silence_consequences(&mut problems);
        match settings {
            Some(mut settings) if !has_errors(&problems) => {
                settings.warnings = problems;
                Ok(settings)
            }
            _ => Err(broken(problems)),
        }
    }
}

/// One reading of the file.
struct Boot<'a> {
    folder: &'a Path,
    environment: &'a Environment<'a>,
    problems: &'a mut Problems,
}

impl Boot<'_> {
    fn settings(&mut self, mut fields: Fields<'_>) -> Option<Settings> {
        let (listen_node, admin_node) = (fields.value("listen"), fields.value("admin"));
        let listen = self.address(listen_node, "listen", 4180);
        let (admin_listen, admin_token) = self.admin(admin_node);
        let policies = self.path(fields.value("policies"), "policies", "policies");
        let ledger = self.ledger(fields.value("ledger"));
        self.rates(fields.value("rates"));
        let keys_node = fields.value("keys");
        let keys = keys_node.map(|node| self.keys(node)).unwrap_or_default();
        let open = fields.value("open").and_then(|node| expect_bool(node, "`open`", self.problems)).unwrap_or(false);
        let providers = self.providers(fields.value("providers"), keys_node.is_some());
        let prices = self.prices(fields.value("prices"));
        let tls = fields.value("tls").and_then(|node| self.tls(node));
        let limits = self.limits(fields.value("limits"));
        let targets = self.targets(fields.value("notify"));
        let (attribution, trusted_networks) = self.attribution(fields.value("attribution"));
        let replay = fields.value("replay").map(|node| self.replay(node));
        fields.finish("not a key of plimsoll.yaml", self.problems);
        let (listen, admin_listen) = (listen?, admin_listen?);
        self.exposure(
            (listen, listen_node),
            keys_node.is_none() && !open,
            "listen",
            "add `keys:`, or say `open: true` if anybody may call",
        );
        self.exposure(
            (admin_listen, admin_node),
            tls.is_none() || admin_token.is_none(),
            "admin.listen",
            "give it `tls:` and `admin.token`",
        );
        let data = Options { limits, providers, keys, attribution, trusted_networks, replay };
        Some(Settings {
            listen,
            admin_listen,
            admin_token,
            policies,
            ledger,
            data,
            targets,
            prices,
            tls,
            warnings: Vec::new(),
        })
    }

    /// A listener that other machines reach needs protection.
    fn exposure(&mut self, (address, node): (SocketAddr, Option<&Node>), bare: bool, key: &str, help: &str) {
        if bare && !address.ip().is_loopback() {
            let fault = Diagnostic::error("E011", format!("`{key}` is not a loopback address and is not protected"));
            let fault = node.into_iter().fold(fault, |fault, node| fault.at(&node.place, "other machines reach it"));
            self.problems.push(fault.help(help));
        }
    }

    fn address(&mut self, node: Option<&Node>, what: &str, port: u16) -> Option<SocketAddr> {
        let Some(node) = node else { return Some(SocketAddr::from(([127, 0, 0, 1], port))) };
        let text = expect_str(node, &format!("`{what}`"), self.problems)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let fault = Diagnostic::error("E012", format!("`{text}` is not an address and port"));
            self.problems.push(fault.at(&node.place, "").help(format!("write `127.0.0.1:{port}`")));
        }
        parsed
    }

    fn admin(&mut self, node: Option<&Node>) -> (Option<SocketAddr>, Option<SecretString>) {
        let mut fields = node.and_then(|node| Fields::of(node, "`admin`", self.problems));
        let address = self.address(fields.as_mut().and_then(|fields| fields.value("listen")), "admin.listen", 4181);
        let token = fields.as_mut().and_then(|fields| fields.value("token"));
        let token = token.and_then(|token| {
            let text = expect_str(token, "`admin.token`", self.problems)?;
            if text.len() < SHORTEST_SECRET {
                let fault = Diagnostic::error("E013", "`admin.token` has fewer than 16 characters");
                self.problems.push(
                    fault
                        .at(&token.place, "too easy to guess")
                        .help("leave it out: a random one is made and printed once"),
                );
            }
            Some(SecretString::from(text))
        });
        if let Some(fields) = fields {
            fields.finish("not a key of `admin`", self.problems);
        }
        (address, token)
    }

    /// Relative paths are relative to the file that names them.
    fn path(&mut self, node: Option<&Node>, what: &str, usual: &str) -> PathBuf {
        let text = node.and_then(|node| expect_str(node, &format!("`{what}`"), self.problems));
        self.folder.join(text.unwrap_or(usual))
    }

    fn ledger(&mut self, node: Option<&Node>) -> PathBuf {
        let Some(node) = node else { return self.folder.join("plimsoll.db") };
        let text = expect_str(node, "`ledger`", self.problems).unwrap_or("sqlite://plimsoll.db");
        let Some(path) = text.strip_prefix("sqlite://") else {
            let fault = Diagnostic::error("E014", "only the embedded ledger is supported yet");
            self.problems.push(fault.at(&node.place, "").help("write `sqlite://plimsoll.db`"));
            return self.folder.join("plimsoll.db");
        };
        self.folder.join(path)
    }

    fn rates(&mut self, node: Option<&Node>) {
        if let Some(node) = node {
            expect_word(node, "`rates`", &[("local", ())], self.problems);
        }
    }

    fn keys(&mut self, node: &Node) -> KeyRing {
        let mut ring = KeyRing::default();
        let mut names: Vec<Arc<str>> = Vec::new();
        for item in expect_list(node, "`keys`", self.problems).unwrap_or_default() {
            let Some((digest, key)) = self.key(item) else { continue };
            if names.contains(&key.name) {
                let fault = Diagnostic::error("E015", format!("key `{}` is defined twice", key.name));
                self.problems.push(fault.at(&item.place, "give it another name"));
            }
            names.push(Arc::clone(&key.name));
            if !ring.insert(digest, key) {
                let fault = Diagnostic::error("E033", "this key has the same secret as another");
                self.problems.push(fault.at(&item.place, "whom would it speak for?"));
            }
        }
        if ring.is_empty() && !has_errors(self.problems) {
            let fault = Diagnostic::error("E016", "`keys` is empty");
            self.problems
                .push(fault.at(&node.place, "").help("add a key (`plimsoll keys new NAME --any`), or delete `keys:`"));
        }
        ring
    }

    fn key(&mut self, node: &Node) -> Option<(keys::KeyDigest, Key)> {
        let mut fields = Fields::of(node, "a key", self.problems)?;
        let name = fields.required("name", "backend", self.problems);
        let name = name.and_then(|node| expect_str(node, "a key's `name`", self.problems));
        let secret = fields.value("secret");
        let sha256 = fields.value("sha256");
        let tenant = fields.value("tenant");
        let any = fields.value("tenants");
        let place = fields.place().clone();
        fields.finish("not a key of a gateway key", self.problems);
        let digest = match (secret, sha256) {
            (Some(secret), None) => self.secret(secret),
            (None, Some(sha256)) => self.digest(sha256),
            _ => {
                let fault = Diagnostic::error("E017", "a key has either `secret` or `sha256`");
                self.problems.push(fault.at(&place, ""));
                None
            }
        };
        let speaks = match (tenant, any) {
            (Some(tenant), None) => self.tenant(tenant),
            (None, Some(any)) => expect_word(any, "`tenants`", &[("any", ())], self.problems).map(|()| Speaks::Any),
            _ => {
                let fault = Diagnostic::error("E018", "a key has either `tenant: NAME` or `tenants: any`");
                self.problems.push(fault.at(&place, "whom does it speak for?"));
                None
            }
        };
        Some((digest?, Key { name: Arc::from(name?), speaks: speaks? }))
    }

    fn secret(&mut self, node: &Node) -> Option<keys::KeyDigest> {
        let text = expect_str(node, "a key's `secret`", self.problems)?;
        if text.len() < SHORTEST_SECRET {
            let fault = Diagnostic::error("E013", "this secret has fewer than 16 characters");
            self.problems
                .push(fault.at(&node.place, "too easy to guess").help("make one with `plimsoll keys new NAME --any`"));
            return None;
        }
        Some(keys::digest(text))
    }

    fn digest(&mut self, node: &Node) -> Option<keys::KeyDigest> {
        let text = expect_str(node, "a key's `sha256`", self.problems)?;
        let digest = units::hex32(text);
        if digest.is_none() {
            let fault = Diagnostic::error("E019", "`sha256` is not 64 hexadecimal digits");
            self.problems.push(fault.at(&node.place, "").help("paste the line that `plimsoll keys new` prints"));
        }
        digest
    }

    fn tenant(&mut self, node: &Node) -> Option<Speaks> {
        let text = expect_str(node, "a key's `tenant`", self.problems)?;
        match TenantId::new(text) {
            Ok(tenant) => Some(Speaks::For(tenant)),
            Err(error) => {
                self.problems.push(Diagnostic::error("E020", format!("`{text}` is {error}")).at(&node.place, ""));
                None
            }
        }
    }

    fn prices(&mut self, node: Option<&Node>) -> PriceBook {
        let mut book = PriceBook::builtin();
        let items = node.and_then(|node| expect_list(node, "`prices`", self.problems));
        for item in items.into_iter().flatten() {
            let Some(text) = expect_str(item, "a price file", self.problems) else { continue };
            book = self.price_file(book, item, text);
        }
        book
    }

    fn price_file(&mut self, book: PriceBook, node: &Node, name: &str) -> PriceBook {
        let text = match std::fs::read_to_string(self.folder.join(name)) {
            Ok(text) => text,
            Err(error) => {
                let fault = Diagnostic::error("E001", format!("`{name}` cannot be read: {error}"));
                self.problems.push(fault.at(&node.place, ""));
                return book;
            }
        };
        let json = Path::new(name).extension().is_some_and(|extension| extension == "json");
        let before = book.clone();
        let read = if json { book.with_litellm_json(name, &text) } else { book.with_yaml(name, &text) };
        read.unwrap_or_else(|error| {
            let fault = Diagnostic::error("E021", format!("{name}:{}:{}: {}", error.line, error.column, error.message));
            self.problems.push(fault.at(&node.place, "in this file"));
            before
        })
    }

    fn tls(&mut self, node: &Node) -> Option<TlsFiles> {
        let mut fields = Fields::of(node, "`tls`", self.problems)?;
        let cert = fields.required("cert", "server.pem", self.problems);
        let key = fields.required("key", "server.key", self.problems);
        fields.finish("not a key of `tls`", self.problems);
        Some(TlsFiles { cert: self.file(cert?)?, key: self.file(key?)? })
    }

    fn file(&mut self, node: &Node) -> Option<PathBuf> {
        let path = self.folder.join(expect_str(node, "a file's name", self.problems)?);
        if !path.is_file() {
            let fault = Diagnostic::error("E001", format!("`{}` does not exist", path.display()));
            self.problems.push(fault.at(&node.place, ""));
        }
        Some(path)
    }

    fn limits(&mut self, node: Option<&Node>) -> Limits {
        let mut limits = Limits::default();
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`limits`", self.problems)) else { return limits };
        for (name, place) in [("body", &mut limits.body), ("drain_bytes", &mut limits.drain_bytes)] {
            if let Some(bytes) = fields.value(name).and_then(|node| units::bytes(node, self.problems)) {
                *place = bytes;
            }
        }
        for (name, place) in [
            ("header_timeout", &mut limits.header_timeout),
            ("idle_timeout", &mut limits.idle_timeout),
            ("first_byte_timeout", &mut limits.first_byte_timeout),
            ("silence_timeout", &mut limits.silence_timeout),
            ("answer_timeout", &mut limits.answer_timeout),
            ("drain_for", &mut limits.drain_for),
            ("grace", &mut limits.grace),
        ] {
            if let Some(duration) = fields.value(name).and_then(|node| units::duration(node, self.problems)) {
                *place = duration;
            }
        }
        for (name, place) in [
            ("streams_per_tenant", &mut limits.streams_per_tenant),
            ("drains_per_tenant", &mut limits.drains_per_tenant),
        ] {
            let number = fields.value(name).and_then(|node| expect_integer(node, &format!("`{name}`"), self.problems));
            if let Some(number) = number {
                *place = u32::try_from(number).unwrap_or(u32::MAX);
            }
        }
        let users = fields.value("users_per_tenant");
        if let Some(users) = users.and_then(|node| expect_integer(node, "`users_per_tenant`", self.problems)) {
            limits.users_per_tenant = usize::try_from(users).unwrap_or(usize::MAX);
        }
        fields.finish("not a key of `limits`", self.problems);
        limits
    }
}
