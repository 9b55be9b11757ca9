//! The admin API as a caller sees it: who is let in, what the answers are, what is refused and why.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::tz::TimeZone;
use plimsoll::admin::{
    AdminState, Ask, BudgetView, PolicyView, Push, PushRefusal, ReloadView, TenantRefusal, TenantView, router, serve,
};
use plimsoll::control::Change;
use plimsoll::domain::attribution::{Attribution, DataMode};
use plimsoll::domain::clock::{ManualClock, Timestamp};
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::ledger::Ledger;
use plimsoll::ledger::entry::LedgerEntry;
use plimsoll::telemetry::{Finished, Metrics};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use crate::ledger_crash::attempt;

const TOKEN: &str = "plim_a-token-of-this-test";

struct Office {
    _folder: tempfile::TempDir,
    ledger: Ledger,
    router: Router,
}

fn policy(ok: bool) -> PolicyView {
    let last_reload = ReloadView { ok, at: "2026-11-18T12:00:00Z".into(), diagnostics: Vec::new() };
    PolicyView {
        revision: "r1 9f3c1ae".into(),
        mode: "enforce".into(),
        loaded_at: "2026-11-18T12:00:00Z".into(),
        last_reload,
        sources: Vec::new(),
    }
}

fn view(tenant: &Tenant) -> TenantView {
    let month = BudgetView {
        name: "tenant_month".into(),
        unit: "nano_usd".into(),
        limit: 150_000_000_000,
        used: 120_450_000_000,
        used_percent: 80,
        state: "warning".into(),
        step: Some("warning".into()),
        resets_at: Some("2026-12-01T00:00:00+01:00".into()),
        forecast_percent: Some(142),
        mode: "enforce".into(),
    };
    TenantView { budgets: vec![month], ..TenantView::of(tenant) }
}

/// Five attempts of two tenants, one of them in September.
async fn busy_office() -> Office {
    let office = office();
    let demo = Arc::new(Attribution { data_mode: DataMode::Demo, ..Attribution::default() });
    office
        .write([
            attempt("a", "globex"),
            LedgerEntry { logical: false, ..attempt("b", "globex") },
            LedgerEntry { cost: None, price: None, ..attempt("c", "acme-corp") },
            LedgerEntry { attribution: demo, ..attempt("d", "globex") },
            LedgerEntry { admitted_at: Timestamp::from_seconds(1_790_000_000), ..attempt("old", "globex") },
        ])
        .await;
    office
}

/// An office over a real ledger, whose directory is the ledger's tenants and a CSV that holds `acme-corp`.
fn office() -> Office {
    office_asking(Box::new(|| policy(true)))
}

fn office_asking(running: Ask<PolicyView>) -> Office {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(&folder.path().join("plimsoll.db")).expect("a new ledger");
    let metrics = Arc::new(Metrics::default());
    metrics.traffic("globex", "openai").finished(&Finished { status: 200, ..Finished::default() });
    let csv = Arc::new(Mutex::new(vec![Tenant::unknown(TenantId::new("acme-corp").expect("a name"))]));
    let (reader, lookup) = (ledger.reader(), ledger.reader());
    let (puts, deletes, held, kept) = (ledger.clone(), ledger.clone(), Arc::clone(&csv), Arc::clone(&csv));
    let doubts = ledger.clone();
    let is_held = |csv: &Mutex<Vec<Tenant>>, id: &TenantId| {
        csv.lock().expect("no panic elsewhere").iter().any(|row| row.id == *id)
    };
    let state = AdminState {
        ledger: ledger.reader(),
        metrics,
        token: TOKEN.into(),
        clock: Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_000_000))),
        zone: Box::new(|| TimeZone::get("Europe/Berlin").expect("a zone of the bundled database")),
        tenants: Box::new(move || reader.tenants().expect("rows").iter().map(view).collect()),
        tenant: Box::new(move |id| lookup.tenants().expect("rows").iter().find(|tenant| tenant.id == *id).map(view)),
        put_tenant: Box::new(move |tenant| {
            if is_held(&held, &tenant.id) {
                return Err(TenantRefusal::HeldByCsv);
            }
            puts.put_tenant(tenant).map_err(|error| TenantRefusal::Failed(error.to_string()))
        }),
        delete_tenant: Box::new(move |id| {
            let known = deletes.reader().tenants().expect("rows").iter().any(|row| row.id == id);
            match known {
                _ if is_held(&kept, &id) => Err(TenantRefusal::HeldByCsv),
                false => Err(TenantRefusal::Unknown),
                true => deletes.delete_tenant(&id).map_err(|error| TenantRefusal::Failed(error.to_string())),
            }
        }),
        settle_doubt: Box::new(move |(id, evidence)| {
            doubts.settle_doubt(&id, &evidence, &|_, _| None).map_err(|error| error.to_string())
        }),
        policy: running,
        counters: Box::new(|_| Vec::new()),
        apply: Box::new(|push| match push {
            Push { expected: Some(expected), .. } if expected != "r1 9f3c1ae" => {
                Err(PushRefusal::Moved { running: "r1 9f3c1ae".into() })
            }
            Push { change: Some(Change::Text(text)), .. } if text.contains("nonsense") => {
                Err(PushRefusal::Broken(vec![json!({"code": "E101", "line": 1})]))
            }
            _ => Ok(policy(true)),
        }),
        ready: Box::new(|| true),
    };
    Office { _folder: folder, ledger, router: router(state) }
}

impl Office {
    async fn write(&self, entries: impl IntoIterator<Item = LedgerEntry>) {
        for entry in entries {
            self.ledger.permit().expect("a free place").send(entry);
        }
        self.ledger.flushed().await.expect("a written ledger");
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String, String) {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().expect("text")).to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
        let (status, _, text) = self.send(request.body(Body::from(body.to_owned())).expect("well formed")).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call("GET", path, "").await
    }
}

#[tokio::test]
async fn nothing_but_health_metrics_and_the_description_opens_without_the_token() {
    let office = office();
    let (_, document) = office.get("/openapi.json").await;
    let open = ["/healthz", "/readyz", "/metrics", "/openapi.json"];
    let described = document["paths"].as_object().expect("paths").keys().map(String::as_str);
    let paths: Vec<&str> = described.chain(open).chain(["/", "/api", "/api/v1/", "/healthz/", "//healthz"]).collect();
    let tokens = [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Bearer plim_a"), Some("Basic cGxpbQ==")];
    for path in paths {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            for token in tokens {
                let mut request = Request::builder().method(&method).uri(path.replace(['{', '}'], ""));
                if let Some(token) = token {
                    request = request.header("authorization", token);
                }
                let (status, kind, _) = office.send(request.body(Body::empty()).expect("well formed")).await;
                if open.contains(&path) {
                    assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
                } else {
                    assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
                    assert_eq!(kind, "application/problem+json");
                }
            }
        }
    }
    let (status, problem) = office.get("/api/v2").await;
    assert_eq!((status, &problem["status"]), (StatusCode::NOT_FOUND, &json!(404)));
    let (status, problem) = office.call("DELETE", "/api/v1/spend", "").await;
    assert_eq!((status, &problem["title"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("Method Not Allowed")));
}

#[tokio::test]
async fn the_description_lists_every_promised_call() {
    let (status, document) = office().get("/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let mut calls: Vec<String> = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            calls.push(format!("{} {path}", method.to_uppercase()));
            let locked = operation.get("security").is_some();
            assert_eq!(locked, path.starts_with("/api/"), "{method} {path}");
        }
    }
    calls.sort();
    insta::assert_snapshot!(calls.join("\n"), @"
    DELETE /api/v1/tenants/{tenantId}
    GET /api/v1/counters
    GET /api/v1/decisions
    GET /api/v1/in-doubt
    GET /api/v1/policy
    GET /api/v1/requests/{id}
    GET /api/v1/spend
    GET /api/v1/tenants
    GET /api/v1/tenants/{tenantId}
    GET /healthz
    GET /metrics
    GET /readyz
    POST /api/v1/in-doubt/{id}
    POST /api/v1/policy
    PUT /api/v1/tenants/{tenantId}
    ");
    assert_eq!(document["components"]["securitySchemes"]["admin_token"]["scheme"], "bearer");
    assert!(document["components"]["schemas"]["StoredAttempt"]["properties"]["cost_nano_usd"].is_object());
}

#[tokio::test]
async fn spend_has_the_promised_fields_by_any_dimension() {
    let office = busy_office().await;
    let (status, spend) = office.get("/api/v1/spend?by=tenantId,userId&dataMode=real").await;
    assert_eq!(status, StatusCode::OK, "{spend}");
    insta::assert_snapshot!(serde_json::to_string_pretty(&spend).expect("well formed"), @r#"
    {
      "rows": [
        {
          "attempts": 2,
          "cache_write_tokens": 0,
          "cached_input_tokens": 0,
          "cost_nano_usd": 2,
          "estimated_nano_usd": 0,
          "in_doubt_nano_usd": 0,
          "input_tokens": 200,
          "output_tokens": 20,
          "reasoning_tokens": 0,
          "requests": 1,
          "tenantId": "globex",
          "unpriced_requests": 0,
          "userId": null
        },
        {
          "attempts": 1,
          "cache_write_tokens": 0,
          "cached_input_tokens": 0,
          "cost_nano_usd": 0,
          "estimated_nano_usd": 0,
          "in_doubt_nano_usd": 0,
          "input_tokens": 100,
          "output_tokens": 10,
          "reasoning_tokens": 0,
          "requests": 1,
          "tenantId": "acme-corp",
          "unpriced_requests": 1,
          "userId": null
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn spend_is_of_this_month_unless_it_says_otherwise_and_every_dimension_filters() {
    let office = busy_office().await;
    for (question, attempts) in [
        ("", 4),
        ("since=2026-01-01", 5),
        ("since=2026-01-01&until=2026-11-18", 1),
        ("since=2026-11-18T12:06:40%2B01:00", 4),
        ("since=2026-11-18T12:06:40+01:00", 4),
        ("since=2026-11-18T11:06:41Z", 0),
        ("tenantId=globex&tenantId=acme-corp&dataMode=real", 3),
        ("tenantId=%27%20OR%201=1--", 0),
        ("userId=", 4),
        ("status=200&provider=openai&model=gpt-4o", 4),
    ] {
        let (_, spend) = office.get(&format!("/api/v1/spend?{question}")).await;
        assert_eq!(spend["rows"][0]["attempts"], attempts, "{question}");
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_says_what_can() {
    let office = office();
    for (path, says) in [
        ("/api/v1/spend?by=tenant_id", "`tenant_id` is neither"),
        (
            "/api/v1/spend?by=tenantId;DROP%20TABLE%20attempt",
            "is neither a parameter (by, since, until) nor a dimension",
        ),
        ("/api/v1/spend?team=x", "(tenantId, plan, segment, endpointTag, promptVersion, dataMode,"),
        ("/api/v1/spend?since=yesterday", "`since=yesterday` is not a time: write a date"),
        ("/api/v1/spend?since=2026-13-01", "is not a time"),
        ("/api/v1/spend?until=2025-01-01", "`until` is before `since`"),
        ("/api/v1/decisions?tenant=x", "`tenant` is not a parameter"),
        ("/api/v1/decisions?limit=0", "not a number from 1 to 1000"),
        ("/api/v1/tenants/a,b", "the tenant's identifier is not 1 to 128 visible ASCII characters"),
        ("/api/v1/tenants/%ff", "utf-8"),
    ] {
        let (status, problem) = office.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(
            problem["detail"].as_str().expect("a detail").to_lowercase().contains(&says.to_lowercase()),
            "{problem}"
        );
    }
    assert_eq!(office.get("/api/v1/requests/nobody").await.0, StatusCode::NOT_FOUND);
    assert_eq!(office.get("/api/v1/tenants/nobody").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_request_and_its_decisions_are_shown_as_they_were() {
    let office = office();
    let capped = LedgerEntry {
        decision: Arc::from(r#"step=contain, budget="tenant_month", cap=600"#),
        ..attempt("req_1", "globex")
    };
    office.write([capped, attempt("req_2", "globex")]).await;
    let (_, found) = office.get("/api/v1/requests/req_1").await;
    let row = &found["rows"][0];
    assert_eq!(row["decision"], r#"step=contain, budget="tenant_month", cap=600"#);
    assert_eq!((&row["tenantId"], &row["model_answered"]), (&json!("globex"), &json!("gpt-4o-2024-08-06")));
    let (_, decisions) = office.get("/api/v1/decisions?tenantId=globex").await;
    assert_eq!(decisions["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(office.get("/api/v1/decisions?tenantId=acme-corp").await.1, json!({"rows": []}));
}

#[tokio::test]
async fn tenants_are_put_shown_and_deleted_unless_the_csv_holds_them() {
    let office = office();
    let path = "/api/v1/tenants/globex";
    let facts = r#"{"name":"Globex GmbH","plan":"growth","revenue":"199/month","account_owner":""}"#;
    let (status, view) = office.call("PUT", path, facts).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!((&view["revenue"], &view["account_owner"]), (&json!("199.00/month"), &Value::Null));
    assert_eq!(view["budgets"][0]["used_percent"], 80);
    assert_eq!(office.get(path).await.1, view);
    assert_eq!(office.get("/api/v1/tenants").await.1, json!({"tenants": [view]}));
    for (body, says) in [
        (r#"{"role":"admin"}"#, "unknown field `role`"),
        (r#"{"tenantId":"initech"}"#, "differs from the path"),
        (r#"{"revenue":"199"}"#, "write `199/month`"),
        (r#"{"revenue":"-1/month"}"#, "write `199/month`"),
        ("{\"name\":\"a\\u0000b\"}", "control characters"),
        ("[", "not a tenant as JSON"),
    ] {
        let (status, problem) = office.call("PUT", path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(problem["detail"].as_str().expect("a detail").contains(says), "{problem}");
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(office.call("PUT", path, &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(office.call("PUT", "/api/v1/tenants/acme-corp", "{}").await.0, StatusCode::CONFLICT);
    assert_eq!(office.call("DELETE", "/api/v1/tenants/acme-corp", "").await.0, StatusCode::CONFLICT);
    assert_eq!(office.call("DELETE", path, "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(office.call("DELETE", path, "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_policy_is_applied_or_refused_with_its_diagnostics() {
    let office = office();
    assert_eq!(office.get("/api/v1/policy").await.1["revision"], "r1 9f3c1ae");
    assert_eq!(office.call("POST", "/api/v1/policy", "").await.0, StatusCode::OK);
    assert_eq!(office.call("POST", "/api/v1/policy", "version: 1").await.0, StatusCode::OK);
    let (status, problem) = office.call("POST", "/api/v1/policy", "nonsense").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["diagnostics"], json!([{"code": "E101", "line": 1}]));
    for (revision, status) in [("\"r1 9f3c1ae\"", 200), ("*", 200), ("r2", 412), ("\"r1 0000000\"", 412)] {
        let request = Request::post("/api/v1/policy").header("authorization", format!("Bearer {TOKEN}"));
        let request = request.header("if-match", revision).body(Body::from("version: 1")).expect("well formed");
        assert_eq!(office.send(request).await.0.as_u16(), status, "{revision}");
    }
    for (body, says) in [
        (r#"{"files":[{"name":"../a.yaml","text":"x"}]}"#, "`../a.yaml` is no name of a policy file"),
        (r#"{"files":[{"name":".a.yaml","text":"x"}]}"#, "is no name of a policy file"),
        (r#"{"files":[{"name":"a_test.yaml","text":"x"}]}"#, "is no name of a policy file"),
        (r#"{"files":[{"name":"tenants.csv","text":"x"}]}"#, "is no name of a policy file"),
        (r#"{"files":[{"name":"a.yaml","text":""},{"name":"a.yaml","text":""}]}"#, "`a.yaml` is given twice"),
        (r#"{"files":[]}"#, "there is no policy among the files"),
        ("[]", "the body is no list of files as JSON"),
    ] {
        let request = Request::post("/api/v1/policy").header("authorization", format!("Bearer {TOKEN}"));
        let request = request.header("content-type", "application/json").body(Body::from(body)).expect("well formed");
        let (status, _, text) = office.send(request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn one_call_too_many_is_turned_away_and_health_still_answers() {
    let (open, closed) = std::sync::mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    let office = office_asking(Box::new(move || {
        let _ = closed.lock().expect("no panic elsewhere").recv();
        policy(true)
    }));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..65 {
        let request = Request::get("/api/v1/policy").header("authorization", format!("bearer {TOKEN}"));
        calls.spawn(office.router.clone().oneshot(request.body(Body::empty()).expect("well formed")));
    }
    let mut status = async || calls.join_next().await.expect("a call").expect("its end").expect("an answer").status();
    assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(office.get("/healthz").await.0, StatusCode::OK);
    drop(open);
    for _ in 0..64 {
        assert_eq!(status().await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_listener_answers_on_a_socket_and_ends_when_asked() {
    let office = office();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(serve(listener, None, office.router.clone(), async { drop(stopped.await) }));
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    for path in ["/healthz", "/metrics"] {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.expect("a request");
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(if path == "/healthz" { "ok\n" } else { "# EOF" }) {
            assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "{path}");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
    }
    stop.send(()).expect("a running listener");
    let ended = tokio::time::timeout(Duration::from_secs(5), tasks.join_next()).await;
    assert!(ended.is_ok(), "an idle connection does not hold up the end");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
