//! Faults, row by row: what hostile input, broken providers, races and crashes may do to the accounts. The names of the
//! tests begin with their row in the fault matrix (B: providers and streams, C: budgets and concurrency, D: crash and
//! storage), and each says which change of the source makes it fail.
//!
//! The oracle is [`agree`]: the client's log, the ledger and the scripted provider's own bill, call by call.

mod budgets;
pub(crate) mod storage;
mod upstream;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ::bytes::Bytes;
use http::request::Builder;
use plimsoll::domain::money::Money;
use plimsoll::domain::price::PriceBook;
use plimsoll::domain::standing::Unit;
use plimsoll::domain::usage::Usage;
use plimsoll::node::Node;
use plimsoll::sim::BillLine;
use serde_json::Value;

use crate::harness::{Exchange, Reply, Rig};

/// One call as its client saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// What the call was marked with, see [`marked`].
    pub nonce: String,
    /// The status; 0 when the client left before it came.
    pub status: u16,
    /// Input and output tokens, where the answer said them to the client.
    pub usage: Option<(i64, i64)>,
}

/// One row of the ledger, as far as money is concerned.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub nonce: String,
    pub input: Option<i64>,
    pub output: Option<i64>,
    pub basis: String,
    pub ending: String,
    pub status: u16,
    /// Nano-dollars; `None` for an unpriced model.
    pub cost: Option<i64>,
}

/// A call in all three books.
#[derive(Debug, Clone)]
pub(crate) struct Agreed {
    pub told: Told,
    pub rows: Vec<Row>,
    pub lines: Vec<BillLine>,
    /// What the ledger charges, in nano-dollars.
    pub charged: i64,
    /// What the provider bills, in nano-dollars at list prices.
    pub billed: i64,
}

impl Agreed {
    /// The only row.
    pub(crate) fn row(&self) -> &Row {
        assert_eq!(self.rows.len(), 1, "{self:?}");
        &self.rows[0]
    }
}

/// Marks a call, so that its row and its line on the provider's bill are found again. Marks are unique in a test.
pub(crate) fn marked(builder: Builder, nonce: &str) -> Builder {
    builder.header("x-sim-nonce", nonce).header("plimsoll-attr-nonce", nonce)
}

impl Told {
    /// Nobody heard an answer.
    pub(crate) fn nothing(nonce: &str) -> Self {
        Self { nonce: nonce.to_owned(), ..Self::default() }
    }

    /// The client read this answer to its end, or to where it was cut.
    pub(crate) fn of(nonce: &str, reply: &Reply) -> Self {
        Self { nonce: nonce.to_owned(), status: reply.status.as_u16(), usage: stated(&reply.body) }
    }

    /// The client read a part of this answer and left.
    pub(crate) fn part(nonce: &str, exchange: &Exchange) -> Self {
        Self { nonce: nonce.to_owned(), status: exchange.status.as_u16(), usage: None }
    }
}

/// The usage that a clean OpenAI answer states, whole or streamed; read with another parser than the gateway's own.
fn stated(body: &Bytes) -> Option<(i64, i64)> {
    let text = String::from_utf8_lossy(body);
    let documents = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line));
    let documents = documents.filter_map(|text| serde_json::from_str::<Value>(text.trim()).ok());
    let mut usages = documents.map(|document| document["usage"].clone());
    let usage = usages.rfind(Value::is_object)?;
    Some((usage["prompt_tokens"].as_i64()?, usage["completion_tokens"].as_i64()?))
}

/// Every row of a ledger's file.
pub(crate) fn rows(file: &Path) -> Vec<Row> {
    let connection = rusqlite::Connection::open(file).expect("the ledger's file");
    let mut statement = connection
        .prepare(
            "SELECT attributes, input_tokens, output_tokens, basis, ending, status, cost_nano_usd \
             FROM entry WHERE ending <> 'adjustment' ORDER BY id",
        )
        .expect("a query");
    let rows = statement.query_map([], |row| {
        let attributes: Option<String> = row.get(0)?;
        let attributes: Value = attributes.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Row {
            nonce: attributes["nonce"].as_str().unwrap_or_default().to_owned(),
            input: row.get(1)?,
            output: row.get(2)?,
            basis: row.get(3)?,
            ending: row.get(4)?,
            status: row.get(5)?,
            cost: row.get(6)?,
        })
    });
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

/// What a line of the provider's bill costs at list prices, in nano-dollars.
pub(crate) fn price(line: &BillLine) -> i64 {
    if !line.billed {
        return 0;
    }
    let prices = PriceBook::builtin();
    let family = match line.path.as_str() {
        path if path.starts_with("/v1/messages") => "anthropic",
        path if path.starts_with("/v1beta/") => "gemini",
        _ => "openai",
    };
    let row = prices.find(family, family, &line.model).expect("a model of the scripted provider has a price");
    let usage = Usage {
        input: Some(line.input_tokens),
        cached_input: Some(line.cached_input_tokens),
        output: Some(line.output_tokens),
        reasoning: Some(line.reasoning_tokens),
        ..Usage::default()
    };
    row.cost(&usage).map_or(i64::MAX, Money::nano)
}

/// What calls in flight hold, in nano-dollars and tokens, summed over all counters.
pub(crate) fn held(node: &Node) -> i64 {
    let mut held = 0;
    node.control().meter().for_each(|_, _, counter| {
        let Some(window) = counter.present() else { return };
        for unit in Unit::ALL {
            held += window.cell(unit).committed() - window.cell(unit).used();
        }
    });
    held
}

/// What every budget that counts anything has counted in its present windows, in doubt included, in nano-dollars.
pub(crate) fn counted(node: &Node) -> HashMap<String, i64> {
    let mut counted = HashMap::new();
    node.control().meter().for_each(|identity, _, counter| {
        let used = counter.present().map_or(0, |window| window.cell(Unit::Money).used());
        *counted.entry(identity.to_string()).or_default() += used;
    });
    counted
}

/// Asks again until `done`, for at most `patience`. The patience is only ever spent by a test that fails.
pub(crate) async fn until(what: &str, patience: Duration, mut done: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + patience;
    while std::time::Instant::now() < deadline {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen within {patience:?}");
}

/// The three books of a running gateway, once nothing is in flight any more: see [`compare`].
pub(crate) async fn agree(rig: &Rig, log: &[Told]) -> Vec<Agreed> {
    let file = rig.folder.path().join("plimsoll.db");
    until("the end of every call", Duration::from_secs(30), async || {
        held(&rig.node) == 0 && rig.provider.bill().iter().all(|line| !line.open) && rows(&file).len() >= log.len()
    })
    .await;
    let agreed = compare(log, &rows(&file), &rig.provider.bill());
    let ledger: i64 = agreed.iter().map(|call| call.charged).sum();
    for (budget, used) in counted(&rig.node) {
        assert!(used <= ledger, "budget {budget} has counted {used}, and the ledger has {ledger}");
    }
    agreed
}

/// Holds the client's log, the ledger and the provider's bill against each other, call by call, in the order of the log:
///
/// - no call is in only one of the books: every row and every line belongs to a call of the log, and a call that reached the
///   provider has a row;
/// - under-billing is 0: every call is charged at least what the provider bills for it;
/// - a row that says `exact` is the bill to the nano-dollar, and what the client read of usage;
/// - the client's status is the row's;
/// - a call that was refused before it left is on no bill and costs nothing.
pub(crate) fn compare(log: &[Told], rows: &[Row], bill: &[BillLine]) -> Vec<Agreed> {
    let known: HashMap<&str, &Told> = log.iter().map(|told| (told.nonce.as_str(), told)).collect();
    assert_eq!(known.len(), log.len(), "a mark was used twice");
    for row in rows {
        assert!(known.contains_key(row.nonce.as_str()), "no client knows {row:?}");
    }
    for line in bill {
        assert!(known.contains_key(line.nonce.as_str()), "no client knows {line:?}");
    }
    let agreed: Vec<Agreed> = log.iter().map(|told| together(told, rows, bill)).collect();
    agreed.iter().for_each(check);
    agreed
}

fn together(told: &Told, rows: &[Row], bill: &[BillLine]) -> Agreed {
    let rows: Vec<Row> = rows.iter().filter(|row| row.nonce == told.nonce).cloned().collect();
    let lines: Vec<BillLine> = bill.iter().filter(|line| line.nonce == told.nonce).cloned().collect();
    let charged = rows.iter().filter_map(|row| row.cost).sum();
    let billed = lines.iter().map(price).sum();
    Agreed { told: told.clone(), rows, lines, charged, billed }
}

fn check(call: &Agreed) {
    assert!(call.lines.len() <= call.rows.len(), "an attempt reached the provider and has no row: {call:#?}");
    assert!(call.charged >= call.billed, "under-billed: {call:#?}");
    if call.rows.iter().all(|row| row.basis == "exact") {
        assert_eq!(call.charged, call.billed, "an exact row is not what was billed: {call:#?}");
    }
    if call.rows.iter().any(|row| row.ending == "refused") {
        assert!(call.lines.is_empty() && call.charged == 0, "a refused call left: {call:#?}");
    }
    if let ([row], told @ 1..) = (call.rows.as_slice(), call.told.status) {
        assert_eq!(row.status, told, "the client was told another status: {call:#?}");
    }
    if let (Some((input, output)), [row]) = (call.told.usage, call.rows.as_slice()) {
        assert_eq!((row.input, row.output), (Some(input), Some(output)), "the client read another usage: {call:#?}");
    }
}
