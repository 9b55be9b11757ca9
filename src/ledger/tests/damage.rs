//! What another hand or a bad disk did to a ledger, and what a verification says about it.

use std::collections::BTreeMap;

use super::books::{MONTH, books, counted, evidence, findings, month};
use super::*;

const FORGED: &str = "INSERT INTO entry SELECT 10, 'forged', request_id, admitted_at, 'evil', plan, segment, endpoint_tag, prompt_version,
        data_mode, environment, user_id, external_request_id, workflow_id, attributes, retry_count, key_name, provider, dialect, path,
        model_requested, model_served, model_answered, stream, logical, input_tokens, cached_input_tokens, cache_write_tokens,
        cache_write_1h_tokens, output_tokens, reasoning_tokens, basis, price_row, cost_nano_usd, status, ending, decision, would, policy,
        overhead_us, first_byte_us, duration_us, adjusts, actor, reason, adjusted_at, NULL FROM entry WHERE id = 1";

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
    let added = tampered(FORGED);
    assert!(added.contains("row 10 is outside the chain") && added.contains("another hand added rows"), "{added}");
    let first = tampered(&FORGED.replace("SELECT 10", "SELECT 0"));
    assert!(first.contains("row 0 is outside the chain"), "{first}");
    let unlinked = tampered("UPDATE entry SET chain = NULL; UPDATE entry SET endpoint_tag = 'x' WHERE id = 3");
    assert!(unlinked.contains("the chain does not end where it did"), "{unlinked}");
    let broken = tampered("UPDATE entry SET endpoint_tag = CAST(x'ff' AS TEXT) WHERE id = 3");
    assert!(broken.contains("row 3 cannot be read: ") && broken.contains("row 3 is not as it was written"), "{broken}");
    let renamed = tampered("UPDATE identity SET text = 'x'");
    assert!(
        renamed.starts_with("counter `tenant_month` of `acme-corp` from 2026-11-01T00:00:00Z is missing"),
        "{renamed}"
    );
    let nameless = tampered("PRAGMA foreign_keys = OFF; DELETE FROM identity");
    assert!(nameless.contains("row 1 of `counter` belongs to a row of `identity` that is not there"), "{nameless}");
    let moved = tampered("UPDATE counter SET window_end = window_end - 1 WHERE key = 'globex'");
    assert!(
        moved.starts_with("counter `tenant_month` of `globex` from 2026-11-01T00:00:00Z is of a window to"),
        "{moved}"
    );
    let unmarked = tampered("UPDATE counter SET leased_tokens = 5");
    assert_eq!(unmarked, "2 counters have leases that a start would not find");
    let doubt = tampered("INSERT INTO doubt (counter, unit, amount, epoch) SELECT id, 'nano_usd', 5, 0 FROM counter");
    assert!(doubt.contains("its rows say [") && doubt.contains("[782, 1050, 0]"), "{doubt}");
}

/// What a verification vouches for: rows in full, what counters say, the end of the chain, what is in doubt.
fn content(path: &Path) -> Option<BTreeMap<(&'static str, i64), String>> {
    let connection = schema::open_reader(path).ok()?;
    let mut all = BTreeMap::new();
    for (table, columns) in [
        ("entry", "id, *"),
        ("head", "one, entry, chain"),
        ("identity", "id, text"),
        ("doubt", "id, counter, unit, amount, resolved"),
        (
            "counter",
            "id, identity, key, window_start, window_end, posted_nano_usd, posted_tokens, posted_requests,
            in_doubt_nano_usd, in_doubt_tokens, in_doubt_requests",
        ),
    ] {
        let mut statement = connection.prepare(&["SELECT ", columns, " FROM ", table].concat()).ok()?;
        let width = statement.column_count();
        let mut found = statement.query([]).ok()?;
        while let Some(row) = found.next().ok()? {
            let values = (0..width).map(|at| row.get_ref(at).map(|value| format!("{value:?} ")));
            all.insert((table, row.get(0).ok()?), values.collect::<Result<String, _>>().ok()?);
        }
    }
    Some(all)
}

/// 300 bits spread over the file; `PLIMSOLL_FLIPS` asks for more.
///
/// Mutation: a verification that believes the stored link of a row finds nothing here.
#[test]
fn d5_a_flipped_bit_of_a_row_is_reported_or_was_in_nobodys_place() {
    let place = place();
    books(&place).0.close();
    let bytes = std::fs::read(&place.path).expect("the file");
    let honest = content(&place.path).expect("a whole file");
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is no setting of the gateway")]
    let flips: usize = std::env::var("PLIMSOLL_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let step = (bytes.len() * 8 / flips).max(1);
    let copy = place.path.with_extension("flipped");
    let (mut rows, mut others) = (0, 0);
    for bit in (0..bytes.len() * 8).step_by(step) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&copy, flipped).expect("a copy");
        let verdict = LedgerReader::open(&copy).and_then(|reader| reader.verify());
        let Ok(found) = verdict else { continue };
        let read = content(&copy);
        if read.as_ref() == Some(&honest) {
            continue;
        }
        assert!(found.faults > 0, "bit {bit} changed what is read, and nothing was found");
        others += 1;
        for ((table, id), text) in read.iter().flatten().filter(|((table, _), _)| *table == "entry") {
            let changed = honest.get(&(*table, *id)).is_some_and(|before| before != text);
            let named =
                |finding: &String| finding.starts_with(&format!("row {id} ")) || finding.contains("cannot be read");
            if changed {
                rows += 1;
                assert!(found.findings.iter().any(named), "bit {bit} changed row {id}: {:?}", found.findings);
            }
        }
    }
    assert!(rows > 0 && others > rows, "no flip hit anything: {rows} rows, {others} in all");
}

/// A budget that was deleted and came back months later: what an earlier life left of windows that are over is no sum.
///
/// Mutation: hold every window in `Kept` (`One::holds` is always true).
#[test]
fn what_an_earlier_life_of_a_budget_left_behind_is_left_out() {
    let place = place();
    let globex = month("globex");
    {
        let mut store = SqliteStore::open(&place.path).expect("a new ledger");
        store.begin_run(&[]).expect("a run");
        let identities = vec![Arc::from(MONTH)];
        let grant = Record::Grant(Grant {
            counter: globex.clone(),
            unit: crate::domain::standing::Unit::Money,
            need: 10,
            want: 10,
            ceiling: 1_000_000_000,
        });
        let seeded = Record::Seeded { counters: Vec::new(), identities, since: Timestamp::default() };
        let row = Record::Attempt(Box::new(counted("req_1", &globex)));
        store.append(&[seeded, grant, row]).expect("a disk");
    }
    let ledger = Ledger::open(&place.path).expect("the ledger after a crash");
    assert_eq!((ledger.doubted_leases(), findings(&place.path)), (1, Vec::new()));
    ledger.retire(vec![Arc::from(MONTH)]);
    let rules = Rules { snapshot: 7, counters: Arc::new(|_| Vec::new()) };
    ledger.begin(rules, vec![Arc::from(MONTH)]).expect("rules");
    let december = Timestamp::from_seconds(1_797_000_000);
    ledger.seeded(Vec::new(), vec![Arc::from(MONTH)], december).expect("a disk");
    let found = ledger.reader().verify().expect("a file");
    assert_eq!((found.findings, found.counters, found.retired), (Vec::new(), 0, 1));
    // Neither does evidence about a call of then count in what is left of its counter.
    let doubted =
        LedgerEntry { basis: Basis::InDoubt, cost: Some(Money::from_nano(5)), ..entry("req_2", "globex", None) };
    write(&ledger, [doubted]);
    ledger.settle_doubt("req_2", &evidence(3), &|_, _| None).expect("a disk");
    ledger.settle_doubt("lease_1", &evidence(4), &|_, _| None).expect("a disk");
    assert_eq!(findings(&place.path), Vec::<String>::new());
}

/// Mutation: send the two rows of a correction as two records.
#[test]
fn a_correction_that_cannot_be_written_whole_is_not_written_at_all() {
    let place = place();
    let (ledger, counters) = books(&place);
    let cell = counters[0].cell(crate::domain::standing::Unit::Money);
    let before = cell.used();
    let connection = rusqlite::Connection::open(&place.path).expect("a connection");
    let refusal = "CREATE TRIGGER no BEFORE INSERT ON entry WHEN new.adjusts IS NOT NULL AND new.basis = 'exact'
        BEGIN SELECT RAISE(ROLLBACK, 'no'); END";
    connection.execute_batch(refusal).expect("a trigger");
    let live = |_: &crate::meter::counter::CounterName, _| Some(counters[0].clone());
    assert!(ledger.settle_doubt("req_8", &evidence(500), &live).is_err());
    assert_eq!(cell.used(), before, "nobody was told");
    ledger.close();
    connection.execute_batch("DROP TRIGGER no").expect("no trigger");
    let ledger = Ledger::open(&place.path).expect("the same ledger");
    assert_eq!(ledger.reader().request("req_8").expect("rows").len(), 1, "nor does the spool bring it back");
    assert!(matches!(ledger.settle_doubt("req_8", &evidence(400), &live).expect("a disk"), Settled::Done(_)));
    assert_eq!(findings(&place.path), Vec::<String>::new());
}

#[test]
fn evidence_that_says_nothing_is_refused() {
    let at = Timestamp::default();
    assert!(Evidence::new((0, None), ("ann", "usage export"), at).is_ok());
    for (spent, actor, reason) in
        [(-1, "ann", "why"), (i64::MAX, "ann", "why"), (1, " ", "why"), (1, "ann", ""), (1, "ann", "a\nb")]
    {
        assert!(Evidence::new((spent, None), (actor, reason), at).is_err(), "{spent} {actor} {reason}");
    }
    assert!(Evidence::new((1, None), ("ann", &"x".repeat(1_001)), at).is_err());
}

/// Ten million rows have few corrections: finding a row's own must not look at all rows.
#[test]
fn the_corrections_of_a_row_are_found_by_their_index() {
    let place = place();
    books(&place).0.close();
    let connection = schema::open_reader(&place.path).expect("a reader");
    let plan = original::plan(&connection).expect("a plan").join("\n");
    assert_eq!(plan.matches("INDEX entry_adjusts (adjusts=?)").count(), 3, "{plan}");
    assert!(plan.contains("SEARCH e USING INDEX attempt_by_time"), "{plan}");
}
