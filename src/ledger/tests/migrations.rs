//! What an earlier version wrote is there after its tables have changed.

use rusqlite::Connection;

use super::books::month;
use super::*;
use crate::domain::standing::Unit;
use crate::meter::reservation::Posting;

/// A ledger of version 3: counters of two budgets, a lease that is out, a doubt that is resolved and one that is not.
const THIRD: &str = r#"
INSERT INTO counter VALUES
    (3, '{"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"}', 'globex', 1000, 9000, 1, 2, 3, 40, 5, 6, 0, 0, 0),
    (7, '{"budget":"b","per":[],"span":"day","zone":"UTC"}', '', 1000, 2000, 10, 20, 30, 0, 0, 0, 7, 0, 0),
    (8, '{"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"}', 'acme', 1000, 9000, 4, 5, 6, 0, 0, 0, 0, 0, 0);
INSERT INTO complete VALUES ('{"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"}', 500);
INSERT INTO doubt VALUES (1, 3, 'nano_usd', 40, 1, NULL, NULL, NULL), (2, 8, 'tokens', 9, 1, 5, 'ann', 'export');
"#;

fn of_version(path: &Path, version: usize, content: &str) {
    let connection = Connection::open(path).expect("a new file");
    schema::MIGRATIONS[..version].iter().for_each(|step| connection.execute_batch(step).expect("a step"));
    connection.pragma_update(None, "application_id", 0x506c_696d).expect("an id");
    connection.pragma_update(None, "user_version", u32::try_from(version).expect("a number")).expect("a version");
    connection.execute_batch(content).expect("rows");
}

// Mutations: counters are numbered anew; doubts stay behind.
#[test]
fn counters_leases_and_doubts_of_version_3_are_kept() {
    let place = place();
    of_version(&place.path, 3, THIRD);
    let store = SqliteStore::open(&place.path).expect("a ledger of version 3");
    let mut found = store.counters().expect("counters");
    found.sort_by(|one, other| one.name.key.cmp(&other.name.key));
    let told = |counter: &StoredCounter| {
        let StoredCounter { name, window, posted, in_doubt, leased } = counter;
        let (start, end) = (window.start.micros(), window.end.micros());
        format!("{} `{}` {start}..{end} {posted:?} {in_doubt:?} {leased:?}", name.identity, name.key)
    };
    insta::assert_snapshot!(found.iter().map(told).collect::<Vec<_>>().join("\n"), @r#"
    {"budget":"b","per":[],"span":"day","zone":"UTC"} `` 1000..2000 [10, 20, 30] [0, 0, 0] [7, 0, 0]
    {"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"} `acme` 1000..9000 [4, 5, 6] [0, 0, 0] [0, 0, 0]
    {"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"} `globex` 1000..9000 [1, 2, 3] [40, 5, 6] [0, 0, 0]
    "#);
    let open = doubts::open(&store.connection).expect("doubts");
    assert_eq!(
        open.iter().map(|doubt| (doubt.id, &*doubt.name.key, doubt.amount)).collect::<Vec<_>>(),
        [(1, "globex", 40)]
    );
    let spent = doubts::by_counter(&store.connection).expect("doubts");
    assert_eq!((spent.len(), &*spent[1].name.key, spent[1].posted[Unit::Tokens.index()]), (2, "acme", 5));
    let whole: String = store.connection.query_one("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(whole, "ok");
    assert!(!store.connection.prepare("PRAGMA foreign_key_check").expect("a check").exists([]).expect("a check"));
}

// Mutations: what is there already is passed over; the second of a batch is; what was rolled back is remembered.
#[test]
fn a_counter_that_this_run_has_not_seen_yet_goes_on_and_has_one_row() {
    let place = place();
    let row = |id, tenant| {
        // Each with a counter in memory of its own, as an old and a new policy have.
        let postings = [Posting { counter: month(tenant), covered: [0; 3] }].into_iter().collect();
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
