//! Counters with leases are marked.

use super::leases::{ask, attempt, counter, posted};
use super::*;
use crate::domain::standing::Unit;
use crate::meter::counter::WindowCounter;

// Mutations: a lease of a counter that is there marks nothing; a lease that goes back leaves the mark; a start leaves it.
#[test]
fn counters_with_leases_are_marked_so_that_a_start_finds_them() {
    let place = place();
    let mut store = SqliteStore::open(&place.path).expect("a new ledger");
    store.begin_run(&[]).expect("a run");
    let (old, new) = (counter("month", "old"), counter("month", "new"));
    let paid =
        |id, counter: &WindowCounter, covered| attempt(posted(entry(id, "globex", Some(9)), &[(counter, covered)]));
    let back = |counter: &WindowCounter, amount| Record::Return { counter: counter.clone(), unit: Unit::Money, amount };
    let mut marked = |batch: &[Record]| -> Vec<String> {
        store.append(batch).expect("a disk");
        let mut keys =
            store.connection.prepare("SELECT key FROM counter WHERE lent <> 0 ORDER BY key").expect("a table");
        keys.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("keys")
    };
    assert!(marked(&[paid("a", &old, 0)]).is_empty());
    assert_eq!(marked(&[ask(&new, 10, 80, 200), paid("b", &new, 9)]), ["new"], "a counter that the lease makes");
    assert_eq!(marked(&[ask(&old, 10, 80, 200)]), ["new", "old"], "a counter that is there");
    assert_eq!(marked(&[paid("c", &old, 9), paid("d", &new, 71)]), ["new", "old"], "a lease that is used up");
    assert_eq!(marked(&[ask(&new, 5, 5, 200), back(&old, 70)]), ["new", "old"], "a part goes back");
    assert_eq!(marked(&[back(&old, 1), back(&new, 5)]), [""; 0], "all of it");
    assert_eq!(marked(&[ask(&old, 5, 5, 200)]), ["old"]);
    assert_eq!(store.begin_run(&[]).expect("the next run"), 1);
    let plan = "EXPLAIN QUERY PLAN SELECT id FROM counter WHERE lent <> 0 AND leased_tokens <> 0";
    let plan: String = store.connection.query_one(plan, [], |row| row.get(3)).expect("a plan");
    assert_eq!(plan, "SCAN counter USING INDEX counter_lent", "a start reads no others");
    let mut marked = store.connection.prepare("SELECT key FROM counter WHERE lent <> 0").expect("a table");
    assert!(!marked.exists([]).expect("rows"), "what was leased is in doubt, and nothing is leased");
}
