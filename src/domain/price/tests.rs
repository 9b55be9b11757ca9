//! The laws of prices.

use proptest::prelude::*;

use super::*;

fn row() -> PriceRow {
    PriceBook::builtin().find("anthropic", "anthropic", "claude-sonnet-4-5").expect("a built-in price").as_ref().clone()
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn found(model: &str) -> Option<String> {
    let book = PriceBook::builtin();
    let (provider, family) = match model {
        model if model.contains("claude") => ("anthropic", "anthropic"),
        model if model.contains("gemini") => ("gemini", "gemini"),
        _ => ("openai", "openai"),
    };
    book.find(provider, family, model).map(|row| row.id.to_string())
}

#[test]
fn the_builtin_table_can_be_read_and_is_sane() {
    let book = PriceBook::builtin();
    assert_eq!(book.as_of(), "2026-11-16");
    assert!(book.rows().count() > 60);
    for row in book.rows() {
        let name = &row.model;
        assert!(row.id.starts_with("builtin@2026-11-16/"), "{name}");
        assert!(row.input > 0 && row.context.is_some() && row.max_output.is_some(), "{name}");
        assert!(row.cached_input <= row.input && row.cache_write >= row.input, "{name}");
        assert!(row.cache_write_1h >= row.cache_write, "{name}");
        assert!((row.output == 0) == (row.max_output == Some(0)), "{name}");
        if row.provider.as_deref() == Some("anthropic") && row.cached_input < row.input {
            assert_eq!(row.cache_write_1h, 2 * row.input, "{name}");
        }
        if let Some(long) = row.long {
            assert!(long.above < row.context.unwrap_or(0) && long.rates.input > row.input, "{name}");
        }
    }
}

#[test]
fn a_dollar_per_million_is_a_million_pico_dollars() {
    let book = PriceBook::builtin();
    let row = book.find("openai", "openai", "gpt-4o").expect("a built-in price");
    assert_eq!((row.input, row.cached_input, row.output), (2_500_000, 1_250_000, 10_000_000));
    assert_eq!(row.cost(&usage(1_000_000, 100_000)), Some(Money::from_nano(3_500_000_000)));
}

#[test]
fn releases_and_aliases_find_their_model() {
    for (model, row) in [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-5.6", "gpt-5.6-sol"),
        ("gpt-4-1106-preview", "gpt-4-turbo"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-2.5-flash-lite-preview-06-17", "gemini-2.5-flash-lite"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
    ] {
        assert_eq!(found(model), Some(format!("builtin@2026-11-16/{row}")), "{model}");
    }
    for model in ["gpt-9", "gpt-4o-audio-preview", "claude", "gemini-2.5-flash-image", "", "-", "é-2024-01-01"] {
        assert_eq!(found(model), None, "{model}");
    }
}

#[test]
fn a_row_of_another_provider_is_not_found() {
    assert!(PriceBook::builtin().find("anthropic", "anthropic", "gpt-4o").is_none());
    assert!(PriceBook::builtin().find("groq", "openai", "gpt-4o").is_some());
}

#[test]
fn every_kind_of_token_is_priced_apart() {
    let usage = Usage {
        input: Some(1_000),
        cached_input: Some(500),
        cache_write: Some(300),
        cache_write_1h: Some(100),
        output: Some(10),
        reasoning: Some(5),
    };
    // 200 × 3 + 500 × 0.30 + 200 × 3.75 + 100 × 6 + 10 × 15 dollars per million.
    assert_eq!(row().cost(&usage), Some(Money::from_nano(2_250_000)));
}

#[test]
fn a_cost_is_rounded_up_once() {
    let tiny =
        PriceRow { input: 1, cached_input: 1, cache_write: 1, cache_write_1h: 1, output: 1, long: None, ..row() };
    assert_eq!(tiny.cost(&usage(1, 1)), Some(Money::from_nano(1)));
    assert_eq!(tiny.cost(&usage(0, 0)), Some(Money::ZERO));
    assert_eq!(tiny.cost(&Usage::default()), Some(Money::ZERO));
}

#[test]
fn a_long_request_costs_more_from_its_first_token() {
    assert_eq!(row().cost(&usage(200_000, 0)), Some(Money::from_nano(600_000_000)));
    assert_eq!(row().cost(&usage(200_001, 0)), Some(Money::from_nano(1_200_006_000)));
}

#[test]
fn parts_that_exceed_the_whole_are_cut_to_it() {
    let absurd = Usage { input: Some(10), cached_input: Some(1_000), cache_write: Some(4), ..Usage::default() };
    // 4 written, 6 read.
    assert_eq!(row().cost(&absurd), Some(Money::from_nano(4 * 3_750 + 6 * 300)));
    let parts_only = Usage { cached_input: Some(10), ..Usage::default() };
    assert_eq!(row().cost(&parts_only), Some(Money::from_nano(3_000)));
}

#[test]
fn what_does_not_fit_has_no_cost() {
    assert_eq!(row().cost(&usage(u64::MAX, u64::MAX)), None);
    assert_eq!(row().bound(u64::MAX, u64::MAX), None);
}

proptest! {
    #[test]
    fn the_bound_is_never_below_the_cost(
        bound in (0_u64..2_000_000, 0_u64..200_000),
        shares in (0_u64..=100, 0_u64..=100),
        parts in (0_u64..2_000_000, 0_u64..2_000_000, 0_u64..2_000_000),
    ) {
        let usage = Usage {
            input: Some(bound.0 * shares.0 / 100),
            output: Some(bound.1 * shares.1 / 100),
            cached_input: Some(parts.0),
            cache_write: Some(parts.1),
            cache_write_1h: Some(parts.2),
            reasoning: None,
        };
        for row in PriceBook::builtin().rows() {
            prop_assert!(row.bound(bound.0, bound.1) >= row.cost(&usage), "{}", row.model);
        }
    }
}

#[test]
fn a_price_file_covers_the_builtin_prices() {
    let text = "version: 1\nas_of: 2026-12-01\nmodels:\n  gpt-4o: { provider: openai, input: 2, output: 8.000001 }\n  \
                house-model: { input: 0.000001, output: 0, aliases: [\"house-*\", ours] }\n";
    let book = PriceBook::builtin().with_yaml("prices.yaml", text).expect("a valid file");
    let row = book.find("openai", "openai", "gpt-4o-2024-05-13").expect("covered");
    assert_eq!(&*row.id, "prices.yaml@2026-12-01/gpt-4o");
    assert_eq!(
        (row.input, row.cached_input, row.cache_write, row.output),
        (2_000_000, 2_000_000, 2_000_000, 8_000_001)
    );
    for model in ["house-model", "house-7", "ours"] {
        assert_eq!(book.find("any", "openai", model).expect("an alias").input, 1);
    }
    assert!(book.find("openai", "openai", "gpt-4o-mini").is_some());
}

#[test]
fn a_broken_price_file_says_where() {
    let error = |text: &str| PriceBook::builtin().with_yaml("p", text).expect_err("a broken file").to_string();
    let one = |row: &str| error(&format!("version: 1\nmodels:\n  m: {row}\n"));
    insta::assert_snapshot!(
        [
            one("{ input: free, output: 1 }"),
            one("{ input: -1, output: 1 }"),
            one("{ input: 1.0000001, output: 1 }"),
            one("{ input: 1 }"),
            one("{ input: 1, output: 1, ouput: 2 }"),
            error("version: 2\nmodels: {}\n"),
            error("models: ["),
        ]
        .join("\n"),
        @r"
    3:15: `free` is not a price; write dollars per million tokens, like `2.50`
    3:15: `-1` is not a price; write dollars per million tokens, like `2.50`
    3:15: `1.0000001` has more than six decimals; prices are dollars per million tokens
    3:8: missing field `output`
    3:29: unknown field `ouput`, expected one of provider, input, cached_input, cache_write, cache_write_1h, output, long, context, max_output, reasoning, tools, vision, aliases
    1:10: `version: 2` is not known; write `version: 1`
    1:9: expected mapping start
    "
    );
}

#[test]
fn a_litellm_file_is_read_exactly() {
    let text = r#"{
        "sample_spec": { "input_cost_per_token": "words", "max_input_tokens": "max input tokens" },
        "azure/gpt-4o": { "litellm_provider": "azure", "input_cost_per_token": 5.46875e-07, "output_cost_per_token": 1e-05,
            "cache_read_input_token_cost": 1.25e-06, "max_input_tokens": 128000, "max_output_tokens": 16384 },
        "gemini/gemini-2.5-pro": { "litellm_provider": "gemini", "input_cost_per_token": 1.25e-06,
            "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token": 1e-05,
            "output_cost_per_token_above_200k_tokens": 1.5e-05, "supports_reasoning": true },
        "claude-x": { "litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
            "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06 },
        "embed": { "litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08 },
        "dall-e-2": { "litellm_provider": "openai", "input_cost_per_pixel": 1.9e-08, "output_cost_per_pixel": 0.0 }
    }"#;
    let book = PriceBook::builtin().with_litellm_json("litellm.json", text).expect("a valid file");
    let azure = book.find("azure", "openai", "gpt-4o").expect("a row");
    assert_eq!((&*azure.id, azure.input, azure.output), ("litellm.json/azure/gpt-4o", 546_875, 10_000_000));
    assert_eq!((azure.context, azure.max_output), (Some(128_000), Some(16_384)));
    assert!(book.find("openai", "openai", "gpt-4o").expect("built in").id.starts_with("builtin@"));
    let gemini = book.find("gemini", "gemini", "models/gemini-2.5-pro").expect("a row");
    assert_eq!(gemini.long.map(|long| (long.above, long.rates.output)), Some((200_000, 15_000_000)));
    let claude = book.find("anthropic", "anthropic", "claude-x-20260101").expect("a row");
    assert_eq!((claude.cache_write, claude.cache_write_1h), (3_750_000, 6_000_000));
    assert_eq!(book.find("openai", "openai", "embed").expect("a row").output, 0);
    assert!(book.find("openai", "openai", "dall-e-2").is_none());
}

#[test]
fn a_broken_litellm_file_says_where() {
    let error = |text: &str| PriceBook::builtin().with_litellm_json("p", text).expect_err("a broken file").to_string();
    insta::assert_snapshot!(
        [
            error("{\n \"m\": {\"input_cost_per_token\": -1, \"output_cost_per_token\": 1}}"),
            error("{\"m\": 7}"),
            error("[]"),
            error("{"),
        ]
        .join("\n"),
        @r"
    2:32: `input_cost_per_token` of `m` is not a price of zero or more: `-1`
    1:7: `m` is not an object of prices
    1:0: not a LiteLLM price file: invalid type: sequence, expected a map
    1:1: not a LiteLLM price file: EOF while parsing an object
    "
    );
}
