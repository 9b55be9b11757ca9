//! Verification and corrections: what was tampered with is found, and what is corrected stays whole.

use proptest::prelude::*;

use super::*;
use crate::domain::price::{PriceBook, PriceRow};
use crate::domain::standing::Unit;
use crate::meter::counter::{CounterName, WindowCounter};
use crate::meter::reservation::Posting;
use crate::policy::condition::Patterns;
use crate::policy::identity::Identity;

/// Counts every tenant's calls by calendar month in UTC.
pub(super) const MONTH: &str = r#"{"budget":"tenant_month","per":["tenantId"],"span":"month","zone":"UTC"}"#;

pub(super) fn month(tenant: &str) -> WindowCounter {
    let identity = Identity::parse(MONTH, &Patterns::default()).expect("an identity");
    let probe = entry("probe", tenant, None);
    let (key, window) = identity.place(&probe.dimensions(), probe.admitted_at).expect("a counter");
    let name = CounterName { identity: Arc::from(MONTH), key: Arc::from(key) };
    WindowCounter::named(name, window)
}

pub(super) fn price() -> Arc<PriceRow> {
    PriceBook::builtin().find("openai", "openai", "gpt-4o").expect("a price").clone()
}

/// A row that is priced and counted as a gateway does it.
pub(super) fn counted(id: &str, counter: &WindowCounter) -> LedgerEntry {
    let price = price();
    let plain = entry(id, counter.counter().key(), None);
    let cost = price.cost(&plain.usage);
    let posting = Posting { counter: counter.clone(), covered: [0; 3] };
    LedgerEntry { cost, price: Some(price), postings: [posting].into_iter().collect(), ..plain }
}

/// A ledger whose month is complete, with rows of two tenants.
pub(super) fn books(place: &Place) -> (Ledger, [WindowCounter; 2]) {
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    ledger.seeded(Vec::new(), vec![Arc::from(MONTH)], Timestamp::default()).expect("a disk");
    let counters = [month("globex"), month("acme-corp")];
    let rows = (0..8).map(|n| counted(&format!("req_{n}"), &counters[n % 2]));
    let doubted =
        LedgerEntry { basis: Basis::InDoubt, cost: Some(Money::from_nano(777)), ..counted("req_8", &counters[0]) };
    write(&ledger, rows.chain([doubted]));
    (ledger, counters)
}

pub(super) fn findings(path: &Path) -> Vec<String> {
    LedgerReader::open(path).expect("a reader").verify().expect("a whole file").findings
}

pub(super) fn evidence(spent: i64) -> Evidence {
    Evidence::new((spent, None), ("ann", "usage export"), Timestamp::from_seconds(1_795_100_000)).expect("evidence")
}

#[test]
fn an_honest_ledger_has_no_findings() {
    let place = place();
    let (ledger, _) = books(&place);
    let found = ledger.reader().verify().expect("a whole file");
    assert_eq!((found.rows, found.chained, found.priced, found.counters, found.faults), (9, 9, 8, 2, 0), "{found:?}");
}

#[test]
fn evidence_replaces_a_call_in_doubt_once_and_the_books_stay_whole() {
    let place = place();
    let (ledger, counters) = books(&place);
    counters[0].cell(Unit::Money).post(777);
    let live = |name: &CounterName, _| (*name.key == *"globex").then(|| counters[0].clone());
    let doubts = ledger.reader().all_in_doubt().expect("rows");
    assert_eq!((doubts.len(), &*doubts[0].id, doubts[0].amount), (1, "req_8", 777));
    let settle = |id, evidence: &Evidence| ledger.settle_doubt(id, evidence, &live).expect("a disk");
    for nothing in ["req_1", "lease_1", "lease_", "", "adj_req_8_1"] {
        assert_eq!(settle(nothing, &evidence(5)), Settled::Unknown, "{nothing} is not in doubt");
    }
    let tokens = Evidence::new((5, Some(Unit::Tokens)), ("ann", "why"), Timestamp::default()).expect("evidence");
    assert!(matches!(settle("req_8", &tokens), Settled::OtherUnit(found) if found.unit == "nano_usd"));
    assert!(matches!(settle("req_8", &evidence(500)), Settled::Done(found) if found.amount == 777));
    assert_eq!(settle("req_8", &evidence(500)), Settled::Unknown, "once");
    assert!(ledger.reader().all_in_doubt().expect("rows").is_empty());
    let cell = counters[0].cell(Unit::Money);
    assert_eq!((cell.used(), cell.committed()), (500, 500), "live counters follow");
    assert_eq!(findings(&place.path), Vec::<String>::new());
    let rows = ledger.reader().request("req_8").expect("rows");
    assert_eq!(
        rows.iter().map(|row| (&*row.ending, row.cost_nano_usd)).collect::<Vec<_>>(),
        [("complete", Some(777)), ("adjustment", Some(-777)), ("adjustment", Some(500))]
    );
    let totals = total(&ledger);
    assert_eq!((totals.attempts, totals.in_doubt_nano_usd), (9, 0));
}

#[test]
fn other_prices_make_rows_beside_the_old_ones_and_a_second_time_nothing() {
    let place = place();
    let (ledger, _) = books(&place);
    let before = total(&ledger).cost_nano_usd;
    let mut dearer = PriceRow::clone(&price());
    dearer.id = Arc::from("letter@2026-11-20/gpt-4o");
    dearer.output *= 2;
    let dearer = Arc::new(dearer);
    let all = (Timestamp::default(), Timestamp::from_seconds(2_000_000_000));
    let tariff = |_: &LedgerEntry| Tariff::At(Arc::clone(&dearer));
    let tried = ledger.reader().rerating(all, &tariff).expect("rows");
    assert_eq!((tried.rows, tried.total.changed, tried.total.before_nano_usd), (8, 8, before));
    assert_eq!(tried.models.get("gpt-4o"), Some(&tried.total));
    assert_eq!(total(&ledger).cost_nano_usd, before, "only tried");
    assert_eq!(ledger.rerate(all, &tariff, &evidence(0)).expect("a disk"), tried);
    assert_eq!(total(&ledger).cost_nano_usd, tried.total.after_nano_usd);
    let again = ledger.rerate(all, &tariff, &evidence(0)).expect("a disk");
    assert_eq!((again.rows, again.total.changed, findings(&place.path)), (8, 0, Vec::new()));
    let back = ledger.rerate(all, &|_| Tariff::At(price()), &evidence(0)).expect("a disk");
    assert_eq!((back.total.changed, total(&ledger).cost_nano_usd), (8, before));
    assert_eq!(ledger.rerate(all, &|_| Tariff::Unknown, &evidence(0)).expect("a disk").unpriced, 8);
    assert_eq!(ledger.rerate(all, &|_| Tariff::Other, &evidence(0)).expect("a disk"), Rerating::default());
    assert_eq!(findings(&place.path), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written, doubted, resolved and priced anew, over restarts: counters are the sums of their rows.
    #[test]
    fn books_stay_whole(steps in prop::collection::vec((0_u8..6, 0_usize..3, 0_i64..5_000), 1..24)) {
        let place = place();
        let mut ledger = Ledger::open(&place.path).expect("a new ledger");
        ledger.seeded(Vec::new(), vec![Arc::from(MONTH)], Timestamp::default()).expect("a disk");
        let counters = [month("globex"), month("acme-corp"), month("initech")];
        for (number, (step, whose, amount)) in steps.into_iter().enumerate() {
            let row = counted(&format!("req_{number}"), &counters[whose]);
            match step {
                0 | 1 => write(&ledger, [row]),
                2 => write(&ledger, [LedgerEntry { basis: Basis::InDoubt, cost: Some(Money::from_nano(amount)), ..row }]),
                3 => {
                    let doubts = ledger.reader().all_in_doubt().expect("rows");
                    if let Some(doubt) = doubts.first() {
                        ledger.settle_doubt(&doubt.id, &evidence(amount), &|_, _| None).expect("a disk");
                    }
                }
                4 => {
                    let mut other = PriceRow::clone(&price());
                    (other.id, other.input) = (Arc::from(format!("p{amount}")), u64::try_from(amount).unwrap_or(0));
                    let (all, other) = ((Timestamp::default(), Timestamp::from_seconds(2_000_000_000)), Arc::new(other));
                    ledger.rerate(all, &|_| Tariff::At(Arc::clone(&other)), &evidence(0)).expect("a disk");
                }
                _ => {
                    ledger.close();
                    ledger = Ledger::open(&place.path).expect("the same ledger");
                }
            }
        }
        ledger.flush().expect("a disk");
        prop_assert_eq!(findings(&place.path), Vec::<String>::new());
    }
}
