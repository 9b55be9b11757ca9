//! What was measured, as tables for people and as JSON. Integers all the way: nanoseconds, microseconds, KiB, percent.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::text::{count, table};

use super::load::Tally;
use super::measure::Target;
use super::pace::Latencies;
use super::process::Cpu;

/// One target in one scenario, over all rounds.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) target: &'static str,
    /// Requests or events, in all.
    pub(super) units: u64,
    pub(super) errors: u64,
    pub(super) first_fault: Option<String>,
    /// Of each round, at saturation.
    pub(super) per_second: Vec<u64>,
    /// Of the target's process, for all units; `None` for the provider itself.
    pub(super) cpu: Option<Cpu>,
    pub(super) latencies: Option<Latencies>,
    /// Before the first call and at the end of the load.
    pub(super) resident_kib: Option<(u64, u64)>,
    /// Streams that ran at once, where streams are what is measured.
    pub(super) streams: u64,
}

impl Row {
    pub(super) fn new(target: &'static str) -> Self {
        Self {
            target,
            units: 0,
            errors: 0,
            first_fault: None,
            per_second: Vec::new(),
            cpu: None,
            latencies: None,
            resident_kib: None,
            streams: 0,
        }
    }

    /// What its process took between two looks at it.
    pub(super) fn add_cpu(&mut self, after: Option<Cpu>, before: Option<Cpu>) {
        let (Some(after), Some(before)) = (after, before) else { return };
        let (so_far, cpu) = (self.cpu.get_or_insert_default(), after - before);
        so_far.all += cpu.all;
        so_far.ledger += cpu.ledger;
    }

    pub(super) fn add_rate(&mut self, units: u64, elapsed: Duration) {
        let rate = u128::from(units) * 1_000 / elapsed.as_millis().max(1);
        self.per_second.push(u64::try_from(rate).unwrap_or(u64::MAX));
    }

    pub(super) fn add_memory(&mut self, target: &Target<'_>) -> io::Result<()> {
        if let Some(watched) = &target.watched {
            self.resident_kib = Some((target.idle_kib, watched.resident_kib()?));
        }
        Ok(())
    }

    pub(super) fn add_tally(&mut self, tally: &Tally) {
        self.errors += tally.errors();
        self.note(tally.first_fault().map(|fault| fault.to_string()));
    }

    pub(super) fn add_latencies(&mut self, latencies: &Latencies) {
        self.errors += latencies.errors;
        self.note(latencies.first_fault.map(|fault| fault.to_string()));
        self.latencies.get_or_insert_with(Latencies::new).add(latencies);
    }

    pub(super) fn note(&mut self, fault: Option<String>) {
        self.first_fault = self.first_fault.take().or(fault);
    }

    /// The median of the rounds.
    pub(super) fn rate(&self) -> u64 {
        let mut rounds = self.per_second.clone();
        rounds.sort_unstable();
        rounds.get(rounds.len() / 2).copied().unwrap_or(0)
    }

    /// Nanoseconds per unit: of the whole process, and without the ledger's thread.
    pub(super) fn cost(&self) -> Option<(u64, u64)> {
        let cpu = self.cpu?;
        let each = |time: Duration| u64::try_from(time.as_nanos() / u128::from(self.units.max(1))).unwrap_or(u64::MAX);
        Some((each(cpu.all), each(cpu.all.saturating_sub(cpu.ledger))))
    }

    /// KiB that each stream takes beyond what the process had before.
    fn kib_per_stream(&self) -> Option<u64> {
        let (idle, loaded) = self.resident_kib?;
        loaded.saturating_sub(idle).checked_div(self.streams)
    }

    /// The microseconds below which so many of a thousand answers stayed: whole, and their first byte.
    fn quantile(&self, permille: u32) -> Option<(u64, u64)> {
        let latencies = self.latencies.as_ref()?;
        #[expect(clippy::float_arithmetic, reason = "the histogram asks for a fraction")]
        let quantile = f64::from(permille) / 1_000.0;
        Some((latencies.whole.value_at_quantile(quantile), latencies.first.value_at_quantile(quantile)))
    }
}

/// One scenario.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What is counted: `request` or `event`.
    pub(super) unit: &'static str,
    pub(super) rows: Vec<Row>,
    /// The row that others are compared with.
    pub(super) mark: &'static str,
    pub(super) notes: Vec<String>,
}

const NOTHING: &str = "–";
const PERMILLES: [u32; 3] = [500, 990, 999];

impl Outcome {
    fn row(&self, target: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.target == target)
    }

    /// The table for people.
    pub(super) fn text(&self) -> String {
        let head = [
            "",
            "per s",
            "CPU-µs",
            "no ledger",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "first p50",
            "first p99",
            "idle MiB",
            "MiB",
            "errors",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(figures));
        if let Some(direct) = self.row("direct") {
            let others = self.rows.iter().filter(|row| row.target != "direct");
            lines.extend(others.filter_map(|row| added(row, direct)));
        }
        if let Some(mark) = self.row(self.mark) {
            lines.extend(
                self.rows
                    .iter()
                    .filter(|row| row.target != "direct" && row.target != self.mark)
                    .map(|row| ratios(row, mark)),
            );
        }
        let mut text = format!("{} (CPU per {})\n{}", self.title, self.unit, table(&lines, 1));
        for row in &self.rows {
            if let Some(fault) = &row.first_fault {
                let _ =
                    write!(text, "\n! {}: {} failed, the first with: {fault}", row.target, count(row.errors.into()));
            }
        }
        for row in &self.rows {
            if let Some(kib) = row.kib_per_stream() {
                let _ = write!(text, "\n* {}: {kib} KiB per stream", row.target);
            }
        }
        for note in &self.notes {
            text.push_str("\n* ");
            text.push_str(note);
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let mark = self.row(self.mark);
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| row_json(row, mark.filter(|mark| mark.target != row.target && row.target != "direct")))
            .collect();
        json!({ "name": self.name, "title": self.title, "unit": self.unit, "compared_with": self.mark, "targets": rows, "notes": self.notes })
    }
}

fn figures(row: &Row) -> Vec<String> {
    let mut cells = vec![row.target.to_owned(), count(row.rate().into())];
    cells.extend(match row.cost() {
        Some((all, without)) => [micros(all), micros(without)],
        None => [NOTHING.to_owned(), NOTHING.to_owned()],
    });
    let of = |permille: u32, first: bool| {
        row.quantile(permille)
            .map_or(NOTHING.to_owned(), |(whole, start)| if first { start } else { whole }.to_string())
    };
    cells.extend(PERMILLES.map(|permille| of(permille, false)));
    cells.extend([of(500, true), of(990, true)]);
    cells.extend(match row.resident_kib {
        Some((idle, loaded)) => [mebibytes(idle), mebibytes(loaded)],
        None => [NOTHING.to_owned(), NOTHING.to_owned()],
    });
    cells.push(row.errors.to_string());
    cells
}

/// Latency over that of a direct call.
fn added(row: &Row, direct: &Row) -> Option<Vec<String>> {
    let mut cells = vec![format!("{} added", row.target), String::new(), String::new(), String::new()];
    for permille in PERMILLES {
        cells.push(signed(row.quantile(permille)?.0, direct.quantile(permille)?.0));
    }
    for permille in [500, 990] {
        cells.push(signed(row.quantile(permille)?.1, direct.quantile(permille)?.1));
    }
    Some(cells)
}

/// Times the mark.
fn ratios(row: &Row, mark: &Row) -> Vec<String> {
    let mut cells = vec![format!("{} / {}", row.target, mark.target), times(percent(row.rate(), mark.rate()))];
    match (row.cost(), mark.cost()) {
        (Some((all, without)), Some((theirs, _))) => {
            cells.extend([times(percent(all, theirs)), times(percent(without, theirs))]);
        }
        _ => cells.extend([NOTHING.to_owned(), NOTHING.to_owned()]),
    }
    let quantiles = [(500, false), (990, false), (999, false), (500, true), (990, true)];
    cells.extend(quantiles.map(|(permille, first)| match (row.quantile(permille), mark.quantile(permille)) {
        (Some(mine), Some(theirs)) if first => times(percent(mine.1, theirs.1)),
        (Some(mine), Some(theirs)) => times(percent(mine.0, theirs.0)),
        _ => NOTHING.to_owned(),
    }));
    cells.extend(match (row.resident_kib, mark.resident_kib) {
        (Some(mine), Some(theirs)) => [times(percent(mine.0, theirs.0)), times(percent(mine.1, theirs.1))],
        _ => [NOTHING.to_owned(), NOTHING.to_owned()],
    });
    cells
}

fn row_json(row: &Row, mark: Option<&Row>) -> Value {
    let mut json = json!({
        "target": row.target,
        "units": row.units,
        "errors": row.errors,
        "first_fault": row.first_fault,
        "per_second": row.rate(),
        "per_second_by_round": row.per_second,
        "cpu_ns_per_unit": row.cost().map(|cost| cost.0),
        "cpu_ns_per_unit_without_ledger": row.cost().map(|cost| cost.1),
        "resident_idle_kib": row.resident_kib.map(|kib| kib.0),
        "resident_loaded_kib": row.resident_kib.map(|kib| kib.1),
        "kib_per_stream": row.kib_per_stream(),
    });
    for (permille, name) in [(500, "p50"), (990, "p99"), (999, "p99_9")] {
        if let Some((whole, first)) = row.quantile(permille) {
            json[format!("{name}_us")] = whole.into();
            json[format!("first_byte_{name}_us")] = first.into();
        }
    }
    if let Some(mark) = mark {
        let cost = row.cost().zip(mark.cost());
        json["percent_of_mark"] = json!({
            "per_second": percent(row.rate(), mark.rate()),
            "cpu": cost.map(|(mine, theirs)| percent(mine.0, theirs.0)),
            "cpu_without_ledger": cost.map(|(mine, theirs)| percent(mine.1, theirs.0)),
        });
    }
    json
}

fn percent(mine: u64, theirs: u64) -> Option<u64> {
    (theirs > 0).then(|| {
        u64::try_from((u128::from(mine) * 100 + u128::from(theirs) / 2) / u128::from(theirs)).unwrap_or(u64::MAX)
    })
}

fn times(percent: Option<u64>) -> String {
    percent.map_or(NOTHING.to_owned(), |percent| format!("{}.{:02}x", percent / 100, percent % 100))
}

fn micros(nanoseconds: u64) -> String {
    let tenths = (nanoseconds + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn mebibytes(kib: u64) -> String {
    let tenths = (kib * 10 + 512) / 1_024;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn signed(mine: u64, theirs: u64) -> String {
    if mine < theirs { format!("−{}", theirs - mine) } else { format!("+{}", mine - theirs) }
}
