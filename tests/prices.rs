//! `plimsoll prices`, as it is called: the binary, a ledger on disk, samples of what providers export.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::clock::{Clock, SystemClock, Timestamp};
use plimsoll::domain::money::Money;
use plimsoll::domain::price::{PriceBook, PriceRow};
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::domain::usage::{Basis, Usage};
use plimsoll::ledger::Ledger;
use plimsoll::ledger::entry::{Ending, LedgerEntry};
use plimsoll::meter::reservation::Postings;

/// A ledger in a folder of its own.
struct Books {
    folder: tempfile::TempDir,
    ledger: Ledger,
    written: usize,
}

impl Books {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ledger = Ledger::open(&folder.path().join("plimsoll.db")).expect("a ledger");
        Self { folder, ledger, written: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&mut self, entry: LedgerEntry) {
        self.written += 1;
        let id: Arc<str> = Arc::from(format!("req_{}", self.written));
        let permit = self.ledger.permit().expect("a place in the queue");
        permit.send(LedgerEntry { attempt_id: Arc::clone(&id), request_id: id, ..entry });
        self.ledger.flush().expect("a written row");
    }

    fn forget_prices(&self) {
        let connection = rusqlite::Connection::open(self.path("plimsoll.db")).expect("a connection");
        connection.execute("DELETE FROM price", []).expect("no prices");
    }

    /// Runs `plimsoll prices …` beside the open ledger. Exit code, and all that it wrote with the folder's name taken out.
    fn prices(&self, arguments: &[&str]) -> (i32, String) {
        let ledger = self.path("plimsoll.db");
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .current_dir(self.folder.path())
            .arg("prices")
            .args(arguments)
            .arg("--ledger")
            .arg(&ledger)
            .env_remove("PLIMSOLL_LOG")
            .output()
            .expect("a run");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8").replace(&format!("{}/", self.folder.path().display()), "");
        (output.status.code().unwrap_or(-1), text.replace(&format!("{}/", samples().display()), ""))
    }

    fn reconciled(&self, sample: &str, more: &[&str]) -> (i32, String) {
        let file = samples().join(sample);
        self.prices(&[&["reconcile", file.to_str().expect("a path")], more].concat())
    }
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invoices")
}

fn at(moment: &str) -> Timestamp {
    Timestamp::from_jiff(moment.parse().expect("a moment"))
}

fn usage(input: u64, cached: u64, output: u64) -> Usage {
    Usage { input: Some(input), cached_input: Some(cached), output: Some(output), ..Usage::default() }
}

/// A row of the first of October, priced by the built-in table where the model has a price.
fn used(provider: &str, model: &str, usage: Usage) -> LedgerEntry {
    let price = PriceBook::builtin().find(provider, provider, model).cloned();
    LedgerEntry {
        attempt_id: Arc::from(""),
        request_id: Arc::from(""),
        admitted_at: at("2026-10-01T12:00:00Z"),
        tenant: Arc::new(Tenant::unknown(TenantId::new("globex").expect("a name"))),
        attribution: Arc::new(Attribution::default()),
        key_name: None,
        provider: Arc::from(provider),
        dialect: Arc::from("openai-chat"),
        path: Arc::from("/v1/chat/completions"),
        model_requested: Some(Arc::from("asked-for")),
        model_served: Some(Arc::from("sent")),
        model_answered: Some(Arc::from(model)),
        stream: false,
        logical: true,
        usage,
        basis: Basis::Exact,
        cost: price.as_ref().and_then(|price| price.cost(&usage)),
        price,
        status: 200,
        ending: Ending::Complete,
        decision: Arc::from(""),
        would: Arc::from(""),
        policy: Arc::from("r1"),
        overhead_us: 1,
        first_byte_us: None,
        duration_us: 1,
        postings: Postings::new(),
        snapshot: 1,
        correction: None,
    }
}

/// What the samples bill, less two thirds of the cached input; and rows that are not the invoice's business.
fn almost_all_of_openai() -> Books {
    let mut books = Books::new();
    books.write(used("openai", "gpt-4o-2024-08-06", usage(1_333_333, 333_333, 500_000)));
    books.write(LedgerEntry {
        admitted_at: at("2026-10-03T23:59:59.999999Z"),
        ..used("openai", "gpt-4o-mini-2024-07-18", usage(100, 0, 10))
    });
    let elsewhere = used("openai", "gpt-4o-2024-08-06", usage(9_000_000, 0, 9_000_000));
    books.write(LedgerEntry { admitted_at: at("2026-10-04T00:00:00Z"), ..elsewhere.clone() });
    books.write(LedgerEntry { admitted_at: at("2026-09-30T23:59:59.999999Z"), ..elsewhere.clone() });
    books.write(LedgerEntry { provider: Arc::from("groq"), ..elsewhere.clone() });
    books.write(LedgerEntry { ending: Ending::Refused, ..elsewhere });
    books
}

#[test]
fn the_ledger_and_an_invoice_stand_side_by_side() {
    let books = almost_all_of_openai();
    let (code, text) = books.reconciled("openai-costs.csv", &[]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(text, @r"
    ledger $7.92   invoice $8.76   −9.6%   largest gap: cached input on gpt-4o (−$0.83)
    OpenAI costs export (CSV), 2026-10-01 to 2026-10-03 UTC, 6 lines

    model                  kind             ledger    invoice     gap
    gpt-4o                 input             $2.50      $2.50   $0.00     0.0%
                           cached input      $0.42      $1.25  −$0.83   −66.7%
                           output            $5.00      $5.00   $0.00     0.0%
    gpt-4o-mini            input         $0.000015  $0.000015   $0.00     0.0%
                           output        $0.000006  $0.000006   $0.00     0.0%
    web search tool calls  not tokens        $0.00      $0.01  −$0.01  −100.0%
    ");
    let (_, of_json) = books.reconciled("openai-costs.json", &[]);
    assert_eq!(of_json.replace("OpenAI costs (JSON)", "OpenAI costs export (CSV)"), text);
    let (_, usage) = books.reconciled("openai-usage.csv", &[]);
    insta::assert_snapshot!(usage, @r"
    ledger 1 833 443 tokens   invoice 2 500 110 tokens   −26.7%   largest gap: cached input on gpt-4o (−666 667)
    OpenAI usage export (CSV), 2026-10-01 to 2026-10-03 UTC, 5 lines

    model        kind             ledger    invoice       gap
    gpt-4o       input         1 000 000  1 000 000         0    0.0%
                 cached input    333 333  1 000 000  −666 667  −66.7%
                 output          500 000    500 000         0    0.0%
    gpt-4o-mini  input               100        100         0    0.0%
                 output               10         10         0    0.0%
    ");
}

#[test]
fn a_machine_reads_the_same_in_nano_dollars() {
    let books = almost_all_of_openai();
    let (code, text) = books.reconciled("openai-costs.csv", &["-o", "json"]);
    serde_json::from_str::<serde_json::Value>(&text).expect("one JSON object");
    assert_eq!(code, 0);
    insta::assert_snapshot!(text.replace("{\"gap\"", "\n{\"gap\""), @r#"
    {"charged_nano_usd":7916687250,"estimated_nano_usd":0,"format":"OpenAI costs export (CSV)","gap":-843333750,"gaps":[
    {"gap":0,"invoice":2500000000,"kind":"input","ledger":2500000000,"model":"gpt-4o"},
    {"gap":-833333750,"invoice":1250000000,"kind":"cached_input","ledger":416666250,"model":"gpt-4o"},
    {"gap":0,"invoice":5000000000,"kind":"output","ledger":5000000000,"model":"gpt-4o"},
    {"gap":0,"invoice":15000,"kind":"input","ledger":15000,"model":"gpt-4o-mini"},
    {"gap":0,"invoice":6000,"kind":"output","ledger":6000,"model":"gpt-4o-mini"},
    {"gap":-10000000,"invoice":10000000,"kind":"not_tokens","ledger":0,"model":"web search tool calls"}],"in_doubt_nano_usd":0,"invoice":8760021000,"largest":
    {"gap":-833333750,"invoice":1250000000,"kind":"cached_input","ledger":416666250,"model":"gpt-4o"},"ledger":7916687250,"notes":[],"provider":"openai","rows":2,"since":"2026-10-01T00:00:00Z","unit":"nano_usd","unknown_price_rows":[],"unpriced_rows":0,"until":"2026-10-04T00:00:00Z"}
    "#);
}

#[test]
fn every_kind_of_token_is_matched_at_its_own_price() {
    let mut books = Books::new();
    let usage = Usage {
        input: Some(4_000_000),
        cached_input: Some(1_000_000),
        cache_write: Some(2_000_000),
        cache_write_1h: Some(1_000_000),
        output: Some(1_000_000),
        reasoning: None,
    };
    // In calls short enough for the ordinary price.
    let short = |tokens: Option<u64>| tokens.map(|tokens| tokens / 40);
    let short = Usage {
        input: short(usage.input),
        cached_input: short(usage.cached_input),
        cache_write: short(usage.cache_write),
        cache_write_1h: short(usage.cache_write_1h),
        output: short(usage.output),
        reasoning: None,
    };
    for _ in 0..40 {
        books.write(used("anthropic", "claude-sonnet-4-5-20250929", short));
    }
    insta::assert_snapshot!(books.reconciled("anthropic-cost.csv", &[]).1, @r"
    ledger $28.05   invoice $28.06   0.0%   largest gap: web_search (−$0.01)
    Anthropic cost export (CSV), 2026-10-01 to 2026-10-03 UTC, 6 lines

    model              kind          ledger  invoice     gap
    claude-sonnet-4-5  input          $3.00    $3.00   $0.00     0.0%
                       cached input   $0.30    $0.30   $0.00     0.0%
                       cache write    $9.75    $9.75   $0.00     0.0%
                       output        $15.00   $15.00   $0.00     0.0%
    web_search         not tokens     $0.00    $0.01  −$0.01  −100.0%

    ! the export rounds each of its 6 rows to a cent: up to $0.030 of the gap may be that
    ");
    insta::assert_snapshot!(books.reconciled("anthropic-cost-report.json", &[]).1, @r"
    ledger $28.05   invoice $28.06   0.0%   largest gap: web_search (−$0.01)
    Anthropic cost report (JSON), 2026-10-01 UTC, 6 lines

    model              kind          ledger  invoice     gap
    claude-sonnet-4-5  input          $3.00    $3.00   $0.00     0.0%
                       cached input   $0.30    $0.30   $0.00     0.0%
                       cache write    $9.75    $9.75   $0.00     0.0%
                       output        $15.00   $15.00   $0.00     0.0%
    web_search         not tokens     $0.00    $0.01  −$0.01  −100.0%

    ! the last page says that there is more: days after it are not compared
    ");
    insta::assert_snapshot!(books.reconciled("anthropic-usage.csv", &[]).1, @r"
    ledger 5 000 000 tokens   invoice 5 000 000 tokens   0.0%   no gap
    Anthropic usage export (CSV), 2026-10-01 UTC, 5 lines

    model              kind             ledger    invoice  gap
    claude-sonnet-4-5  input         1 000 000  1 000 000    0  0.0%
                       cached input  1 000 000  1 000 000    0  0.0%
                       cache write   2 000 000  2 000 000    0  0.0%
                       output        1 000 000  1 000 000    0  0.0%
    ");
}

#[test]
fn what_the_ledger_cannot_itemise_is_said() {
    let mut books = Books::new();
    let row = || used("openai", "gpt-4o-2024-08-06", usage(1_000_000, 0, 0));
    books.write(row());
    books.write(LedgerEntry { basis: Basis::InDoubt, cost: Some(Money::from_nano(9_000_000_000)), ..row() });
    books.write(LedgerEntry { basis: Basis::Estimated, ..row() });
    let mut old = PriceRow::clone(row().price.as_deref().expect("a price"));
    old.id = Arc::from("builtin@2024-01-01/gpt-4o");
    books.write(LedgerEntry { price: Some(Arc::new(old)), ..row() });
    // As in a ledger that an early version wrote, which kept no prices.
    books.forget_prices();
    books.write(used("openai", "ft:gpt-4o:globex", usage(7, 0, 1)));
    insta::assert_snapshot!(books.reconciled("openai-costs.csv", &[]).1, @r"
    ledger $16.50   invoice $8.76   +88.4%   largest gap: not itemised on gpt-4o (+$9.00)
    OpenAI costs export (CSV), 2026-10-01 to 2026-10-03 UTC, 6 lines

    model                  kind          ledger    invoice         gap
    gpt-4o                 input          $7.50      $2.50      +$5.00  +200.0%
                           cached input   $0.00      $1.25      −$1.25  −100.0%
                           output         $0.00      $5.00      −$5.00  −100.0%
                           not itemised   $9.00      $0.00      +$9.00      n/a
    gpt-4o-mini            input          $0.00  $0.000015  −$0.000015  −100.0%
                           output         $0.00  $0.000006  −$0.000006  −100.0%
    web search tool calls  not tokens     $0.00      $0.01      −$0.01  −100.0%

    ! 1 row of the ledger is unpriced and counts as nothing here; see `plimsoll prices`
    ! price row `builtin@2024-01-01/gpt-4o` is not known any more: 1 row, $2.50, not itemised
    ! $2.50 of the ledger is estimated: the provider did not say
    ! $9.00 of the ledger is in doubt; see `plimsoll ledger in-doubt`
    ");
}

#[test]
fn a_row_is_split_by_the_price_that_it_was_priced_with() {
    let mut books = Books::new();
    // A price that was changed twice under one name, and is in no table today.
    let usage = usage(1_000_000, 500_000, 100_000);
    for dollars in [2, 4] {
        let text = format!(
            "version: 1\nas_of: 2026-09-01\nmodels:\n  gpt-4o: {{ provider: openai, input: {dollars}, output: 10 }}\n"
        );
        let book = PriceBook::builtin().with_yaml("ours.yaml", &text).expect("prices");
        let price = book.find("openai", "openai", "gpt-4o").cloned();
        let cost = price.as_ref().and_then(|price| price.cost(&usage));
        books.write(LedgerEntry { price, cost, ..used("openai", "gpt-4o-2024-08-06", usage) });
    }
    let (_, text) = books.reconciled("openai-costs.csv", &[]);
    let kinds = ["input          $3.00 ", "cached input   $3.00 ", "output         $2.00 "];
    assert!(kinds.iter().all(|kind| text.contains(kind)) && !text.contains("not itemised"), "{text}");
}

#[test]
fn a_file_that_cannot_be_compared_says_why_and_what_to_do() {
    let books = almost_all_of_openai();
    std::fs::write(books.path("bad.csv"), "start_time,amount_value,amount_currency\n1790812800,1.00,eur\n")
        .expect("a file");
    std::fs::write(books.path("odd.csv"), b"\xff\xfea\0,\0").expect("a file");
    for file in ["bad.csv", "odd.csv", "none.csv"] {
        let (code, text) = books.prices(&["reconcile", file]);
        assert!(code == 2 && text.starts_with("error"), "{text}");
    }
    insta::assert_snapshot!(books.prices(&["reconcile", "bad.csv"]).1, @r"
    error[E044]: an amount in `eur`, and the ledger is in USD
     --> bad.csv:2:17
      |
    2 | 1790812800,1.00,eur
      |                 ^^^
      = help: export the costs in USD
    ");
    insta::assert_snapshot!(books.prices(&["reconcile", "odd.csv"]).1, @"error: `odd.csv` is not UTF-8; export it as CSV or JSON in UTF-8");
    insta::assert_snapshot!(books.reconciled("anthropic-cost.csv", &[]).1, @"error: the ledger has no rows of `anthropic`, only of `groq`, `openai`; say which with `--provider NAME`");
    let (code, text) = books.reconciled("openai-costs.csv", &["--provider", "groq"]);
    assert!(code == 0 && text.starts_with("ledger $112.50 "), "{text}");
}

#[test]
fn the_tariff_says_what_it_holds_and_what_it_lacks() {
    let mut books = Books::new();
    let (code, text) = books.prices(&[]);
    assert_eq!((code, text.trim_end()), (0, format!("{}  built-in table 2026-11-16", models()).as_str()));
    let now = SystemClock.now();
    let fine_tuned = || LedgerEntry {
        admitted_at: now,
        model_requested: Some(Arc::from("ft:gpt-4o:globex")),
        ..used("openai", "ft:gpt-4o:globex:x1", usage(7, 0, 1))
    };
    books.write(fine_tuned());
    books.write(fine_tuned());
    books.write(LedgerEntry { model_requested: None, ..fine_tuned() });
    books.write(LedgerEntry { basis: Basis::Unmetered, ..fine_tuned() });
    books.write(LedgerEntry { admitted_at: at("2026-01-01T00:00:00Z"), ..fine_tuned() });
    std::fs::write(
        books.path("prices.yaml"),
        "version: 1\nas_of: 2026-11-01\nmodels:\n  gpt-4o: { provider: openai, input: 2, output: 9 }\n  my-model: { provider: groq, input: 1, output: 2 }\n",
    )
    .expect("prices");
    std::fs::write(books.path("plimsoll.yaml"), "prices: [prices.yaml]\n").expect("a configuration");
    let (code, text) = books.prices(&[]);
    assert_eq!(code, 1, "{text}");
    let count = |text: &str| text.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a count");
    assert_eq!(count(&text), count(&models()) + 1, "an override of a known model is no further model");
    insta::assert_snapshot!(text.split_once(' ').expect("a count").1, @r"
    models  built-in table 2026-11-16   2 overrides (prices.yaml)
    ! unpriced in the last 7 days: ft:gpt-4o:globex at openai (2 requests, metered as tokens, cost unknown)
                                   (no model) at openai (1 request, metered as tokens, cost unknown)
      add them to a file under `prices:` in plimsoll.yaml
    ");
}

fn models() -> String {
    let mut names: Vec<String> =
        PriceBook::builtin().rows().map(|row| format!("{} {:?}", row.model, row.provider)).collect();
    names.sort();
    names.dedup();
    format!("{} models", names.len())
}
