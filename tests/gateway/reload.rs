//! A new policy: by the file system's ways of replacing a file, and by the admin API.

use std::fs;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::json;

use super::{chat, hard, plain, under, with};
use crate::harness::{ADMIN_TOKEN, Reply, Rig, send};

/// The running revision's number and how the last load went.
async fn running(rig: &Rig) -> String {
    let reply = rig.chat("globex", "a", &chat("hello")).await;
    reply.header("plimsoll-policy").split(' ').next().unwrap_or_default().to_owned()
}

/// Waits for a revision, which must be in force within a second.
async fn in_force(rig: &Rig, revision: &str) {
    let waiting = async {
        while running(rig).await != revision {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("in force within a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_renamed_into_place_is_in_force_within_a_second() {
    let rig = under(&hard("$1/month")).await;
    assert_eq!(running(&rig).await, "r1");
    let fresh = rig.folder.path().join("policy.fresh");
    fs::write(&fresh, hard("$2/month")).expect("a policy");
    fs::rename(&fresh, rig.policy_file()).expect("a rename");
    in_force(&rig, "r2").await;
    // The same again is no new revision, and a deleted folder's file is an empty policy.
    fs::write(rig.policy_file(), hard("$2/month")).expect("a policy");
    fs::write(rig.policy_file(), hard("$3/month")).expect("a policy");
    in_force(&rig, "r3").await;
    rig.stop().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_config_map_that_flips_its_link_is_in_force_within_a_second() {
    use std::os::unix::fs::symlink;
    let rig = plain().await;
    let policies = rig.folder.path().join("policies");
    let version = |name: &str, limit: &str| {
        let folder = policies.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("policy.yaml"), hard(limit)).expect("a policy");
    };
    version("..2026_1", "$1/month");
    symlink("..2026_1", policies.join("..data")).expect("a link");
    symlink("..data/policy.yaml", policies.join("policy.yaml")).expect("a link");
    in_force(&rig, "r2").await;
    version("..2026_2", "$2/month");
    symlink("..2026_2", policies.join("..data_tmp")).expect("a link");
    fs::rename(policies.join("..data_tmp"), policies.join("..data")).expect("a flip");
    in_force(&rig, "r3").await;
    fs::remove_dir_all(policies.join("..2026_1")).expect("the old version's end");
    assert_eq!(rig.admin("/api/v1/policy").await.json()["last_reload"]["ok"], true);
    rig.stop().await;
}

async fn apply(rig: &Rig, text: &str) -> Reply {
    let request = Request::post("/api/v1/policy").header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    send(rig.node.admin_address(), with(request, text.to_owned())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_posted_policy_is_applied_whole_or_refused_whole() {
    let rig = under(&hard("$1/month")).await;
    let reply = apply(&rig, &hard("$2/month")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(reply.json()["revision"].as_str().is_some_and(|revision| revision.starts_with("r2 ")), "{}", reply.text());
    assert_eq!(fs::read_to_string(rig.policy_file()).expect("a file"), hard("$2/month"));
    assert_eq!(running(&rig).await, "r2");

    let bad = hard("$3/month").replace("limit:", "limits:").replace("at: 100%", "at: soon");
    let reply = apply(&rig, &bad).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text());
    let diagnostics = reply.json()["diagnostics"].as_array().cloned().expect("diagnostics");
    assert!(diagnostics.len() >= 2, "{diagnostics:?}");
    let unknown = diagnostics.iter().find(|fault| fault["code"] == "E104").expect("an unknown key");
    assert_eq!(unknown["place"]["line"], 4, "{unknown}");
    assert!(unknown["help"].to_string().contains("`limit`"), "{unknown}");
    assert_eq!(fs::read_to_string(rig.policy_file()).expect("a file"), hard("$2/month"));
    let policy = rig.admin("/api/v1/policy").await.json();
    assert_eq!(policy["last_reload"]["ok"], false, "{policy}");
    assert_eq!(running(&rig).await, "r2");

    // An empty body reads the directory again, and wipes the memory of the refusal.
    let reply = apply(&rig, "").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.json()["last_reload"]["ok"], json!(true));
    rig.stop().await;
}
