//! Nanoseconds of every part, for whoever works on one: the best of many short rounds, so that a busy machine shows little.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::{allocations, parts};

const ROUNDS: u32 = 40;
const ROUND: Duration = Duration::from_millis(8);

/// Prints the parts whose names hold `filter`.
pub(crate) fn report(filter: &str) {
    println!("{:<20}{:>14}{:>14}", "part", "ns per call", "allocations");
    for part in parts::PARTS.iter().filter(|part| part.name.contains(filter)) {
        let mut call = (part.prepare)();
        let nanos = best(&mut *call);
        println!("{:<20}{:>12}.{}{:>14}", part.name, nanos / 10, nanos % 10, allocations::of(&mut *call));
    }
    if "reserve-settle".contains(filter) {
        for threads in [1, 2, 4] {
            let nanos = together(threads);
            println!("reserve-settle, {threads} threads on tenants of their own: {nanos} ns per call");
        }
    }
}

/// The tenth nanoseconds of one call, in the best round.
fn best(call: &mut dyn FnMut()) -> u128 {
    let calls = calibrated(call);
    let round = || {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_nanos() * 10 / u128::from(calls)
    };
    std::iter::repeat_with(round).take(ROUNDS as usize).min().unwrap_or(0)
}

/// How many calls fill a round.
fn calibrated(call: &mut dyn FnMut()) -> u32 {
    let mut calls = 1_u32;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        if start.elapsed() >= ROUND || calls >= 1 << 24 {
            return calls;
        }
        calls *= 2;
    }
}

/// Nanoseconds of one reservation when so many threads make them at once, each for a tenant of its own.
fn together(threads: usize) -> u128 {
    const CALLS: u32 = 400_000;
    let barrier = Barrier::new(threads);
    let sets = parts::sets(threads);
    let slowest = std::thread::scope(|scope| {
        let runs: Vec<_> = sets
            .iter()
            .map(|set| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    (0..CALLS).for_each(|_| parts::settle_once(black_box(set)));
                    start.elapsed().as_nanos()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("a thread that counts")).max()
    });
    slowest.unwrap_or(0) / u128::from(CALLS)
}
