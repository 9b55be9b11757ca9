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
fn every_mistake_is_told_at_once_with_its_place_and_a_hint() {
    insta::assert_snapshot!(mistakes("listne: 127.0.0.1:0\nlimits: { body: big, header_timeout: 0 s, idle: 1 }\nopen: yes\n"), @"");
    insta::assert_snapshot!(mistakes("listen: [1]\nadmin: { listen: here, token: short }\nledger: postgres://x\nrates: redis\n"), @"");
    insta::assert_snapshot!(mistakes("listen: 127.0.0.1:0\nlisten: 127.0.0.1:1\n"), @"");
    insta::assert_snapshot!(mistakes("admin: { token: \"${NOT_SET}\" }\nproviders:\n  openai: { dialect: opnai, base_url: \"ftp://x\", api_key: \"${ALSO_NOT_SET}\" }\n"), @"");
    insta::assert_snapshot!(mistakes("tls: { cert: none.pem, key: none.key }\nprices: [none.yaml]\n"), @"");
    insta::assert_snapshot!(mistakes("keys:\n  - { name: a, secret: short, tenants: any }\n  - { name: b, tenant: globex }\n  - { name: c, sha256: abc, tenant: t, tenants: any }\nproviders:\n  v1: { dialect: openai, base_url: \"https://x\" }\n  groq: { dialect: openai, base_url: \"https://api.groq.com\" }\n"), @"");
    insta::assert_snapshot!(mistakes("listen: 0.0.0.0:4180\nadmin: { listen: 0.0.0.0:4181 }\n"), @"");
    insta::assert_snapshot!(mistakes("listen: \"127.0.0.1\n"), @"");
    insta::assert_snapshot!(mistakes("- listen\n"), @"");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let Err(broken) = Settings::load(Some(std::path::Path::new("/nowhere/plimsoll.yaml")), &|_| None) else {
        panic!("there is no such file")
    };
    let line = broken.diagnostics[0].one_line();
    assert!(line.starts_with("error[E001]: `/nowhere/plimsoll.yaml` cannot be read"), "{line}");
}
