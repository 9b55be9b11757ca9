//! Verification and corrections: what was tampered with is found, and what is corrected stays whole.

use proptest::prelude::*;

use super::*;
use crate::domain::price::{PriceBook, PriceRow};
use crate::domain::standing::Unit;
use crate::meter::counter::{CounterName, WindowCounter};
use crate::meter::reservation::Posting;
use crate::policy::identity::Identity;

/// Counts every tenant's calls by calendar month in UTC.
const MONTH: &str = r#"{"budget":"tenant_month","per":["tenantId"],"span":"month","zone":"UTC"}"#;

fn month(tenant: &str) -> Arc<WindowCounter> {
    let identity = Identity::parse(MONTH).expect("an identity");
    let probe = entry("probe", tenant, None);
    let (key, window) = identity.place(&probe.dimensions(), probe.admitted_at).expect("a counter");
    let name = CounterName { identity: Arc::from(MONTH), key: Arc::from(key) };
    Arc::new(WindowCounter::named(Arc::new(name), window))
}

fn price() -> Arc<PriceRow> {
    PriceBook::builtin().find("openai", "openai", "gpt-4o").expect("a price").clone()
}

/// A row that is priced and counted as a gateway does it.
fn counted(id: &str, counter: &Arc<WindowCounter>) -> LedgerEntry {
    let price = price();
    let plain = entry(id, &counter.name().key, None);
    let cost = price.cost(&plain.usage);
    let posting = Posting { counter: Arc::clone(counter), covered: [0; 3] };
    LedgerEntry { cost, price: Some(price), postings: [posting].into_iter().collect(), ..plain }
}

/// A ledger whose month is complete, with rows of two tenants.
fn books(place: &Place) -> (Ledger, [Arc<WindowCounter>; 2]) {
    let ledger = Ledger::open(&place.path).expect("a new ledger");
    ledger.seeded(Vec::new(), vec![Arc::from(MONTH)]).expect("a disk");
    let counters = [month("globex"), month("acme-corp")];
    let rows = (0..8).map(|n| counted(&format!("req_{n}"), &counters[n % 2]));
    let doubted =
        LedgerEntry { basis: Basis::InDoubt, cost: Some(Money::from_nano(777)), ..counted("req_8", &counters[0]) };
    write(&ledger, rows.chain([doubted]));
    (ledger, counters)
}

fn findings(path: &Path) -> Vec<String> {
    LedgerReader::open(path).expect("a reader").verify().expect("a whole file").findings
}

fn evidence(spent: i64) -> Evidence {
    Evidence {
        spent,
        actor: Arc::from("ann"),
        reason: Arc::from("usage export"),
        at: Timestamp::from_seconds(1_795_100_000),
    }
}

#[test]
fn an_honest_ledger_has_no_findings() {
    let place = place();
    let (ledger, _) = books(&place);
    let found = ledger.reader().verify().expect("a whole file");
    assert_eq!((found.rows, found.chained, found.priced, found.counters, found.faults), (9, 9, 8, 2, 0), "{found:?}");
}

/// Mutation: without the comparison of links, of costs, of sums or of the head the matching line here is missing.
#[test]
fn d5_what_another_hand_changed_is_found_and_named() {
    let tampered = |statement: &str| {
        let place = place();
        books(&place).0.close();
        let connection = rusqlite::Connection::open(&place.path).expect("a connection");
        connection.execute_batch(statement).expect("a change");
        drop(connection);
        findings(&place.path).join("\n")
    };
    insta::assert_snapshot!(tampered("UPDATE entry SET endpoint_tag = 'x' WHERE id = 3"), @"row 3 is not as it was written, or rows before it are missing");
    let cost = tampered("UPDATE entry SET cost_nano_usd = 1 WHERE id = 3");
    assert!(cost.contains("row 3 is not as it was written") && cost.contains("row 3 costs 1 nano-dollars"), "{cost}");
    assert!(cost.contains("counter `tenant_month` of `globex`"), "{cost}");
    let gone = tampered("DELETE FROM entry WHERE id = 4");
    assert!(gone.contains("row 5 is not as it was written, or rows before it are missing"), "{gone}");
    let end = tampered("DELETE FROM entry WHERE id = 9");
    assert!(end.contains("the last row is 8, and the ledger wrote 9: rows are missing at the end"), "{end}");
    let counter = tampered("UPDATE counter SET posted_nano_usd = posted_nano_usd - 1 WHERE key = 'globex'");
    assert!(counter.starts_with("counter `tenant_month` of `globex` from 2026-11-01T00:00:00Z says"), "{counter}");
    let missing = tampered("DELETE FROM counter WHERE key = 'globex'");
    assert!(missing.contains("counter `tenant_month` of `globex` from 2026-11-01T00:00:00Z is missing"), "{missing}");
    let price = tampered(r#"UPDATE price SET row = replace(row, '"output":', '"output":1')"#);
    assert!(price.contains("its usage at `"), "{price}");
    let none = tampered("DELETE FROM price");
    assert!(none.contains("which the ledger does not hold"), "{none}");
    let added = tampered("INSERT INTO entry SELECT 10, 'forged', request_id, admitted_at, 'evil', plan, segment, endpoint_tag, prompt_version,
        data_mode, environment, user_id, external_request_id, workflow_id, attributes, retry_count, key_name, provider, dialect, path,
        model_requested, model_served, model_answered, stream, logical, input_tokens, cached_input_tokens, cache_write_tokens,
        cache_write_1h_tokens, output_tokens, reasoning_tokens, basis, price_row, cost_nano_usd, status, ending, decision, would, policy,
        overhead_us, first_byte_us, duration_us, adjusts, actor, reason, adjusted_at, NULL FROM entry WHERE id = 1");
    assert!(added.contains("row 10 is outside the chain"), "{added}");
}

/// Mutation: a verification that believes the stored link of a row finds nothing here.
#[test]
fn d5_a_flipped_bit_of_a_row_is_reported_or_was_in_nobodys_place() {
    let place = place();
    books(&place).0.close();
    let bytes = std::fs::read(&place.path).expect("the file");
    let content = |path: &Path| -> Option<Vec<String>> {
        let connection = schema::open_reader(path).ok()?;
        let mut rows = Vec::new();
        for table in ["entry", "counter", "price", "head", "complete", "doubt"] {
            let mut statement = connection.prepare(&["SELECT * FROM ", table, " ORDER BY 1"].concat()).ok()?;
            let width = statement.column_count();
            let mut found = statement.query([]).ok()?;
            while let Some(row) = found.next().ok()? {
                rows.push(
                    (0..width)
                        .map(|at| row.get_ref(at).map(|value| format!("{value:?}")))
                        .collect::<Result<String, _>>()
                        .ok()?,
                );
            }
        }
        Some(rows)
    };
    let honest = content(&place.path);
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is no setting of the gateway")]
    let flips: usize = std::env::var("PLIMSOLL_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let step = (bytes.len() * 8 / flips).max(1);
    let copy = place.path.with_extension("flipped");
    let mut seen = 0;
    for bit in (0..bytes.len() * 8).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&copy, flipped).expect("a copy");
        let verdict = LedgerReader::open(&copy).and_then(|reader| reader.verify());
        let fine = verdict.is_ok_and(|found| found.faults == 0);
        if content(&copy) != honest {
            seen += 1;
            assert!(!fine, "bit {bit} changed what is read, and nothing was found");
        }
    }
    assert!(seen > 0, "no flip hit anything");
}

#[test]
fn evidence_replaces_a_call_in_doubt_once_and_the_books_stay_whole() {
    let place = place();
    let (ledger, counters) = books(&place);
    counters[0].cell(Unit::Money).count(777, true);
    let live = |name: &CounterName| (*name.key == *"globex").then(|| Arc::clone(&counters[0]));
    let doubts = ledger.reader().all_in_doubt().expect("rows");
    assert_eq!((doubts.len(), &*doubts[0].id, doubts[0].amount), (1, "req_8", 777));
    assert!(ledger.settle_doubt("req_1", &evidence(5), &live).expect("a disk").is_none(), "not in doubt");
    assert!(ledger.settle_doubt("lease_1", &evidence(5), &live).expect("a disk").is_none());
    let found = ledger.settle_doubt("req_8", &evidence(500), &live).expect("a disk").expect("a call in doubt");
    assert_eq!(found.amount, 777);
    assert!(ledger.settle_doubt("req_8", &evidence(500), &live).expect("a disk").is_none(), "once");
    assert!(ledger.reader().all_in_doubt().expect("rows").is_empty());
    let cell = counters[0].cell(Unit::Money);
    assert_eq!((cell.posted(), cell.in_doubt(), cell.committed()), (500, 0, 500), "live counters follow");
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
    let rerate = |write| ledger.rerate(all, &|_| Some(Arc::clone(&dearer)), &evidence(0), write).expect("a disk");
    let tried = rerate(false);
    assert_eq!((tried.rows, tried.changed, tried.before), (8, 8, before));
    assert_eq!(total(&ledger).cost_nano_usd, before, "only tried");
    assert_eq!(rerate(true), tried);
    assert_eq!(total(&ledger).cost_nano_usd, tried.after);
    assert_eq!((rerate(true).changed, findings(&place.path)), (0, Vec::new()));
    let back = ledger.rerate(all, &|_| Some(price()), &evidence(0), true).expect("a disk");
    assert_eq!((back.changed, total(&ledger).cost_nano_usd), (8, before));
    assert_eq!(ledger.rerate(all, &|_| None, &evidence(0), true).expect("a disk").unpriced, 8);
    assert_eq!(findings(&place.path), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written, doubted, resolved and priced anew, over restarts: counters are the sums of their rows.
    #[test]
    fn books_stay_whole(steps in prop::collection::vec((0_u8..6, 0_usize..3, 0_i64..5_000), 1..24)) {
        let place = place();
        let mut ledger = Ledger::open(&place.path).expect("a new ledger");
        ledger.seeded(Vec::new(), vec![Arc::from(MONTH)]).expect("a disk");
        let counters = [month("globex"), month("acme-corp"), month("initech")];
        for (number, (step, whose, amount)) in steps.into_iter().enumerate() {
            let row = counted(&format!("req_{number}"), &counters[whose]);
            match step {
                0 | 1 => write(&ledger, [row]),
                2 => write(&ledger, [LedgerEntry { basis: Basis::InDoubt, cost: Some(Money::from_nano(amount)), ..row }]),
                3 => {
                    let doubts = ledger.reader().all_in_doubt().expect("rows");
                    if let Some(doubt) = doubts.first() {
                        ledger.settle_doubt(&doubt.id, &evidence(amount), &|_| None).expect("a disk");
                    }
                }
                4 => {
                    let mut other = PriceRow::clone(&price());
                    (other.id, other.input) = (Arc::from(format!("p{amount}")), u64::try_from(amount).unwrap_or(0));
                    let (all, other) = ((Timestamp::default(), Timestamp::from_seconds(2_000_000_000)), Arc::new(other));
                    ledger.rerate(all, &|_| Some(Arc::clone(&other)), &evidence(0), true).expect("a disk");
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
