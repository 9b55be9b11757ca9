//! Counters as roll-ups of rows, leases, and what a crash makes of them.

use proptest::prelude::*;

use super::*;
use crate::domain::standing::Unit;
use crate::domain::window::Window;
use crate::meter::counter::{CounterName, WindowCounter};
use crate::meter::reservation::{Ask, Misfit, Posting, Refusal, reserve};

const WINDOW: Window =
    Window { start: Timestamp::from_seconds(1_794_000_000), end: Timestamp::from_seconds(1_797_000_000) };

/// The one after it.
const NEXT: Window =
    Window { start: Timestamp::from_seconds(1_797_000_000), end: Timestamp::from_seconds(1_800_000_000) };

pub(super) fn counter(identity: &str, key: &str) -> WindowCounter {
    in_window(identity, key, WINDOW)
}

fn in_window(identity: &str, key: &str, window: Window) -> WindowCounter {
    let name = CounterName { identity: Arc::from(identity), key: Arc::from(key) };
    WindowCounter::named(name, window)
}

pub(super) fn posted(entry: LedgerEntry, to: &[(&WindowCounter, i64)]) -> LedgerEntry {
    let postings = to.iter().map(|&(counter, covered)| Posting { counter: counter.clone(), covered: [covered, 0, 0] });
    LedgerEntry { postings: postings.collect(), ..entry }
}

fn stored(reader: &LedgerReader) -> Vec<StoredCounter> {
    let mut found = Vec::new();
    let now = Timestamp::from_seconds(1_795_000_000);
    reader.counters_open_at(now, &mut |counter| found.push(counter)).expect("counters");
    found.sort_by(|a, b| a.name.key.cmp(&b.name.key));
    found
}

pub(super) fn attempt(entry: LedgerEntry) -> Record {
    Record::Attempt(Box::new(entry))
}

pub(super) fn ask(counter: &WindowCounter, need: i64, want: i64, ceiling: i64) -> Record {
    Record::Grant(Grant { counter: counter.clone(), unit: Unit::Money, need, want, ceiling })
}

#[test]
fn a_counter_is_the_sum_of_its_rows_and_an_attempt_is_counted_once() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let (globex, all) = (counter("month", "globex"), counter("all", ""));
    let both = |id, cost| posted(entry(id, "globex", Some(cost)), &[(&globex, 0), (&all, 0)]);
    let doubted = LedgerEntry { basis: Basis::InDoubt, ..both("c", 40) };
    write(
        &ledger,
        [both("a", 10), both("b", 20), both("a", 10), doubted, posted(entry("d", "x", Some(5)), &[(&all, 0)])],
    );
    let found = stored(&ledger.reader());
    assert_eq!(found.iter().map(|counter| counter.posted).collect::<Vec<_>>(), [[35, 3_150, 4], [30, 2_100, 3]]);
    assert_eq!(found.iter().map(|counter| counter.in_doubt).collect::<Vec<_>>(), [[40, 1_050, 0]; 2]);
    ledger.close();
    assert_eq!(stored(&Ledger::open(&place.path).expect("the same ledger").reader()), found);
}

// Mutations: a sum that is too large is an error; it begins anew at the other end; a lease falls below nothing; a lease is not changed.
#[test]
fn sums_stop_at_the_end_of_the_range_and_leases_at_nothing() {
    let mut store = SqliteStore::in_memory().expect("a new ledger");
    let (globex, leased) = (counter("month", "globex"), counter("month", "leased"));
    let mut append = |record: Record| {
        store.append(&[record]).expect("a written record");
        let mut found = store.counters().expect("counters");
        found.sort_by(|a, b| a.name.key.cmp(&b.name.key));
        found.iter().map(|counter| (counter.posted[0], counter.leased[0])).collect::<Vec<_>>()
    };
    let row = |id, cost, covered, to| attempt(posted(entry(id, "globex", Some(cost)), &[(to, covered)]));
    assert_eq!(append(row("a", i64::MAX - 1, 0, &globex)), [(i64::MAX - 1, 0)]);
    assert_eq!(append(row("b", 5, 0, &globex)), [(i64::MAX, 0)]);
    assert_eq!(append(row("c", -5, 0, &globex)), [(i64::MAX - 5, 0)]);
    assert_eq!(append(ask(&leased, 10, 10, 100))[1], (0, 10));
    assert_eq!(append(row("d", 4, 4, &leased))[1], (4, 6));
    assert_eq!(append(row("e", 20, 20, &leased))[1], (24, 0));
    // Where something was leased the sums stop as well, at either end.
    assert_eq!(append(ask(&leased, 10, 10, 100))[1], (24, 10));
    assert_eq!(append(row("f", i64::MAX - 3, 4, &leased))[1], (i64::MAX, 6));
    assert_eq!(append(row("g", i64::MIN, 0, &leased))[1], (-1, 6));
    assert_eq!(append(row("h", i64::MIN, 1, &leased))[1], (i64::MIN, 5));
}

// Mutations: a key whose windows have all ended is read too; only the windows that have not ended are.
#[test]
fn of_a_key_that_is_still_counted_every_window_is_read() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let counters = [
        counter("month", "globex"),
        in_window("month", "globex", NEXT),
        counter("month", "acme"),
        in_window("day", "acme", NEXT),
    ];
    write(&ledger, [posted(entry("a", "globex", Some(5)), &counters.each_ref().map(|counter| (counter, 0)))]);
    let found = |since: Window| {
        let mut found = Vec::new();
        let mut take = |counter: StoredCounter| found.push((counter.name.key.to_string(), counter.window));
        ledger.reader().counters_of_keys_since("month", since.start, &mut take).expect("counters");
        found
    };
    assert_eq!(found(NEXT), [("globex".to_owned(), NEXT), ("globex".to_owned(), WINDOW)]);
    assert_eq!(found(WINDOW).len(), 3);
}

// Mutations: what is there already is passed over; the second of a batch is.
#[test]
fn a_counter_that_this_run_has_not_seen_yet_goes_on_and_has_one_row() {
    let place = place();
    let row = |id, tenant| {
        // Each with a counter in memory of its own, as an old and a new policy have.
        let postings = [Posting { counter: counter("month", tenant), covered: [0; 3] }].into_iter().collect();
        Record::Attempt(Box::new(LedgerEntry { postings, ..entry(id, tenant, Some(5)) }))
    };
    SqliteStore::open(&place.path).expect("a new ledger").append(&[row("a", "globex")]).expect("a written row");
    let mut store = SqliteStore::open(&place.path).expect("the same ledger");
    store.append(&[row("b", "globex"), row("c", "globex"), row("d", "acme"), row("e", "acme")]).expect("written rows");
    store.append(&[row("f", "globex"), row("g", "acme")]).expect("written rows");
    let posted = |store: &SqliteStore| {
        let mut found: Vec<_> = store
            .counters()
            .expect("counters")
            .iter()
            .map(|counter| (counter.name.key.to_string(), counter.posted[0]))
            .collect();
        found.sort();
        found
    };
    assert_eq!(posted(&store), [("acme".to_owned(), 15), ("globex".to_owned(), 20)]);
}

// Mutation: it does not matter how many rows were changed.
#[test]
fn a_counter_whose_row_somebody_took_away_is_not_passed_over() {
    let mut store = SqliteStore::in_memory().expect("a new ledger");
    let globex = counter("month", "globex");
    let row = |id, cost| [attempt(posted(entry(id, "globex", Some(cost)), &[(&globex, 0)]))];
    store.append(&row("a", 5)).expect("a written row");
    store.connection.execute("DELETE FROM counter", []).expect("a deleted row");
    assert!(store.append(&row("b", 7)).is_err(), "the row would be there, and not in its sum");
    store.append(&row("b", 7)).expect("a written row");
    assert_eq!(store.counters().expect("counters")[0].posted[0], 7);
}

// Mutation: the numbers of identities that a batch made are remembered although it was rolled back.
#[test]
fn what_a_batch_that_failed_had_made_is_made_again() {
    let mut store = SqliteStore::in_memory().expect("a new ledger");
    let (globex, other, new) = (counter("month", "globex"), counter("month", "z"), counter("day", "globex"));
    let row = |id, counter| attempt(posted(entry(id, "globex", Some(5)), &[(counter, 0)]));
    store.append(&[row("a", &globex), row("z", &other)]).expect("written rows");
    store.connection.execute("DELETE FROM counter WHERE key = 'globex'", []).expect("a deleted row");
    // A resolution has what came before it written at once.
    let resolution = Resolution { id: 9, spent: 0, actor: "ann".to_owned(), reason: "export".to_owned() };
    store.append(&[row("b", &new), Record::Resolve(resolution), row("c", &globex)]).expect_err("a row that is gone");
    assert_eq!(store.counters().expect("counters").len(), 1);
    store.append(&[row("b", &new), row("c", &globex)]).expect("written rows");
    assert_eq!(store.counters().expect("counters").iter().map(|counter| counter.posted[0]).sum::<i64>(), 15);
}

// Mutations: every store has the same generation; what is retired is not forgotten; what begins anew is not.
#[test]
fn a_row_is_remembered_by_the_store_that_found_it_and_while_it_is_there() {
    let stores = [0; 2].map(|_| SqliteStore::in_memory().expect("a new ledger"));
    let [mut one, mut other] = stores;
    let (globex, acme) = (counter("month", "globex"), counter("month", "acme"));
    let row = |id, counter| attempt(posted(entry(id, "globex", Some(5)), &[(counter, 0)]));
    one.append(&[row("a", &acme), row("b", &globex)]).expect("written rows");
    other.append(&[row("a", &globex), row("b", &globex)]).expect("written rows");
    one.append(&[row("c", &globex)]).expect("a written row");
    let sums = |store: &SqliteStore| store.counters().expect("counters").iter().map(|it| it.posted[0]).sum::<i64>();
    assert_eq!((sums(&one), sums(&other)), (15, 10));
    one.append(&[Record::Retire(vec![Arc::from("month")])]).expect("a retired budget");
    one.append(&[row("d", &globex)]).expect("a written row");
    assert_eq!(sums(&one), 5);
    one.append(&[Record::Begin(vec![Arc::from("month")]), row("e", &globex)]).expect("a budget that begins anew");
    assert_eq!(sums(&one), 5);
}

proptest! {
    // Mutations: what the batch has posted, put in doubt or leased so far does not count for a lease; a lease falls below nothing;
    // what is stored does not count; each of two counters in memory has its own changes; two windows have the same; a lease of tokens
    // is one of money.
    #[test]
    fn one_batch_leases_and_counts_as_many_do(
        steps in prop::collection::vec((0..4, 0..3_usize, 0..3_usize, -9..40_i64, 0..15_i64, any::<bool>()), 1..25), whole in 0..25_usize,
    ) {
        let records: Vec<Record> = steps.iter().enumerate().map(|(at, (what, key, unit, amount, other, doubted))| {
            // Each has a counter in memory of its own.
            let counter = match key {
                0 => counter("month", "globex"),
                1 => counter("month", "acme"),
                _ => in_window("month", "globex", NEXT),
            };
            let unit = Unit::ALL[*unit];
            match what {
                0 => Record::Return { counter, unit, amount: (*amount).max(0) },
                1 => Record::Grant(Grant { counter, unit, need: *other, want: *amount, ceiling: 100 }),
                _ => {
                    let (mut covered, basis) = ([0; 3], if *doubted { Basis::InDoubt } else { Basis::Exact });
                    covered[unit.index()] = *other;
                    let usage = Usage { input: u64::try_from(*amount).ok(), ..Usage::default() };
                    let postings = [Posting { counter, covered }].into_iter().collect();
                    attempt(LedgerEntry { usage, basis, postings, ..entry(&at.to_string(), "globex", Some(*amount)) })
                }
            }
        }).collect();
        let granted = |batches: &[&[Record]]| {
            let mut store = SqliteStore::in_memory().expect("a new ledger");
            let granted = batches.iter().flat_map(|batch| store.append(batch).expect("written records").granted).collect::<Vec<_>>();
            let mut counters = store.counters().expect("counters");
            counters.sort_by(|one, other| (&one.name.key, one.window.start).cmp(&(&other.name.key, other.window.start)));
            (granted, counters)
        };
        let (first, rest) = records.split_at(whole.min(records.len()));
        let single = records.chunks(1).collect::<Vec<_>>();
        prop_assert_eq!(granted(&[first, rest]), granted(&single));
    }
}

#[test]
fn a_lease_fits_below_the_ceiling_and_half_of_what_is_left_is_the_most_beyond_the_need() {
    let place = place();
    let mut store = SqliteStore::open(&place.path).expect("a new ledger");
    let globex = counter("month", "globex");
    let mut granted =
        |need, want, ceiling| store.append(&[ask(&globex, need, want, ceiling)]).expect("a disk").granted[0];
    assert_eq!(granted(10, 1_000, 100), 50);
    assert_eq!(granted(30, 30, 100), 30);
    assert_eq!(granted(21, 21, 100), 0, "20 are left");
    assert_eq!(granted(20, 1_000, 100), 20);
    assert_eq!(granted(1, 1, 100), 0);
    assert_eq!(granted(1, 1, 101), 1);
}

#[test]
fn what_was_leased_and_not_settled_is_in_doubt_after_a_crash_and_never_lent_again() {
    let place = place();
    let globex = counter("month", "globex");
    {
        let mut store = SqliteStore::open(&place.path).expect("a new ledger");
        store.begin_run(&[]).expect("a run");
        let debt = posted(entry("b", "globex", Some(50)), &[(&globex, 20)]);
        let batch =
            [ask(&globex, 10, 80, 200), attempt(posted(entry("a", "globex", Some(7)), &[(&globex, 7)])), attempt(debt)];
        assert_eq!(store.append(&batch).expect("a disk").granted, [80]);
    }
    let mut store = SqliteStore::open(&place.path).expect("the same ledger");
    assert_eq!(store.begin_run(&[]).expect("a run"), 1);
    let found = stored(&LedgerReader::at(&place.path)).remove(0);
    assert_eq!((found.posted[0], found.in_doubt[0], found.leased[0]), (57, 80 - 7 - 20, 0));
    assert_eq!(store.append(&[ask(&globex, 91, 91, 200)]).expect("a disk").granted, [0]);
    assert_eq!(store.append(&[ask(&globex, 90, 90, 200)]).expect("a disk").granted, [90]);
    let doubts = LedgerReader::at(&place.path).in_doubt().expect("rows");
    assert_eq!((doubts.len(), doubts[0].amount, doubts[0].unit, &*doubts[0].name.key), (1, 53, Unit::Money, "globex"));

    let how =
        Resolution { id: doubts[0].id, spent: 3, actor: "ann".into(), reason: "usage export of 21 November".into() };
    let done = store.append(&[Record::Resolve(how.clone())]).expect("a disk");
    assert_eq!(done.resolved.expect("a remainder").amount, 53);
    assert!(store.append(&[Record::Resolve(how)]).expect("a disk").resolved.is_none(), "once");
    let found = stored(&LedgerReader::at(&place.path)).remove(0);
    assert_eq!((found.posted[0], found.in_doubt[0]), (60, 0));
    assert!(LedgerReader::at(&place.path).in_doubt().expect("rows").is_empty());
}

#[tokio::test]
async fn an_orderly_end_returns_every_lease() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let globex = counter("month", "globex");
    let wanted = Wanted { counter: globex.clone(), unit: Unit::Money, need: 10, ceiling: 1_000 };
    assert!(ledger.lease(wanted.clone()).await);
    assert_eq!(globex.lease(Unit::Money).free(), 40);
    assert!(!ledger.lease(Wanted { ceiling: 49, ..wanted }).await, "9 are left");
    assert_eq!(stored(&ledger.reader())[0].leased[0], 40);
    let reservation = reserve(&[Ask::hold(&globex, Unit::Money, 25, 1_000)]).expect("room");
    let paid = LedgerEntry { postings: reservation.settle([11, 0, 0]), ..entry("a", "globex", Some(11)) };
    ledger.permit().expect("a free place").send(paid);
    ledger.close();
    let ledger = Ledger::open(&place.path).expect("the same ledger");
    let found = stored(&ledger.reader()).remove(0);
    assert_eq!((found.posted[0], found.in_doubt[0], found.leased[0], ledger.doubted_leases()), (11, 0, 0, 0));
}

// Mutation: what fits into one transaction goes back, and no more.
#[test]
fn an_orderly_end_returns_more_leases_than_one_transaction_takes() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    let counters: Vec<WindowCounter> = (0..5_001).map(|tenant| counter("month", &tenant.to_string())).collect();
    for counter in &counters {
        ledger.lease_ahead(Wanted { counter: counter.clone(), unit: Unit::Money, need: 10, ceiling: 1_000 });
    }
    ledger.close();
    assert!(counters.iter().all(|counter| counter.lease(Unit::Money).free() == 0));
    let ledger = Ledger::open(&place.path).expect("the same ledger");
    let found = stored(&ledger.reader());
    assert_eq!((found.len(), ledger.doubted_leases()), (counters.len(), 0));
}

#[test]
fn a_new_identity_counts_the_rows_before_and_after_it_once() {
    let place = place();
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    write(&ledger, [entry("a", "globex", Some(1)), entry("b", "globex", Some(2))]);
    let all = counter("all", "");
    let counted = all.clone();
    let rules = Rules { snapshot: 2, counters: Arc::new(move |_| vec![counted.clone()]) };
    let last = ledger.begin(rules, vec![Arc::from("all")]).expect("rules");
    let mut before = 0;
    ledger.reader().replay(Timestamp::default(), last, &mut |_, _, amounts, _| before += amounts[0]).expect("rows");
    // One began before the rules and knows nothing of them, one knows them already.
    let early = entry("c", "globex", Some(4));
    let late = LedgerEntry { snapshot: 2, ..posted(entry("d", "globex", Some(8)), &[(&all, 0)]) };
    write(&ledger, [early, late]);
    let seed = Seed { counter: all.clone(), posted: [before, 0, 0], in_doubt: [0; 3] };
    ledger.seeded(vec![seed], vec![Arc::from("all")], Timestamp::default()).expect("a disk");
    assert_eq!(stored(&ledger.reader())[0].posted[0], 15);
    assert_eq!(all.cell(Unit::Money).used(), 4, "memory is told of what it could not know");
    assert_eq!(ledger.reader().complete_identities().expect("rows"), [Arc::from("all")]);
    ledger.retire(vec![Arc::from("all")]);
    ledger.flush().expect("a disk");
    assert!(stored(&ledger.reader()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is granted and settled, written or not: a crash puts exactly what is not in the rows in doubt.
    #[test]
    fn a_crash_forgets_no_money(
        steps in prop::collection::vec((1_i64..50, 0_i64..70, any::<bool>()), 1..40),
    ) {
        let mut store = SqliteStore::in_memory().expect("a new ledger");
        let globex = counter("month", "globex");
        let ceiling = 500;
        for (number, (hold, cost, written)) in steps.into_iter().enumerate() {
            let reservation = loop {
                match reserve(&[Ask::hold(&globex, Unit::Money, hold, ceiling)]) {
                    Ok(reservation) => break Some(reservation),
                    Err(Refusal { why: Misfit::Unleased { missing }, .. }) => {
                        let ask = [ask(&globex, missing, missing * 4, ceiling)];
                        let granted = store.append(&ask).expect("memory").granted[0];
                        prop_assert!(granted >= missing);
                        globex.lease(Unit::Money).grant(granted, 0);
                    }
                    Err(_) => break None,
                }
            };
            let Some(reservation) = reservation else { continue };
            // Debt is durable with its row; without the row only the hold is.
            let cost = if written { cost } else { cost.min(hold) };
            let row = LedgerEntry {
                postings: reservation.settle([cost, 0, 0]),
                ..entry(&number.to_string(), "globex", Some(cost))
            };
            if written {
                store.append(&[attempt(row)]).expect("memory");
            }
        }
        let (cell, lease) = (globex.cell(Unit::Money), globex.lease(Unit::Money));
        store.begin_run(&[]).expect("a run");
        if let Some(after) = store.counters().expect("rows").pop() {
            prop_assert_eq!(after.posted[0] + after.in_doubt[0], cell.used() + lease.free());
            prop_assert_eq!(after.leased[0], 0);
        }
    }
}
