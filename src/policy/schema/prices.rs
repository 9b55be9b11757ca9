//! `prices.yaml`.

use super::grammar::TEXT;
use super::{Grammar, Key, Map, Shape};

/// How old prices are is for people to judge: nothing reckons with it.
static DAY: Grammar = Grammar { name: "date", says: "Year, month, day.", examples: &["2026-11-16"], pattern: None };

const PER_MILLION: &[Key] = &[
    Key::required("input", Shape::Number, "Dollars per million input tokens."),
    Key::new("cached_input", Shape::Number, "Of input read from the provider's cache; as `input` when absent."),
    Key::new("cache_write", Shape::Number, "Of input written to the provider's cache; as `input` when absent."),
    Key::new("cache_write_1h", Shape::Number, "Of input kept there for an hour; as `cache_write` when absent."),
    Key::required("output", Shape::Number, "Dollars per million output tokens, reasoning included."),
];

static LONG: Map = Map {
    name: "long",
    says: "Other prices for long inputs.",
    keys: &[&[Key::required("above", Shape::Integer, "For inputs of more tokens than this.")], PER_MILLION],
    others: None,
};

static MODEL: Map = Map {
    name: "model",
    says: "The price of one model.",
    keys: &[
        &[Key::new(
            "provider",
            Shape::Text(&TEXT),
            "Who serves it: a name or a dialect of plimsoll.yaml; anybody when absent.",
        )],
        PER_MILLION,
        &[
            Key::new("long", Shape::Map(&LONG), "Other prices for long inputs."),
            Key::new("context", Shape::Integer, "The largest input, in tokens."),
            Key::new("max_output", Shape::Integer, "The largest output, in tokens."),
            Key::new("reasoning", Shape::Boolean, "Whether it reasons before it answers."),
            Key::new(
                "tools",
                Shape::Boolean,
                "Whether it can use tools; nothing is said when absent, and a route may lead to it.",
            ),
            Key::new("vision", Shape::Boolean, "Whether it can see images; likewise."),
            Key::new("aliases", Shape::List(&Shape::Text(&TEXT)), "Other names, with `*` for any text."),
        ],
    ],
    others: None,
};

/// A price file.
pub static PRICES: Map = Map {
    name: "prices",
    says: "Prices of models in dollars per million tokens, laid over the built-in table.",
    keys: &[&[
        Key::required("version", Shape::OneOf(&[1]), "The version of the form."),
        Key::new("as_of", Shape::Text(&DAY), "The day of the prices."),
        Key::required("models", Shape::Named("gpt-4o", &Shape::Map(&MODEL)), "Prices, by model."),
    ]],
    others: None,
};
