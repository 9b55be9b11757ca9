//! Every known export, read from a sample; and files that are none.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

macro_rules! sample {
    ($name:literal) => {
        Source::new($name, include_str!(concat!("../../tests/invoices/", $name)))
    };
}

/// What was read, a line each: pico-dollars or tokens.
fn told(source: &Source) -> String {
    let invoice = read(source).expect("a known export");
    let Invoice { provider, format, since, until, .. } = &invoice;
    let mut text = format!("{provider}: {format}, {since} to {until}\n");
    for line in &invoice.lines {
        let _ = writeln!(text, "{} | {} | {}", line.model, line.kind.as_str(), line.amount);
    }
    for note in &invoice.notes {
        let _ = writeln!(text, "! {note}");
    }
    text
}

#[test]
fn openai_says_what_it_billed_in_three_ways() {
    insta::assert_snapshot!(told(&sample!("openai-costs.csv")), @r"
    openai: OpenAI costs export (CSV), 2026-10-01T00:00:00Z to 2026-10-04T00:00:00Z
    gpt-4o-2024-08-06 | input | 2500000000000
    gpt-4o-2024-08-06 | cached input | 1250000000000
    gpt-4o-2024-08-06 | output | 5000000000000
    gpt-4o-mini-2024-07-18 | input | 15000000
    gpt-4o-mini-2024-07-18 | output | 6000000
    web search tool calls | not tokens | 10000000000
    ");
    let lines = |source: &Source| read(source).expect("a known export").lines;
    assert_eq!(lines(&sample!("openai-costs.json")), lines(&sample!("openai-costs.csv")));
    insta::assert_snapshot!(told(&sample!("openai-usage.csv")), @r"
    openai: OpenAI usage export (CSV), 2026-10-01T00:00:00Z to 2026-10-04T00:00:00Z
    gpt-4o-2024-08-06 | input | 1000000
    gpt-4o-2024-08-06 | cached input | 1000000
    gpt-4o-2024-08-06 | output | 500000
    gpt-4o-mini-2024-07-18 | input | 100
    gpt-4o-mini-2024-07-18 | output | 10
    ");
}

#[test]
fn anthropic_says_what_it_billed_in_three_ways() {
    insta::assert_snapshot!(told(&sample!("anthropic-cost.csv")), @r"
    anthropic: Anthropic cost export (CSV), 2026-10-01T00:00:00Z to 2026-10-04T00:00:00Z
    claude-sonnet-4-5 | input | 3000000000000
    claude-sonnet-4-5 | cached input | 300000000000
    claude-sonnet-4-5 | cache write | 3750000000000
    claude-sonnet-4-5 | cache write | 6000000000000
    claude-sonnet-4-5 | output | 15000000000000
    web_search | not tokens | 10000000000
    ! the export rounds each of its 6 rows to a cent: up to $0.030 of the gap may be that
    ");
    insta::assert_snapshot!(told(&sample!("anthropic-cost-report.json")), @r"
    anthropic: Anthropic cost report (JSON), 2026-10-01T00:00:00Z to 2026-10-02T00:00:00Z
    claude-sonnet-4-5-20250929 | input | 3000000010000
    claude-sonnet-4-5-20250929 | cached input | 300000000000
    claude-sonnet-4-5-20250929 | cache write | 3750000000000
    claude-sonnet-4-5-20250929 | cache write | 6000000000000
    claude-sonnet-4-5-20250929 | output | 15000000000000
    web_search | not tokens | 10000000000
    ! the last page says that there is more: days after it are not compared
    ");
    insta::assert_snapshot!(told(&sample!("anthropic-usage.csv")), @r"
    anthropic: Anthropic usage export (CSV), 2026-10-01T00:00:00Z to 2026-10-02T00:00:00Z
    claude-sonnet-4-5-20250929 | input | 1000000
    claude-sonnet-4-5-20250929 | output | 1000000
    claude-sonnet-4-5-20250929 | cached input | 1000000
    claude-sonnet-4-5-20250929 | cache write | 1000000
    claude-sonnet-4-5-20250929 | cache write | 1000000
    ");
}

#[test]
fn a_list_of_pages_and_totals_without_a_line_item_are_read_too() {
    let page = |value: &str| {
        format!(
            "{{\"data\":[{{\"start_time\":1790812800,\"end_time\":1790899200,\"results\":[{{\"amount\":{{\"value\":{value}}}}}]}}]}}"
        )
    };
    insta::assert_snapshot!(told(&Source::new("pages.json", &format!("[{},\n{}]", page("0.1"), page("\"0.20\"")))), @r"
    openai: OpenAI costs (JSON), 2026-10-01T00:00:00Z to 2026-10-02T00:00:00Z
     | all tokens | 100000000000
     | all tokens | 200000000000
    ! the export does not say what was billed; group it by line item to compare models and kinds of token
    ");
    insta::assert_snapshot!(told(&Source::new("totals.csv", "start_time,amount_value\n2026-10-01,12.5\n")), @r"
    openai: OpenAI costs export (CSV), 2026-10-01T00:00:00Z to 2026-10-02T00:00:00Z
     | all tokens | 12500000000000
    ! the export does not say what was billed; group it by line item to compare models and kinds of token
    ");
}

/// The mistakes of a file, a line each.
fn mistakes(name: &str, text: &str) -> String {
    let problems = read(&Source::new(name, text)).expect_err("a broken file");
    let lines: Vec<String> = problems.iter().map(Diagnostic::one_line).collect();
    lines.join("\n")
}

#[test]
fn a_file_that_is_no_export_is_told_what_would_be_one() {
    insta::assert_snapshot!(mistakes("x.csv", "date,total\n2026-10-01,3\n"), @"x.csv:1:1: error[E041]: these columns are of no export that is known: date, total (export the costs as CSV in the provider's dashboard, grouped by line item or by token type, or save the answer of OpenAI's `/v1/organization/costs` (`group_by[]=line_item`) or Anthropic's `/v1/organizations/cost_report` (`group_by[]=description`))");
    insta::assert_snapshot!(mistakes("x.csv", ""), @"x.csv:1:1: error[E041]: the file is empty (export the costs as CSV in the provider's dashboard, grouped by line item or by token type, or save the answer of OpenAI's `/v1/organization/costs` (`group_by[]=line_item`) or Anthropic's `/v1/organizations/cost_report` (`group_by[]=description`))");
    insta::assert_snapshot!(mistakes("x.xlsx", "PK\u{3}\u{4}"), @"x.xlsx:1:1: error[E041]: this is a spreadsheet or an archive (export the costs as CSV in the provider's dashboard, grouped by line item or by token type, or save the answer of OpenAI's `/v1/organization/costs` (`group_by[]=line_item`) or Anthropic's `/v1/organizations/cost_report` (`group_by[]=description`))");
    insta::assert_snapshot!(mistakes("x.json", "{\"data\": []}"), @"x.json:1:1: error[E041]: the pages hold no bucket (export the costs as CSV in the provider's dashboard, grouped by line item or by token type, or save the answer of OpenAI's `/v1/organization/costs` (`group_by[]=line_item`) or Anthropic's `/v1/organizations/cost_report` (`group_by[]=description`))");
    insta::assert_snapshot!(mistakes("x.csv", "start_time,amount_value\n"), @"x.csv:1:1: error[E041]: the export holds no day (export the costs as CSV in the provider's dashboard, grouped by line item or by token type, or save the answer of OpenAI's `/v1/organization/costs` (`group_by[]=line_item`) or Anthropic's `/v1/organizations/cost_report` (`group_by[]=description`))");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let csv = "start_time,end_time,amount_value,amount_currency,line_item\n\
               1790812800,,\"1,250.00\",usd,\"gpt-4o, input\"\n\
               October,,1.00,usd,\"gpt-4o, input\"\n\
               1790812800,,1.00,eur,\"gpt-4o, input\"\n";
    insta::assert_snapshot!(mistakes("openai.csv", csv), @r"
    openai.csv:2:13: error[E043]: `1,250.00` is not an amount (write plain decimals, such as `12.50`: no currency sign, no thousands separator)
    openai.csv:3:1: error[E043]: `October` is not a time (a bucket starts at seconds since 1970, or at a date such as `2026-10-01`)
    openai.csv:4:18: error[E044]: an amount in `eur`, and the ledger is in USD (export the costs in USD)
    ");
    insta::assert_snapshot!(mistakes("openai.csv", "start_time,amount_value\n1790812800,1.00,usd\n1,\"2"), @"openai.csv:3:3: error[E042]: a quote that is never closed (export the file again; it may be cut off)");
    insta::assert_snapshot!(mistakes("openai.csv", "amount_value\n1.00\n"), @"openai.csv:1:1: error[E042]: the column `start_time` is missing (export the file again with all columns)");
    let csv = "usage_date_utc,model,token_type,cost_usd\n01/10/2026,Claude Opus 4.5,output,$3\n";
    insta::assert_snapshot!(mistakes("anthropic.csv", csv), @r"
    anthropic.csv:2:1: error[E043]: `01/10/2026` is not a date (a row is for a day of UTC, such as `2026-10-01`)
    anthropic.csv:2:35: error[E043]: `$3` is not an amount (write plain decimals, such as `12.50`: no currency sign, no thousands separator)
    ");
    let csv = "start_time,num_model_requests,model,input_tokens,output_tokens\n1790812800,1,gpt-4o,1.5,-2\n";
    insta::assert_snapshot!(mistakes("usage.csv", csv), @r"
    usage.csv:2:21: error[E043]: `1.5` is not a number of tokens (write whole numbers, such as `1200`)
    usage.csv:2:25: error[E043]: `-2` is not a number of tokens (write whole numbers, such as `1200`)
    ");
}

#[test]
fn mistakes_in_json_have_places_too() {
    let json = "{\"data\": [{\"start_time\": 1790812800, \"end_time\": 1790899200, \"results\": [\n  \
                {\"amount\": {\"value\": \"much\", \"currency\": \"usd\"}},\n  \
                {\"amount\": {\"value\": 1, \"currency\": \"eur\"}},\n  \
                {\"input_tokens\": 1000}\n]}]}";
    insta::assert_snapshot!(mistakes("costs.json", json), @r"
    costs.json:2:24: error[E043]: `much` is not an amount (write plain decimals, such as `12.50`: no currency sign, no thousands separator)
    costs.json:3:24: error[E044]: an amount in `eur`, and the ledger is in USD (export the costs in USD)
    costs.json:4:3: error[E042]: a result that is no cost: missing field `amount` (this reads the answers of the costs endpoints, not of the usage endpoints)
    ");
    insta::assert_snapshot!(mistakes("costs.json", "{\"data\": [\n  {\"start_time\": 1}\n]}"), @r#"costs.json:2:19: error[E042]: missing field `end_time` (save the API's answer as it came: `{"data": [{…, "results": […]}], "has_more": …}`)"#);
    insta::assert_snapshot!(mistakes("costs.json", "{\"data\": [{\"start_time\": \"soon\", \"end_time\": 1, \"results\": []}]}"), @"costs.json:1:26: error[E043]: `soon` is not a time (a bucket has its times as the API gives them)");
}

fn sum(model: &str, kind: Kind, amount: i128) -> Sum {
    Sum { model: model.to_owned(), kind, amount }
}

fn invoice(lines: &[(&str, Kind, i128)]) -> Invoice {
    let lines =
        lines.iter().map(|(model, kind, amount)| Line { model: (*model).to_owned(), kind: *kind, amount: *amount });
    let (since, until) = (Timestamp::from_seconds(0), Timestamp::from_seconds(1));
    let lines = lines.collect();
    Invoice { provider: "openai", format: "", measure: Measure::Money, since, until, lines, notes: Vec::new() }
}

#[test]
fn what_the_invoice_does_not_split_is_compared_whole() {
    let ledger = [sum("a", Kind::Input, 5), sum("a", Kind::Output, 7), sum("b", Kind::Input, 1)];
    let name = |model: &str| model.to_owned();
    let by_model = reconcile(&invoice(&[("a", Kind::Whole, 10), ("b", Kind::Input, 2)]), &ledger, &name);
    let gaps: Vec<_> = by_model.gaps.iter().map(|gap| (&*gap.model, gap.kind, gap.ledger, gap.invoice)).collect();
    assert_eq!(gaps, [("a", Kind::Whole, 12, 10), ("b", Kind::Input, 1, 2)]);
    let whole = reconcile(&invoice(&[("", Kind::Whole, 10)]), &ledger, &name);
    assert_eq!((whole.gaps.len(), whole.ledger, whole.invoice), (1, 13, 10));
    assert_eq!(reconcile(&invoice(&[]), &[], &name).largest(), None);
}

proptest! {
    /// However both sides are cut, no amount is lost: the gaps add up to both totals.
    #[test]
    fn the_gaps_add_up_to_both_sides(
        ours in proptest::collection::vec((0_u8..4, 0_u8..6, -1_000_i128..1_000), 0..20),
        theirs in proptest::collection::vec((0_u8..4, 0_u8..6, -1_000_i128..1_000), 0..20),
    ) {
        let kinds = [Kind::Input, Kind::CachedInput, Kind::CacheWrite, Kind::Output, Kind::Whole, Kind::Other];
        let names = ["", "a", "a-2026-01-01", "b"];
        let of = |(model, kind, amount): &(u8, u8, i128)| (names[usize::from(*model)], kinds[usize::from(*kind)], *amount);
        let lines: Vec<_> = theirs.iter().map(of).collect();
        let sums: Vec<Sum> = ours.iter().map(of).map(|(model, kind, amount)| sum(model, kind, amount)).collect();
        let name = |model: &str| model.split('-').next().unwrap_or_default().to_owned();
        let result = reconcile(&invoice(&lines), &sums, &name);
        prop_assert_eq!(result.ledger, ours.iter().map(|(_, _, amount)| amount).sum::<i128>());
        prop_assert_eq!(result.invoice, theirs.iter().map(|(_, _, amount)| amount).sum::<i128>());
    }

    /// A sample with any of its bytes changed is read or refused; it never breaks the reader.
    #[test]
    fn a_damaged_export_is_read_or_refused(which in 0_usize..6, at in 0_usize..3_000, byte in "[ -~\n]", cut in any::<bool>()) {
        let samples = [
            sample!("openai-costs.csv"), sample!("openai-usage.csv"), sample!("openai-costs.json"),
            sample!("anthropic-cost.csv"), sample!("anthropic-usage.csv"), sample!("anthropic-cost-report.json"),
        ];
        let text = &samples[which].text;
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (head, tail) = text.split_at(at);
        let mut rest = tail.chars();
        rest.next();
        let damaged = if cut { head.to_owned() } else { format!("{head}{byte}{}", rest.as_str()) };
        let _ = read(&Source::new("damaged", &damaged));
    }
}
