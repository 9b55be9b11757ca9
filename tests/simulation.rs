//! A life of budgets in one thread, decided by a seed: calls, settlements, boundaries, jumping clocks, changing policies,
//! commits, crashes and restarts, over the real meter, the real reservations and the real store.
//!
//! After every event the invariants I1 to I12 are asserted where they apply to one node; a failed one names the seed, the event
//! and itself. `PLIMSOLL_SIM_SEEDS` is how many seeds are lived through, `PLIMSOLL_SIM_SEED` names a single one.

mod books;
mod checks;
mod life;
mod provider;
mod random;

use life::Life;

/// Events in one life.
const EVENTS: usize = 150;

fn variable(name: &str) -> Option<u64> {
    std::env::vars().find(|(known, _)| known == name).and_then(|(_, text)| text.parse().ok())
}

/// Lives through one seed, and says how much happened.
fn live(seed: u64) -> life::Tally {
    let mut life = Life::begin(seed);
    for _ in 0..EVENTS {
        life.step();
    }
    life.end()
}

// Mutations: a crash gives the lease's remainder back; a late settlement gives its whole hold back to the lease; a cost is cut
// to what was held; a lease is granted in memory and not in the store; a budget that returns counts a call twice.
#[test]
fn any_life_of_budgets_keeps_every_invariant() {
    if let Some(seed) = variable("PLIMSOLL_SIM_SEED") {
        println!("{:?}", live(seed));
        return;
    }
    let seeds = variable("PLIMSOLL_SIM_SEEDS").unwrap_or(200);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let tallies: Vec<life::Tally> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || (thread as u64..seeds).step_by(threads).map(live).sum()))
            .collect();
        runs.into_iter().map(|run| run.join().expect("an invariant is broken: see above")).collect()
    });
    let tally: life::Tally = tallies.into_iter().sum();
    println!("{seeds} seeds: {tally:?}");
    // A life in which nothing happens proves nothing.
    assert!(
        tally.admitted > seeds * 20 && tally.lost > seeds && tally.debts > seeds && tally.resolved > seeds / 4,
        "{tally:?}"
    );
}
