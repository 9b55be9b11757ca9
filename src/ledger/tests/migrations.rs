//! What an earlier version wrote is there after its tables have changed.

use rusqlite::Connection;

use super::*;
use crate::domain::standing::Unit;

const THIRD: &str = include_str!("../../../tests/faults/storage/ledger-v3.sql");

// Mutations: counters are numbered anew; doubts stay behind; what is complete is forgotten.
#[test]
fn counters_leases_and_doubts_of_version_3_are_kept() {
    let place = place();
    Connection::open(&place.path).expect("a new file").execute_batch(THIRD).expect("version 3");
    let mut store = SqliteStore::open(&place.path).expect("a ledger of version 3");
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
    let complete = counters::complete(&store.connection).expect("identities");
    assert_eq!(complete.iter().map(|(_, since)| since.micros()).collect::<Vec<_>>(), [500]);
    let mut marked = store.connection.prepare("SELECT count(*) FROM counter WHERE lent <> 0").expect("a table");
    assert_eq!(marked.query_one([], |row| row.get::<_, u32>(0)).expect("a number"), 1, "what is leased is marked");
    drop(marked);
    // The lease was never settled: the run that goes on puts it in doubt.
    assert_eq!(store.begin_run(&[]).expect("a new run"), 1);
    let doubted = store.counters().expect("counters").into_iter().find(|counter| counter.name.key.is_empty());
    assert_eq!(doubted.map(|counter| (counter.in_doubt[0], counter.leased[0])), Some((7, 0)));
}
