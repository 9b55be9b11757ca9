//! Tables as a JSON Schema (draft 2020-12), for editors.

use serde_json::{Map as Object, Value, json};

use super::{Grammar, Map, Shape, grammars, maps};

/// The schema of a file whose outermost map is `root`.
pub fn json_schema(root: &'static Map) -> Value {
    let mut definitions = Object::new();
    for map in maps(root) {
        definitions.insert(anchor(map.name), map_schema(map));
    }
    for grammar in grammars(root) {
        definitions.insert(anchor(grammar.name), grammar_schema(grammar));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Plimsoll: {}", root.name),
        "$ref": reference(root.name),
        "$defs": definitions,
    })
}

fn anchor(name: &str) -> String {
    name.replace(' ', "_")
}

fn reference(name: &str) -> String {
    format!("#/$defs/{}", anchor(name))
}

fn map_schema(map: &Map) -> Value {
    let mut properties = Object::new();
    for key in map.keys() {
        let mut schema = shape_schema(key.shape);
        schema["description"] = Value::from(key.says);
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<&str> = map.keys().filter(|key| key.required).map(|key| key.name).collect();
    let others = map.others.map_or(Value::Bool(false), |(_, shape)| shape_schema(shape));
    let mut schema = json!({
        "type": "object",
        "description": map.says,
        "properties": properties,
        "additionalProperties": others,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn grammar_schema(grammar: &Grammar) -> Value {
    let Some(pattern) = grammar.pattern else {
        // An identifier or a reason may look like a number or a date to YAML; the reader takes the text as it is written.
        return json!({ "type": ["string", "number"], "description": grammar.says, "examples": grammar.examples });
    };
    json!({ "type": "string", "pattern": pattern, "description": grammar.says, "examples": grammar.examples })
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::Text(grammar) => json!({ "$ref": reference(grammar.name) }),
        Shape::Integer => json!({ "type": "integer", "minimum": 0 }),
        Shape::Number => json!({ "type": "number", "minimum": 0 }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::OneOf(numbers) => json!({ "enum": numbers }),
        Shape::List(item) => {
            let item = shape_schema(*item);
            json!({ "anyOf": [{ "type": "array", "items": item }, item] })
        }
        Shape::Map(map) => json!({ "$ref": reference(map.name) }),
        // A section whose entries are all commented out is nothing.
        Shape::Named(_, item) => json!({ "type": ["object", "null"], "additionalProperties": shape_schema(*item) }),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().copied().map(shape_schema).collect::<Vec<_>>() })
        }
    }
}
