//! A broken boot file: every mistake at once, each with its place and what would fix it.

use std::fs;

use plimsoll::config::Settings;
use plimsoll::diagnostic::{render, sort};

/// One line per mistake of `plimsoll.yaml`, the folder's name taken out.
fn mistakes(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("plimsoll.yaml");
    fs::write(&file, text).expect("a file");
    let environment = |name: &str| (name == "SET").then(|| "a-secret-from-the-environment".to_owned());
    let Err(mut broken) = Settings::load(Some(&file), &environment) else { return "no mistakes".to_owned() };
    sort(&mut broken.diagnostics);
    let rendered = render(&broken.diagnostics, &broken.sources);
    for fault in &broken.diagnostics {
        assert!(rendered.contains(fault.code), "{rendered}");
    }
    let lines: Vec<String> = broken.diagnostics.iter().map(plimsoll::diagnostic::Diagnostic::one_line).collect();
    lines.join("\n").replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_sound_file_has_no_mistakes() {
    let text = "listen: 127.0.0.1:0\nadmin: { token: \"${SET}\" }\nkeys:\n  - { name: backend, secret: \"${SET}\", tenants: any }\n";
    assert_eq!(mistakes(text), "no mistakes");
    assert_eq!(mistakes(""), "no mistakes");
}

#[test]
fn an_unknown_key_or_a_value_of_the_wrong_type() {
    let found = mistakes(
        r"
listne: 127.0.0.1:0
limits: { body: big, header_timeout: 0 s, idle: 1 }
open: yes
"
        .trim_start(),
    );
    insta::assert_snapshot!(found, @r"
    plimsoll.yaml:1:1: error[E104]: unknown key `listne` in the configuration (did you mean `listen`?)
    plimsoll.yaml:2:17: error[E026]: `big` is not a size (write `32 MiB`)
    plimsoll.yaml:2:38: error[E027]: `0 s` is not a duration between 1 ms and a day (write `10 s`)
    plimsoll.yaml:2:43: error[E104]: unknown key `idle` in `limits`
    plimsoll.yaml:3:7: error[E106]: `open` must be `true` or `false`
    ");
}

#[test]
fn a_replay_without_end_or_of_no_size() {
    insta::assert_snapshot!(mistakes("replay: { keep: 2 days, memory: much, for: all }\n"), @r"
    plimsoll.yaml:1:17: error[E027]: `2 days` is not a duration between 1 ms and a day (write `10 s`)
    plimsoll.yaml:1:33: error[E026]: `much` is not a size (write `32 MiB`)
    plimsoll.yaml:1:39: error[E104]: unknown key `for` in `replay`
    ");
    insta::assert_snapshot!(mistakes("replay: yes\n"), @"plimsoll.yaml:1:9: error[E106]: `replay` must be keys with values");
    assert_eq!(mistakes("replay: {}\n"), "no mistakes");
    assert_eq!(mistakes("replay: { keep: 1 hour, memory: 1 GiB }\n"), "no mistakes");
}

#[test]
fn an_address_a_token_a_ledger_and_a_word_that_are_none() {
    let found = mistakes(
        r"
listen: [1]
admin: { listen: here, token: short }
ledger: postgres://x
rates: redis
"
        .trim_start(),
    );
    insta::assert_snapshot!(found, @r"
    plimsoll.yaml:1:9: error[E106]: `listen` must be a single value
    plimsoll.yaml:2:18: error[E012]: `here` is not an address and port (write `127.0.0.1:4181`)
    plimsoll.yaml:2:31: error[E013]: `admin.token` has fewer than 16 characters (leave it out: a random one is made and printed once)
    plimsoll.yaml:3:9: error[E014]: only the embedded ledger is supported yet (write `sqlite://plimsoll.db`)
    plimsoll.yaml:4:8: error[E111]: `redis` is not a value of `rates`
    ");
}

#[test]
fn a_key_that_is_given_twice() {
    let found = mistakes(
        r"
listen: 127.0.0.1:0
listen: 127.0.0.1:1
"
        .trim_start(),
    );
    insta::assert_snapshot!(found, @"plimsoll.yaml:2:1: error[E103]: `listen` is given twice (keep one of the two)");
}

#[test]
fn a_variable_that_is_not_set_is_told_without_its_consequences() {
    let found = mistakes(
        r#"
admin: { token: "${NOT_SET}" }
providers:
  openai: { dialect: opnai, base_url: "${ALSO_NOT_SET}", api_key: "${SET}" }
  groq: { dialect: openai, base_url: "ftp://x" }
"#
        .trim_start(),
    );
    insta::assert_snapshot!(found, @r"
    plimsoll.yaml:1:17: error[E025]: the environment variable `NOT_SET` is not set (export NOT_SET=…)
    plimsoll.yaml:3:22: error[E111]: `opnai` is not a value of `dialect` (did you mean `openai`?)
    plimsoll.yaml:3:39: error[E025]: the environment variable `ALSO_NOT_SET` is not set (export ALSO_NOT_SET=…)
    plimsoll.yaml:4:38: error[E031]: `ftp://x` must begin with `https://` or `http://`
    ");
}

#[test]
fn a_file_that_is_missing() {
    let found = mistakes(
        r"
tls: { cert: none.pem, key: none.key }
prices: [none.yaml]
"
        .trim_start(),
    );
    insta::assert_snapshot!(found, @r"
    plimsoll.yaml:1:14: error[E001]: `none.pem` does not exist
    plimsoll.yaml:1:29: error[E001]: `none.key` does not exist
    plimsoll.yaml:2:10: error[E001]: `none.yaml` cannot be read: No such file or directory (os error 2)
    ");
}

#[test]
fn keys_that_say_too_little_or_too_much() {
    let found = mistakes(
        r#"
keys:
  - { name: a, secret: short, tenants: any }
  - { name: b, tenant: globex }
  - { name: c, sha256: abc, tenant: t, tenants: any }
providers:
  v1: { dialect: openai, base_url: "https://x" }
  groq: { dialect: openai, base_url: "https://api.groq.com" }
"#
        .trim_start(),
    );
    insta::assert_snapshot!(found, @r#"
    plimsoll.yaml:2:24: error[E013]: this secret has fewer than 16 characters (make one with `plimsoll keys new NAME --any`)
    plimsoll.yaml:3:7: error[E017]: a key has either `secret` or `sha256`
    plimsoll.yaml:4:7: error[E018]: a key has either `tenant: NAME` or `tenants: any`
    plimsoll.yaml:4:24: error[E019]: `sha256` is not 64 hexadecimal digits (paste the line that `plimsoll keys new` prints)
    plimsoll.yaml:6:3: error[E030]: `v1` cannot name a provider (use lower-case letters, digits, `-` and `_`)
    plimsoll.yaml:7:11: error[E032]: provider `groq` has no `api_key` (add `api_key: "${GROQ_API_KEY}"`)
    "#);
}

#[test]
fn a_listener_that_other_machines_reach_unprotected() {
    let found = mistakes(
        r"
listen: 0.0.0.0:4180
admin: { listen: 0.0.0.0:4181 }
"
        .trim_start(),
    );
    insta::assert_snapshot!(found, @r"
    plimsoll.yaml:1:9: error[E011]: `listen` is not a loopback address and is not protected (add `keys:`, or say `open: true` if anybody may call)
    plimsoll.yaml:2:10: error[E011]: `admin.listen` is not a loopback address and is not protected (give it `tls:` and `admin.token`)
    ");
}

#[test]
fn what_is_no_yaml_or_no_map() {
    assert_eq!(mistakes("- listen\n"), "plimsoll.yaml:1:1: error[E106]: the configuration must be keys with values");
    let found = mistakes(
        r#"
listen: "127.0.0.1
"#
        .trim_start(),
    );
    insta::assert_snapshot!(found, @"plimsoll.yaml:1:9: error[E101]: not valid YAML: unclosed quote");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let Err(broken) = Settings::load(Some(std::path::Path::new("/nowhere/plimsoll.yaml")), &|_| None) else {
        panic!("there is no such file")
    };
    let line = broken.diagnostics[0].one_line();
    assert!(line.starts_with("error[E001]: `/nowhere/plimsoll.yaml` cannot be read"), "{line}");
}
