//! `plimsoll.yaml` as tables, for editors.

use crate::policy::schema::grammar::{TENANT, TEXT, URL};
use crate::policy::schema::{Grammar, Key, Map, Shape};

const fn form(name: &'static str, says: &'static str, examples: &'static [&'static str]) -> Grammar {
    Grammar { name, says, examples, pattern: None }
}

static ADDRESS: Grammar = form("address", "An IP address and a port.", &["127.0.0.1:4180", "[::1]:4180"]);
static PATH: Grammar = form("path", "A path, relative to this file.", &["policies/"]);
static LEDGER: Grammar = form("ledger", "`sqlite://` and a path.", &["sqlite://plimsoll.db"]);
static SECRET: Grammar = form(
    "secret",
    "16 characters or more; mostly `${NAME}`, a variable of the environment.",
    &["${PLIMSOLL_ADMIN_TOKEN}"],
);
static DIGEST: Grammar = form(
    "digest",
    "64 hexadecimal digits: the SHA-256 of a key, as `plimsoll keys new` prints it.",
    &["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
);
static SIZE: Grammar = form("size", "Bytes, with KiB, MiB or GiB.", &["32 MiB"]);
static DURATION: Grammar =
    form("duration", "A whole number and ms, s, min or hour; a day at most.", &["10 s", "250 ms"]);
static HEADER: Grammar = form("header", "A header's name.", &["x-litellm-customer-id"]);
static NETWORK: Grammar = form("network", "An address and how many bits are fixed.", &["127.0.0.0/8"]);

static ADMIN: Map = Map {
    name: "admin",
    says: "The admin listener: admin API, metrics, health.",
    keys: &[&[
        Key::new(
            "listen",
            Shape::Text(&ADDRESS),
            "127.0.0.1:4181 when absent. Other than loopback needs `tls` and a token.",
        ),
        Key::new("token", Shape::Text(&SECRET), "When absent a random one is made and printed once."),
    ]],
    others: None,
};

static PROVIDER: Map = Map {
    name: "provider",
    says: "Where calls are sent. openai, anthropic and gemini exist by default.",
    keys: &[&[
        Key::required("dialect", Shape::Word(&["openai", "anthropic", "gemini"]), "The wire format."),
        Key::required("base_url", Shape::Text(&URL), "What the rest of a request's path is appended to."),
        Key::new("api_key", Shape::Text(&SECRET), "The provider's key. Required when there are `keys`."),
        Key::new("bills_after_cancel", Shape::Boolean, "Whether an answer that nobody waits for is billed."),
    ]],
    others: None,
};

static KEY: Map = Map {
    name: "key",
    says: "A gateway key: `secret` or `sha256`, for one `tenant` or `tenants: any`.",
    keys: &[&[
        Key::required("name", Shape::Text(&TEXT), "How the ledger names the caller."),
        Key::new("secret", Shape::Text(&SECRET), "The key itself."),
        Key::new("sha256", Shape::Text(&DIGEST), "Its digest."),
        Key::new("tenant", Shape::Text(&TENANT), "The tenant that it is bound to."),
        Key::new("tenants", Shape::Word(&["any"]), "The caller says for which tenant it calls."),
    ]],
    others: None,
};

static TLS: Map = Map {
    name: "tls",
    says: "The listeners' certificate, read again when the files change.",
    keys: &[&[
        Key::required("cert", Shape::Text(&PATH), "The chain, PEM."),
        Key::required("key", Shape::Text(&PATH), "The private key, PEM."),
    ]],
    others: None,
};

const TIME: Shape = Shape::Text(&DURATION);

static LIMITS: Map = Map {
    name: "limits",
    says: "What one caller may take.",
    keys: &[&[
        Key::new("body", Shape::Text(&SIZE), "The largest request."),
        Key::new("drain_bytes", Shape::Text(&SIZE), "How much of an abandoned answer is read."),
        Key::new("header_timeout", TIME, "For the head of a request."),
        Key::new("idle_timeout", TIME, "How long an idle connection stays open."),
        Key::new("first_byte_timeout", TIME, "How long the provider may take to begin."),
        Key::new("silence_timeout", TIME, "How long it may pause."),
        Key::new("answer_timeout", TIME, "How long a whole answer may take."),
        Key::new("drain_for", TIME, "How long an abandoned answer is read."),
        Key::new("grace", TIME, "How long calls may finish when the gateway stops."),
        Key::new("streams_per_tenant", Shape::Integer, "Calls in flight per tenant."),
        Key::new("drains_per_tenant", Shape::Integer, "Abandoned answers read at once per tenant."),
        Key::new("users_per_tenant", Shape::Integer, "Users that are counted apart per tenant."),
    ]],
    others: None,
};

static TARGET: Map = Map {
    name: "target",
    says: "Where notifications go: a webhook or Slack.",
    keys: &[&[
        Key::new("webhook", Shape::Text(&URL), "A URL that takes signed JSON."),
        Key::new("slack", Shape::Text(&URL), "A Slack webhook."),
        Key::new("secret", Shape::Text(&SECRET), "What signs a webhook."),
    ]],
    others: None,
};

static ATTRIBUTION: Map = Map {
    name: "attribution",
    says: "Whose word counts on who the tenant is.",
    keys: &[&[
        Key::new(
            "accept_aliases",
            Shape::List(&Shape::Text(&HEADER)),
            "Further headers that name the tenant, in order.",
        ),
        Key::new("baggage", Shape::Boolean, "Whether `baggage: tenant.id=…` counts."),
        Key::new("body", Shape::Boolean, "Not supported yet."),
        Key::new("hash_user_ids", Shape::Boolean, "Not supported yet."),
        Key::new(
            "trusted_networks",
            Shape::List(&Shape::Text(&NETWORK)),
            "From where tenant headers count without a key; loopback when absent.",
        ),
    ]],
    others: None,
};

static REPLAY: Map = Map {
    name: "replay",
    says: "A finished answer given again to the same call.",
    keys: &[&[Key::new("keep", TIME, "For how long."), Key::new("memory", Shape::Text(&SIZE), "In how much memory.")]],
    others: None,
};

/// The boot configuration.
pub static CONFIG: Map = Map {
    name: "configuration",
    says: "plimsoll.yaml: read at boot. `${NAME}` in a value is a variable of the environment; one that is not set is an error.",
    keys: &[&[
        Key::new(
            "listen",
            Shape::Text(&ADDRESS),
            "The data plane; 127.0.0.1:4180 when absent. Other than loopback needs `keys` or `open`.",
        ),
        Key::new("admin", Shape::Map(&ADMIN), "The admin listener."),
        Key::new("policies", Shape::Text(&PATH), "The policies' folder, read again when it changes."),
        Key::new("ledger", Shape::Text(&LEDGER), "The ledger; sqlite://plimsoll.db when absent."),
        Key::new("rates", Shape::Word(&["local"]), "Where request rates are counted."),
        Key::new(
            "keys",
            Shape::List(&Shape::Map(&KEY)),
            "Gateway keys. When absent, the caller's provider key goes upstream, on loopback only.",
        ),
        Key::new("open", Shape::Boolean, "Anybody may call."),
        Key::new(
            "providers",
            Shape::Named("groq", &Shape::Map(&PROVIDER)),
            "Where calls are sent; the name is the first part of the path.",
        ),
        Key::new(
            "prices",
            Shape::List(&Shape::Text(&PATH)),
            "Price files over the built-in table; a LiteLLM price JSON too.",
        ),
        Key::new("tls", Shape::Map(&TLS), "The listeners' certificate."),
        Key::new("limits", Shape::Map(&LIMITS), "What one caller may take."),
        Key::new(
            "notify",
            Shape::Named("oncall", &Shape::Map(&TARGET)),
            "Where notifications go, by the name that policies use.",
        ),
        Key::new("attribution", Shape::Map(&ATTRIBUTION), "Whose word counts on who the tenant is."),
        Key::new("replay", Shape::Map(&REPLAY), "Finished answers given again."),
    ]],
    others: None,
};
