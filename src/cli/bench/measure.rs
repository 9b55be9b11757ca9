//! One comparison: every target is loaded in turn, in short rounds whose order rotates, and its process is watched.

use std::io;
use std::time::{Duration, Instant};

use super::load::{Load, Order};
use super::pace;
use super::process::Watched;
use super::report::{Outcome, Row};
use super::rig::Rig;
use super::scenario::{Scenario, Subject, Work};
use super::{Arguments, machine};

/// Load before anything is counted: connections open, caches fill.
const WARM_UP: Duration = Duration::from_millis(300);
/// Until every stream has begun.
const STREAMS_BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// Every tenant has been there by then.
const TENANTS_SEEN_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Files that a process needs beside the connections of its streams: those kept open from the round before among them.
const OTHER_FILES: usize = 2_000;

/// What answers requests.
pub(super) struct Target<'r> {
    pub(super) subject: Subject,
    pub(super) order: Order,
    pub(super) watched: Option<Watched>,
    pub(super) idle_kib: u64,
    pub(super) rig: &'r Rig,
}

/// Runs one scenario.
pub(super) fn compare(arguments: &Arguments, scenario: &Scenario) -> io::Result<Outcome> {
    let (work, mut notes) = fitting(scenario.work);
    let connections = match work {
        Work::Calls { .. } => arguments.connections,
        Work::Streams { count, .. } => count,
    };
    let rig = Rig::start(arguments, scenario, connections)?;
    let targets = rig.targets(scenario)?;
    let mut rows: Vec<Row> = targets.iter().map(|(name, _)| Row::new(name)).collect();
    for round in 0..arguments.rounds {
        for turn in 0..targets.len() {
            let at = (round + turn) % targets.len();
            let Some(((_, target), row)) = targets.get(at).zip(rows.get_mut(at)) else { continue };
            match work {
                Work::Calls { .. } => {
                    saturate(arguments, target, row)?;
                    pace(arguments, target, row)?;
                }
                Work::Streams { count, gap } => stream(arguments, target, row, (count, gap))?,
            }
        }
    }
    notes.extend(rig.notes());
    let (mark, unit) = (rig.mark(scenario), if matches!(work, Work::Calls { .. }) { "request" } else { "event" });
    Ok(Outcome { name: scenario.name, title: scenario.title, unit, rows, mark, notes })
}

/// As many streams as this process may have files for: it holds both ends of every proxy, and a proxy both its sides.
fn fitting(work: Work) -> (Work, Vec<String>) {
    let Work::Streams { count, gap } = work else { return (work, Vec::new()) };
    let most = machine::open_files().map_or(count, |files| files.saturating_sub(OTHER_FILES) / 2);
    if count <= most {
        return (work, Vec::new());
    }
    let note = format!("{most} streams instead of {count}: `ulimit -n {}` allows them", 2 * count + OTHER_FILES);
    (Work::Streams { count: most, gap }, vec![note])
}

/// As many requests as the connections can carry. CPU counts from idle to idle, so that rows which are written after the load
/// are paid for too, and so is the warm-up, whose requests count with it.
fn saturate(arguments: &Arguments, target: &Target<'_>, row: &mut Row) -> io::Result<()> {
    let before = settled(target)?;
    let reloads = target.rig.reload(&target.subject);
    let load = Load::start(&target.order, arguments.connections, target.rig.cores());
    warm_up(&load, &target.order);
    let (counted, started) = (load.tally().requests(), Instant::now());
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    row.add_rate(load.tally().requests() - counted, started.elapsed());
    row.add_memory(target)?;
    let tally = load.stop();
    drop(reloads);
    row.add_cpu(settled(target)?, before);
    row.units += tally.requests();
    row.add_tally(&tally);
    Ok(())
}

fn warm_up(load: &Load, order: &Order) {
    std::thread::sleep(WARM_UP);
    let (tenants, started) = (order.tenants.map_or(0, |(_, tenants)| tenants), Instant::now());
    while load.tally().requests() < tenants && started.elapsed() < TENANTS_SEEN_WITHIN {
        std::thread::sleep(LOOK_EVERY);
    }
}

fn pace(arguments: &Arguments, target: &Target<'_>, row: &mut Row) -> io::Result<()> {
    let reloads = target.rig.reload(&target.subject);
    row.add_latencies(&pace::measure(&target.order, arguments.rate, Duration::from_secs(arguments.seconds)));
    drop(reloads);
    settled(target)?;
    Ok(())
}

/// Streams that all run at once. CPU counts while they run: neither their beginning nor their end is in it.
fn stream(
    arguments: &Arguments,
    target: &Target<'_>,
    row: &mut Row,
    (count, gap): (usize, Duration),
) -> io::Result<()> {
    settled(target)?;
    let provider = target.rig.provider();
    provider.pace(gap);
    let load = Load::start(&target.order, count, target.rig.cores());
    let (all, started) = (u64::try_from(count).unwrap_or(u64::MAX), Instant::now());
    while load.tally().events() < all && started.elapsed() < STREAMS_BEGIN_WITHIN {
        std::thread::sleep(LOOK_EVERY);
    }
    // The slowest to begin has had its first event then, and the work of the beginning is done.
    std::thread::sleep(gap + WARM_UP);
    let (counted, started, before) = (load.tally().events(), Instant::now(), cpu(target)?);
    std::thread::sleep(Duration::from_secs(arguments.seconds).max(gap * 2));
    let (events, elapsed, after) = (load.tally().events() - counted, started.elapsed(), cpu(target)?);
    row.units += events;
    row.add_rate(events, elapsed);
    row.add_cpu(after, before);
    row.add_memory(target)?;
    row.streams = all;
    load.last_calls();
    provider.end_streams();
    row.add_tally(&load.stop());
    Ok(())
}

fn cpu(target: &Target<'_>) -> io::Result<Option<super::process::Cpu>> {
    target.watched.as_ref().map(Watched::cpu).transpose()
}

fn settled(target: &Target<'_>) -> io::Result<Option<super::process::Cpu>> {
    target.watched.as_ref().map(Watched::settled).transpose()
}
