//! Diagnostics as a SARIF 2.1.0 log, for code scanning and editors.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Diagnostic, Place, github};

/// A log of one run. `title` names a code in a few words; `version` is that of the program.
pub fn sarif(diagnostics: &[Diagnostic], title: &dyn Fn(&str) -> Option<&'static str>, version: &str) -> Value {
    let mut codes: Vec<&'static str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<Value> = codes.iter().map(|code| rule(code, title(code))).collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| result(diagnostic, codes.binary_search(&diagnostic.code).unwrap_or_default()))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "plimsoll", "version": version, "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: &str, title: Option<&str>) -> Value {
    let level = if code.starts_with('W') { "warning" } else { "error" };
    json!({
        "id": code,
        "shortDescription": { "text": title.unwrap_or(code) },
        "help": { "text": format!("`plimsoll explain {code}` says what it means, with a wrong and a right example.") },
        "defaultConfiguration": { "level": level },
    })
}

fn result(diagnostic: &Diagnostic, rule: usize) -> Value {
    let mut result = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity.as_str(),
        "message": { "text": github::text(diagnostic) },
    });
    if let Some(place) = &diagnostic.place {
        result["locations"] = json!([{ "physicalLocation": location(place) }]);
    }
    if !diagnostic.related.is_empty() {
        let related = diagnostic.related.iter().zip(1..).map(|((place, label), id)| {
            json!({ "id": id, "physicalLocation": location(place), "message": { "text": label } })
        });
        result["relatedLocations"] = related.collect();
    }
    result
}

fn location(place: &Place) -> Value {
    json!({
        "artifactLocation": { "uri": uri(&place.file) },
        "region": {
            "startLine": place.line,
            "startColumn": place.column,
            "endColumn": place.column.saturating_add(place.length.max(1)),
        },
    })
}

/// A relative path as a URI reference (RFC 3986): what is not allowed in a path is written as `%XX`.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_result_names_its_rule_its_region_and_what_explains_it() {
        let place = |line, file: &str| Place { file: Arc::from(file), line, column: 17, length: 8 };
        let wrong = Diagnostic::error("E131", "escalation `standrad` is not defined")
            .at(&place(31, "my policies/a.yaml"), "used here")
            .see(&place(53, "my policies/b.yaml"), "a similar name is defined here");
        let log = sarif(&[Diagnostic::warning("W231", "unlisted"), wrong], &|_| Some("a title"), "0.1.0");
        let run = &log["runs"][0];
        assert_eq!((&log["version"], &run["tool"]["driver"]["rules"][0]["id"]), (&json!("2.1.0"), &json!("E131")));
        assert_eq!((&run["results"][0]["ruleIndex"], run["results"][0].get("locations")), (&json!(1), None));
        let result = &run["results"][1];
        assert_eq!((&result["ruleIndex"], &result["level"]), (&json!(0), &json!("error")));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "my%20policies/a.yaml");
        assert_eq!(place["region"], json!({ "startLine": 31, "startColumn": 17, "endColumn": 25 }));
        assert_eq!(result["relatedLocations"][0]["physicalLocation"]["region"]["startLine"], 53);
    }
}
