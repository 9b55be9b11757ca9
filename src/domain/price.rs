//! The tariff: what a provider asks per token, dated, in pico-dollars.
