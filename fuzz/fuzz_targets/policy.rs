//! Whatever a policy file holds: it compiles, or every error has its place; nothing panics, nothing hangs. The same text is read as
//! `tenants.csv` too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll::diagnostic::{Source, render};
use plimsoll::directory::Directory;
use plimsoll::domain::clock::Timestamp;
use plimsoll::policy::advice::{Around, Text, advise};
use plimsoll::policy::{ModelFacts, Surroundings, compile};

fn prices(model: &str) -> Option<ModelFacts> {
    let input_pico = u64::try_from(model.len()).ok()? * 100_000;
    let provider = model.split('-').next().map(str::to_owned);
    Some(ModelFacts { input_pico, output_pico: input_pico * 4, provider, reasoning: model.contains('o') })
}

fuzz_target!(|text: &str| {
    // 2026-11-25, so that dates in the seeds lie on both sides.
    let now = Timestamp::from_micros(1_795_608_000_000_000);
    let targets = ["finance".to_owned()];
    let sources = [Source::new("policy.yaml", text)];
    let around = Surroundings { prices: &prices, price_table: "fuzzed", notify_targets: &targets, now };
    let compiled = compile(&sources, &around);
    let lines = text.lines().count() + 1;
    for diagnostic in &compiled.diagnostics {
        let place = diagnostic.place.as_ref().expect("every diagnostic of a policy has a place");
        assert!(usize::try_from(place.line).is_ok_and(|line| line <= lines), "{}", diagnostic.one_line());
    }
    let _ = render(&compiled.diagnostics, &sources);
    if let Some(policy) = &compiled.policy {
        let _ = advise(&Text::of(&sources), &Around { policy, prices: &prices, tenants: &[], seen: None });
    }
    let (_, diagnostics) = Directory::parse(&Source::new("tenants.csv", text), None);
    assert!(diagnostics.iter().all(|one| one.place.is_some()));
});
