//! Money as integers: C14, C15.

use plimsoll::domain::money::Money;
use plimsoll::domain::price::{PriceBook, PriceRow};
use plimsoll::domain::standing::Unit;
use plimsoll::domain::usage::Usage;
use plimsoll::domain::window::Window;
use plimsoll::meter::counter::WindowCounter;
use plimsoll::meter::reservation::{Ask, reserve};
use proptest::prelude::*;

/// A price of so many pico-dollars per token.
fn priced(input: u64, output: u64) -> PriceRow {
    let row = PriceBook::builtin().find("openai", "openai", "gpt-4o").expect("a built-in price").as_ref().clone();
    PriceRow { input, cached_input: input, cache_write: input, cache_write_1h: input, output, long: None, ..row }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

/// The cost by the book: pico-dollars, rounded up to nano-dollars once. `None`: more than 2⁶³ - 1 of them.
fn oracle(parts: [(u64, u64); 2]) -> Option<i64> {
    let product = |(tokens, price): (u64, u64)| i128::from(tokens).checked_mul(i128::from(price));
    let pico = product(parts[0])?.checked_add(product(parts[1])?)?;
    i64::try_from(pico.checked_add(999)? / 1_000).ok()
}

/// Numbers of every magnitude, so that products lie on both sides of the end of the range.
fn any_magnitude() -> impl Strategy<Value = u64> {
    (0_u32..64, any::<u64>()).prop_map(|(shift, number)| number >> shift)
}

proptest! {
    // Mutation: `sum` in `domain/price.rs` adds in `u64` with wrapping, or ends with `.unwrap_or(Money::ZERO)`.
    #[test]
    fn c14_a_cost_is_the_exact_one_or_does_not_fit_and_what_does_not_fit_is_refused(
        input in any_magnitude(), output in any_magnitude(),
        input_price in any_magnitude(), output_price in any_magnitude(), ceiling in any::<i64>(),
    ) {
        let row = priced(input_price, output_price);
        let exact = oracle([(input, input_price), (output, output_price)]);
        prop_assert_eq!(row.cost(&usage(input, output)).map(Money::nano), exact);
        prop_assert_eq!(row.bound(input, output).map(Money::nano), exact);
        // What the gateway holds for a bound that does not fit.
        let hold = row.bound(input, output).map_or(i64::MAX, Money::nano);
        let counter = WindowCounter::new(Window::EVER);
        counter.lease(Unit::Money).grant(i64::MAX, 0);
        counter.cell(Unit::Money).post(1);
        let fits = reserve(&[Ask::hold(&counter, Unit::Money, hold, ceiling)]).is_ok();
        prop_assert_eq!(fits, exact.is_some_and(|hold| i128::from(hold) < i128::from(ceiling)));
    }

    // Mutation: `add` in `meter/cell.rs` without its check.
    #[test]
    fn c14_sums_beyond_the_range_stay_at_its_end_and_refuse(
        posts in prop::collection::vec((0_u32..40, 0..=i64::MAX), 1..12),
    ) {
        let posts: Vec<i64> = posts.into_iter().map(|(shift, amount)| amount >> shift).collect();
        let counter = WindowCounter::new(Window::EVER);
        counter.lease(Unit::Money).grant(i64::MAX, 0);
        for amount in &posts {
            counter.cell(Unit::Money).post(*amount);
        }
        let exact: i128 = posts.iter().copied().map(i128::from).sum();
        let shown = i64::try_from(exact).unwrap_or(i64::MAX);
        prop_assert_eq!((counter.cell(Unit::Money).used(), counter.cell(Unit::Money).committed()), (shown, shown));
        let fits = reserve(&[Ask::hold(&counter, Unit::Money, 1, i64::MAX)]).is_ok();
        prop_assert_eq!(fits, exact < i128::from(i64::MAX));
    }
}

// Mutation: `div_ceil` in `domain/price.rs` becomes a plain division.
#[test]
fn c15_a_million_calls_of_one_token_err_by_less_than_a_nano_dollar_each_and_always_up() {
    const CALLS: i64 = 1_000_000;
    // $0.02 per million is 20 nano-dollars a token, without remainder; the others leave one.
    for pico in [20_000, 20_001, 25_500, 19_999, 1, 999] {
        let row = priced(pico, pico);
        let counter = WindowCounter::new(Window::EVER);
        let cell = counter.cell(Unit::Money);
        for call in 0..CALLS {
            let one = if call % 2 == 0 { usage(1, 0) } else { usage(0, 1) };
            cell.post(row.cost(&one).expect("a small cost").nano());
        }
        // In pico-dollars the sum is exact.
        let exact = i128::from(pico) * i128::from(CALLS);
        let error = i128::from(cell.used()) * 1_000 - exact;
        assert!(
            (0..i128::from(CALLS) * 1_000).contains(&error),
            "{pico} pico-dollars a token: {error} pico-dollars off"
        );
        assert!(pico % 1_000 != 0 || error == 0, "{pico}: {error}");
    }
}
