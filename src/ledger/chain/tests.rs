//! Laws of the bytes of a row and of the chain.

use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        ".{0,24}".prop_map(Value::Text),
        vec(any::<u8>(), 0..24).prop_map(Value::Blob),
    ]
}

fn row() -> impl Strategy<Value = Vec<Value>> {
    vec(value(), 0..12)
}

fn bytes_of(row: &[Value]) -> Vec<u8> {
    let values: Vec<ValueRef<'_>> = row.iter().map(ValueRef::from).collect();
    let mut bytes = Vec::new();
    encode(values.iter().copied(), &mut bytes);
    bytes
}

proptest! {
    // Mutation: no length before text makes `ab`,`c` and `a`,`bc` the same bytes.
    #[test]
    fn what_is_encoded_is_decoded(row in row()) {
        prop_assert_eq!(decode(&bytes_of(&row)), Some(row));
    }

    #[test]
    fn two_different_rows_never_have_the_same_bytes(one in row(), other in row()) {
        prop_assert_eq!(one == other, bytes_of(&one) == bytes_of(&other));
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic_and_only_in_one_way(bytes in vec(prop_oneof![0_u8..5, any::<u8>()], 0..64)) {
        if let Some(row) = decode(&bytes) {
            prop_assert_eq!(bytes_of(&row), bytes);
        }
    }

    // Mutation: a link that leaves out the head or the row.
    #[test]
    fn any_flipped_bit_changes_the_link(head: [u8; 32], row in vec(any::<u8>(), 0..64), at: prop::sample::Index) {
        let link = |head: &[u8], row: &[u8]| Chain::from_head(head).expect("32 bytes").link(row);
        let (mut other_head, mut other_row) = (head, row.clone());
        let bit = at.index((head.len() + row.len()) * 8);
        let byte = bit / 8;
        let place = if byte < 32 { &mut other_head[byte] } else { &mut other_row[byte - 32] };
        *place ^= 1 << (bit % 8);
        prop_assert_ne!(link(&head, &row), link(&other_head, &other_row));
    }
}

#[test]
fn a_row_has_the_same_bytes_before_and_after_sqlite() {
    let connection = Connection::open_in_memory().expect("a database");
    connection.execute_batch("CREATE TABLE t (a INTEGER, b TEXT, c TEXT, d BLOB, e INTEGER) STRICT").expect("a table");
    let row = [
        Value::Integer(i64::MIN),
        Value::Text("ü\u{0}\u{1f600}".to_owned()),
        Value::Null,
        Value::Blob(vec![0, 255]),
        Value::Integer(-1),
    ];
    connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rusqlite::params_from_iter(&row)).expect("a row");
    let found = connection
        .query_row("SELECT * FROM t", [], |stored| {
            let values = (0..5).map(|at| stored.get_ref(at)).collect::<Result<Vec<_>, _>>()?;
            let mut bytes = Vec::new();
            encode(values.iter().copied(), &mut bytes);
            Ok(bytes)
        })
        .expect("the row");
    assert_eq!(found, bytes_of(&row));
}

#[test]
fn neighbours_do_not_run_into_each_other() {
    let text = |parts: [&str; 2]| bytes_of(&parts.map(|part| Value::Text(part.to_owned())));
    assert_ne!(text(["ab", "c"]), text(["a", "bc"]));
    assert_ne!(bytes_of(&[Value::Text("1".to_owned())]), bytes_of(&[Value::Blob(b"1".to_vec())]));
    assert_eq!(decode(&[TEXT, 255, 255, 255, 255, 255, 255, 255, 255]), None, "a length beyond the end");
    assert_eq!(decode(&[TEXT, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]), None, "not UTF-8");
}

#[test]
fn the_chain_begins_at_nothing_and_goes_on_from_its_head() {
    let mut chain = Chain::GENESIS;
    let first = chain.link(b"a row");
    assert_eq!(first, <[u8; 32]>::from(Sha256::digest([[0; 32].as_slice(), b"a row"].concat())));
    let mut other = Chain::from_head(&first).expect("32 bytes");
    assert_eq!((other, chain.link(b"b")), (Chain { head: first }, other.link(b"b")));
    assert_eq!((Chain::from_head(&first[1..]), chain.head()), (None, other.head()));
}
