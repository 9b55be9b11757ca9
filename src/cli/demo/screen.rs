//! What the demonstration shows: one line per tenant, the latest events, and what to try by hand. In a terminal the picture
//! is redrawn in place; elsewhere every event is a line.

use std::fmt::Write;
use std::time::Duration;

use super::traffic::{Score, Tally};
use super::world::{ADMIN_TOKEN, KEY, World};
use crate::cli::output;

const BAR: u32 = 10;
/// What the bar is full at, in percent.
const FULL: u32 = 150;

pub(super) struct Screen {
    drawn: bool,
    hints: String,
    printed: Vec<String>,
}

impl Screen {
    pub(super) fn new(world: &World, drawn: bool) -> Self {
        let hints = hints(world);
        if drawn {
            // The alternate screen keeps the reader's own lines; the cursor would only flicker.
            output::raw("\x1b[?1049h\x1b[?25l");
        } else {
            output::line(&hints);
        }
        Self { drawn, hints, printed: Vec::new() }
    }

    pub(super) fn draw(&mut self, score: &Score, elapsed: Duration) {
        let (tallies, events) = score.read();
        if !self.drawn {
            for event in events {
                if !self.printed.contains(&event) {
                    output::line(&format!("{:>4} s  {event}", elapsed.as_secs()));
                    self.printed.push(event);
                }
            }
            return;
        }
        let mut lines = vec![
            format!("plimsoll demo · {} s · simulated providers, real gateway, real policy", elapsed.as_secs()),
            String::new(),
            HEAD.to_owned(),
        ];
        lines.extend(tallies.iter().map(|(tenant, tally)| row(tenant, tally)));
        lines.extend([String::new(), total(tallies.values()), String::new()]);
        let (width, height) = size();
        let hints: Vec<&str> = self.hints.lines().collect();
        let room = height.saturating_sub(lines.len() + 1);
        // Where there is no room for all, the newest events stay and the hints go.
        let shown = events.len().min(room);
        lines.extend(events[events.len() - shown..].iter().map(|event| format!("  {event}")));
        if room > shown + hints.len() {
            lines.push(String::new());
            lines.extend(hints.into_iter().map(str::to_owned));
        }
        let mut picture = String::from("\x1b[H");
        for line in lines {
            let cut: String = line.chars().take(width).collect();
            let _ = write!(picture, "{cut}\x1b[K\r\n");
        }
        picture.push_str("\x1b[J");
        output::raw(&picture);
    }

    pub(super) fn end(self, score: &Score, elapsed: Duration) {
        if self.drawn {
            output::raw("\x1b[?25h\x1b[?1049l");
        }
        let (tallies, _) = score.read();
        output::line(&format!("\nAfter {} s:\n{HEAD}", elapsed.as_secs()));
        for (tenant, tally) in &tallies {
            output::line(&row(tenant, tally));
        }
        output::line(&total(tallies.values()));
    }
}

const HEAD: &str = " TENANT      STATE     STEP      MONTH            CALLS CAPPED SLOWED ROUTED BLOCK";

fn row(tenant: &str, tally: &Tally) -> String {
    let mark = match tally.state.as_str() {
        "exceeded" => "▲",
        "warning" => "◆",
        _ => " ",
    };
    let filled = (tally.used_percent.min(FULL) * BAR / FULL) as usize;
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR as usize - filled));
    let step = if tally.step.is_empty() { "—" } else { tally.step.split('.').next().unwrap_or_default() };
    format!(
        "{mark}{tenant:<11} {:<9} {step:<9} {bar} {:>4}% {:>5} {:>6} {:>6} {:>6} {:>5}",
        tally.state, tally.used_percent, tally.calls, tally.capped, tally.throttled, tally.routed, tally.blocked
    )
}

fn total<'t>(tallies: impl Iterator<Item = &'t Tally>) -> String {
    let (mut kept, mut refused, mut failed) = (0, 0, 0);
    for tally in tallies {
        kept += tally.tokens_kept;
        refused += tally.throttled + tally.blocked;
        failed += tally.failed;
    }
    format!(" saved so far: {kept} output tokens by caps, {refused} calls not sent · {failed} errors")
}

/// Columns and rows of the terminal, less the last row, which the cursor needs.
fn size() -> (usize, usize) {
    let found = terminal_size::terminal_size();
    found.map_or((120, 40), |(width, height)| (usize::from(width.0), usize::from(height.0).saturating_sub(1)))
}

fn hints(world: &World) -> String {
    let (data, admin) = (world.data(), world.admin());
    format!(
        "Try it from another terminal:\n  \
         curl -i http://{data}/openai/v1/chat/completions -H 'authorization: Bearer {KEY}' -H 'plimsoll-tenant-id: globex' \\\n    \
         -H 'plimsoll-endpoint-tag: digest.weekly' -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"gpt-4o\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n  \
         curl -s -H 'authorization: Bearer {ADMIN_TOKEN}' 'http://{admin}/api/v1/spend?by=tenantId,endpointTag'\n  \
         curl -s http://{admin}/metrics\n  \
         edit {}   (in force within a second)",
        world.policy_file().display()
    )
}
