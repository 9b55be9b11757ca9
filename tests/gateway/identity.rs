//! Who calls, for whom, and what of that the provider learns: nothing.

use http::StatusCode;
use serde_json::Value;

use super::{CHAT, anonymous, chat, each_dialect, plain, post, reason, row, with};
use crate::harness::{KEY, Rig, Setup};

const BOUND: &str = "test-key-bound-to-globex";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_key_that_names_another_tenant_is_refused_and_both_are_named() {
    let rig = plain().await;
    let classes = ["tenant_mismatch", "permission_error", "PERMISSION_DENIED"];
    for ((path, body), class) in each_dialect("hello").into_iter().zip(classes) {
        let request = anonymous(path).header("authorization", format!("Bearer {BOUND}"));
        let reply = rig.send(with(request.header("plimsoll-tenant-id", "acme-corp"), body)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(reason(path, &reply), ("tenant_mismatch".to_owned(), class.to_owned()), "{}", reply.text());
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("`globex`") && message.contains("`acme-corp`"), "{message}");
        let id = reply.header("plimsoll-request-id");
        assert!(id.starts_with("req_") && message.contains(id), "{message}");
        assert_eq!((reply.header("x-request-id"), reply.header("request-id")), (id, id));
        assert_eq!(reply.header("x-should-retry"), "false");
    }
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_a_known_key_is_refused() {
    let rig = plain().await;
    let classes = ["invalid_api_key", "authentication_error", "UNAUTHENTICATED"];
    for key in [None, Some("Bearer sk-somebody-elses-key-0000"), Some("Basic dGVzdA=="), Some("Bearer plim_short")] {
        for ((path, body), class) in each_dialect("hello").into_iter().zip(classes) {
            let mut request = anonymous(path);
            if let Some(key) = key {
                request = request.header("authorization", key);
            }
            let reply = rig.send(with(request, body)).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path} {key:?}");
            assert_eq!(reason(path, &reply), ("unauthorized".to_owned(), class.to_owned()), "{}", reply.text());
        }
    }
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_found_wherever_an_sdk_puts_it_and_never_goes_upstream() {
    let rig = plain().await;
    for (path, body) in each_dialect("hello") {
        let own = match path {
            CHAT => ("authorization", "Bearer sk-provider-secret"),
            super::MESSAGES => ("x-api-key", "sk-provider-secret"),
            _ => ("x-goog-api-key", "sk-provider-secret"),
        };
        for place in ["authorization", "x-api-key", "x-goog-api-key", "?key="] {
            let request = match place {
                "?key=" => anonymous(&format!("{path}?a=1&key={KEY}&b=2")),
                "authorization" => anonymous(path).header(place, format!("Bearer {KEY}")),
                _ => anonymous(path).header(place, KEY),
            };
            let reply = rig.send(with(request.header("plimsoll-tenant-id", "globex"), body.clone())).await;
            assert_eq!(reply.status, StatusCode::OK, "{place}: {}", reply.text());
            let seen = rig.provider.requests().pop().expect("a forwarded request");
            let headers = format!("{:?} {}", seen.headers, seen.path);
            assert!(!headers.contains(KEY), "{place}: {headers}");
            assert_eq!(seen.headers.get(own.0).expect("a credential"), own.1, "{place}");
            if place == "?key=" {
                assert!(seen.path.ends_with("?a=1&b=2"), "{}", seen.path);
            }
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_our_side_reaches_the_provider_and_everything_else_does() {
    let rig = Rig::start(Setup {
        config: "attribution: { accept_aliases: [x-litellm-customer-id], baggage: true }\n",
        ..Setup::default()
    })
    .await;
    let ours = [
        ("x-api-key", "sk-callers-own"),
        ("x-goog-api-key", "sk-callers-own"),
        ("api-key", "sk-callers-own"),
        ("plimsoll-user-id", "secret-user"),
        ("plimsoll-attr-team", "secret-team"),
        ("plimsoll-unknown", "secret"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-host", "secret.example.com"),
        ("forwarded", "for=10.1.2.3"),
        ("x-real-ip", "10.1.2.3"),
        ("x-http-method-override", "GET"),
        ("x-litellm-customer-id", "globex"),
        ("baggage", "tenant.id=globex"),
        ("connection", "x-hop"),
        ("x-hop", "secret-hop"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic secret"),
        ("keep-alive", "timeout=5"),
    ];
    let theirs =
        [("openai-organization", "org-1"), ("user-agent", "sdk/1"), ("traceparent", "00-1-2-01"), ("x-odd", "a, b")];
    let mut request = post(CHAT);
    for (name, value) in ours.iter().chain(&theirs) {
        request = request.header(*name, *value);
    }
    let reply = rig.send(with(request, chat("hello").to_string())).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let two = post(CHAT).header("x-litellm-customer-id", "initech");
    let refused = rig.send(with(two, chat("hello").to_string())).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "two names for one tenant are not settled silently");
    assert!(refused.text().contains("`globex`") && refused.text().contains("`initech`"), "{}", refused.text());
    let seen = rig.provider.requests().pop().expect("a forwarded request");
    for (name, _) in ours {
        assert!(!seen.headers.contains_key(name), "{name} went upstream");
    }
    let all = format!("{:?}", seen.headers);
    assert!(!all.contains("plimsoll") && !all.contains("globex") && !all.contains(KEY), "{all}");
    assert_eq!(seen.headers["authorization"], "Bearer sk-provider-secret");
    assert_eq!(seen.headers["host"].to_str().ok(), rig.provider.base_url().strip_prefix("http://"));
    for (name, value) in theirs {
        assert_eq!(seen.headers.get(name).map(http::HeaderValue::as_bytes), Some(value.as_bytes()), "{name}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_come_in_headers_or_in_the_path_and_land_in_the_row() {
    let rig = plain().await;
    let prefix = "/@endpointTag=support.reply;promptVersion=support_v9;tenantId=globex";
    let request = anonymous(&format!("{prefix}{CHAT}")).header("authorization", format!("Bearer {KEY}"));
    let reply = rig.send(with(request, chat("hello").to_string())).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(rig.provider.requests()[0].path, "/v1/chat/completions");
    let from_path = row(&rig, reply.header("plimsoll-request-id")).await;
    let both = anonymous(&format!("/@endpointTag=path.tag;promptVersion=support_v9{CHAT}"))
        .header("authorization", format!("Bearer {BOUND}"))
        .header("plimsoll-endpoint-tag", "support.reply");
    let reply = rig.send(with(both, chat("hello").to_string())).await;
    let from_header = row(&rig, reply.header("plimsoll-request-id")).await;
    for found in [from_path, from_header] {
        assert_eq!(found["tenantId"], "globex");
        assert_eq!(found["endpointTag"], "support.reply");
        assert_eq!(found["promptVersion"], "support_v9");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_value_of_a_dimension_is_marked_and_warned_of_but_passes() {
    let rig = plain().await;
    let cases = [
        ("plimsoll-data-mode", "prod", "dataMode", "data-mode \"prod\" is not real|test|demo"),
        ("plimsoll-environment", "qa", "environment", "environment \"qa\" is not prod|staging|dev"),
        ("plimsoll-endpoint-tag", "a b", "endpointTag", "endpoint-tag \"ab\" is not 1 to 128 plain visible characters"),
    ];
    for (header, value, field, warning) in cases {
        let reply = rig.send(with(post(CHAT).header(header, value), chat("hello").to_string())).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("plimsoll-warning"), warning);
        assert_eq!(row(&rig, reply.header("plimsoll-request-id")).await[field], "_invalid", "{header}");
    }
    let reply = rig.send(with(post(CHAT), chat("hello").to_string())).await;
    assert!(!reply.headers.contains_key("plimsoll-warning"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_gateway_keys_the_callers_own_credential_goes_upstream_untouched() {
    let rig = Rig::start(Setup { keys: false, ..Setup::default() }).await;
    for (name, value) in [("authorization", "Bearer sk-callers-own"), ("x-api-key", "k"), ("x-goog-api-key", "k")] {
        let request = anonymous(CHAT).header(name, value).header("plimsoll-tenant-id", "globex");
        let reply = rig.send(with(request, chat("hello").to_string())).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        let seen = rig.provider.requests().pop().expect("a forwarded request");
        assert_eq!(seen.headers[name], value);
        assert!(!seen.headers.contains_key("plimsoll-tenant-id"));
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!((&found["tenantId"], &found["key_name"]), (&"globex".into(), &Value::Null));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_sees_its_own_quota_and_requests_and_nobody_elses() {
    let rig = super::under(&super::hard("$0.05/month")).await;
    let paid = rig.chat("globex", "support.reply", &chat("[[tokens=2000]]")).await;
    let other = rig.chat("acme-corp", "support.reply", &chat("hello")).await;
    let (paid, other) = (paid.header("plimsoll-request-id").to_owned(), other.header("plimsoll-request-id").to_owned());
    for id in [&paid, &other] {
        row(&rig, id).await;
    }
    let ask = async |path: &str, key: &str| {
        let request = http::Request::get(path).header("authorization", format!("Bearer {key}"));
        rig.send(with(request, "")).await
    };
    let quota = ask("/plimsoll/v1/quota", BOUND).await;
    assert_eq!(quota.status, StatusCode::OK, "{}", quota.text());
    let budget = quota.json()["budgets"][0].clone();
    assert_eq!(
        (&budget["budget"], &budget["state"], &budget["used_percent"]),
        (&"all".into(), &"ok".into(), &40.into())
    );
    assert!(!quota.text().contains("usd") && !quota.text().contains('$'), "{}", quota.text());
    let own = ask(&format!("/plimsoll/v1/requests/{paid}"), BOUND).await;
    assert_eq!(own.json()["attempts"][0]["output_tokens"], 2_000, "{}", own.text());
    for path in [&format!("/plimsoll/v1/requests/{other}"), "/plimsoll/v1/requests/req_none", "/plimsoll/v1/x"] {
        assert_eq!(ask(path, BOUND).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(ask("/plimsoll/v1/quota", "not-a-key-of-anybody").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.provider.requests().len(), 2);
    rig.stop().await;
}
