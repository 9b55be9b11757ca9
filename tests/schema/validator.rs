//! As much of JSON Schema as our schemas use. A keyword that is not known here fails, so that nothing is passed over.

use serde_json::Value;

use super::pattern::fits;

/// Where and why a value does not fit.
pub(super) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let validator = Validator { definitions: &schema["$defs"] };
    validator.check(schema, value, "", &mut faults);
    faults
}

struct Validator<'s> {
    definitions: &'s Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        let keywords = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return faults.push(format!("{path}: not allowed")),
            schema => schema.as_object().expect("a schema"),
        };
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "$ref" => {
                    let name = rule.as_str().and_then(|name| name.strip_prefix("#/$defs/")).expect("a definition");
                    let definition = self.definitions.get(name).unwrap_or_else(|| panic!("`{name}` is not defined"));
                    self.check(definition, value, path, faults);
                }
                "items" => {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{path}/{at}"), faults);
                    }
                }
                "anyOf" => {
                    let fits = |schema| {
                        let mut found = Vec::new();
                        self.check(schema, value, path, &mut found);
                        found.is_empty()
                    };
                    if !rule.as_array().expect("schemas").iter().any(fits) {
                        faults.push(format!("{path}: {value} fits none of the alternatives"));
                    }
                }
                keyword => faults.extend(plain(keyword, rule, value).into_iter().map(|what| format!("{path}: {what}"))),
            }
        }
        self.properties(schema, value, path, faults);
    }

    fn properties(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        let others = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
        for (name, value) in value.as_object().into_iter().flatten() {
            let known = schema.get("properties").and_then(|known| known.get(name));
            self.check(known.unwrap_or(others), value, &format!("{path}/{name}"), faults);
        }
    }
}

/// What a keyword without schemas of its own says against a value.
fn plain(keyword: &str, rule: &Value, value: &Value) -> Vec<String> {
    let fault = match keyword {
        "$schema" | "$defs" | "title" | "description" | "examples" | "properties" | "additionalProperties" => None,
        "type" => {
            let types = rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice);
            let is_one = types.iter().any(|one| is_of(value, one.as_str().expect("a type")));
            (!is_one).then(|| format!("{value} is not of type {rule}"))
        }
        "enum" => (!rule.as_array().expect("values").contains(value)).then(|| format!("{value} is none of {rule}")),
        "pattern" => {
            let is_wrong = value.as_str().is_some_and(|text| !fits(rule.as_str().expect("a pattern"), text));
            is_wrong.then(|| format!("{value} does not fit {rule}"))
        }
        "minimum" => (value.as_f64() < rule.as_f64() && value.is_number()).then(|| format!("{value} is below {rule}")),
        "required" => {
            let names = rule.as_array().expect("names").iter().filter_map(Value::as_str);
            let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
            return missing.map(|name| format!("`{name}` is missing")).collect();
        }
        other => panic!("the keyword `{other}` is not known here"),
    };
    fault.into_iter().collect()
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type `{other}` is not known here"),
    }
}

#[test]
fn the_validator_sees_what_does_not_fit() {
    let schema = serde_json::json!({
        "$ref": "#/$defs/a",
        "$defs": { "a": {
            "type": "object",
            "required": ["x"],
            "properties": { "x": { "enum": [1, 2] }, "y": { "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "boolean" }] } },
            "additionalProperties": false,
        } },
    });
    let count = |value| faults(&schema, &value).len();
    assert_eq!(count(serde_json::json!({ "x": 1, "y": ["a"] })), 0);
    assert_eq!(count(serde_json::json!({ "x": 3, "y": [1], "z": 0 })), 3);
    assert_eq!(count(serde_json::json!({ "y": true })), 1);
    assert_eq!(count(serde_json::json!([])), 1);
}
