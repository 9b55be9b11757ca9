//! The periods that budgets apply to, in a policy's time zone.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{ToSpan, Unit, ZonedDateTime};

use super::clock::Timestamp;

/// A calendar period. Weeks are ISO weeks and begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// A clock minute.
    Minute,
    /// A clock hour.
    Hour,
    /// A day, from midnight to midnight where the policy lives: 23 or 25 hours when the clocks change.
    Day,
    /// Monday to Monday.
    Week,
    /// A calendar month.
    Month,
}

impl Period {
    /// Every period, shortest first.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == word)
    }

    /// The length by which amounts are converted between periods: a month is 365.25/12 days.
    pub const fn nominal_seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
            Self::Month => 2_629_800,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a limit is per.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// A calendar period.
    Calendar(Period),
    /// The time just passed.
    Rolling(Duration),
    /// The life of one `workflowId`.
    Workflow,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calendar(period) => period.fmt(f),
            Self::Rolling(length) => write!(f, "rolling {} s", length.as_secs()),
            Self::Workflow => f.write_str("workflow"),
        }
    }
}

/// One concrete window: `start <= t < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first moment in it.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Window {
    /// The window of all time.
    pub const EVER: Self = Self { start: Timestamp::from_micros(i64::MIN), end: Timestamp::from_micros(i64::MAX) };

    /// Whether `now` lies in it.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.start <= now && now < self.end
    }
}

/// The calendar window of `period` that holds `now`, in `zone`.
pub fn calendar_window(period: Period, zone: &TimeZone, now: Timestamp) -> Window {
    bounds(period, zone, now).unwrap_or(Window::EVER)
}

fn bounds(period: Period, zone: &TimeZone, now: Timestamp) -> Option<Window> {
    let local = now.to_jiff().to_zoned_datetime(zone.clone());
    let (start, end) = match period {
        Period::Minute | Period::Hour => return Some(clock_window(period, &local)),
        Period::Day => (local.start_of_day().ok()?, day_start(&local, 1)?),
        Period::Week => {
            let past = i64::from(local.weekday().to_monday_zero_offset());
            (day_start(&local, -past)?, day_start(&local, 7 - past)?)
        }
        Period::Month => {
            let first = local.date().first_of_month();
            let next = first.checked_add(1.month()).ok()?;
            (midnight(first, zone)?, midnight(next, zone)?)
        }
    };
    Some(Window { start: Timestamp::from_jiff(start.timestamp()), end: Timestamp::from_jiff(end.timestamp()) })
}

/// Minutes and hours are steps of real time; only their phase follows the zone's offset.
fn clock_window(period: Period, local: &ZonedDateTime) -> Window {
    let length = period.nominal_seconds();
    let offset = i64::from(local.offset().seconds());
    let seconds = local.timestamp().as_second();
    let start = (seconds + offset).div_euclid(length) * length - offset;
    Window { start: Timestamp::from_seconds(start), end: Timestamp::from_seconds(start + length) }
}

fn day_start(local: &ZonedDateTime, days: i64) -> Option<ZonedDateTime> {
    midnight(local.date().checked_add(days.days()).ok()?, local.time_zone())
}

fn midnight(date: jiff::civil::Date, zone: &TimeZone) -> Option<ZonedDateTime> {
    date.to_zoned_datetime(zone.clone()).ok()?.start_of_day().ok()
}

/// `2026-12-01T00:00:00+01:00`: a moment as people in `zone` write it (RFC 3339).
pub fn rfc3339(moment: Timestamp, zone: &TimeZone) -> String {
    let local = moment.to_jiff().to_zoned_datetime(zone.clone());
    let local = local.round(Unit::Second).unwrap_or(local);
    local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone of the bundled database")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_jiff(text.parse().expect("an RFC 3339 moment"))
    }

    #[test]
    fn a_month_begins_at_local_midnight() {
        let window = calendar_window(Period::Month, &zone("Europe/Berlin"), at("2026-11-30T23:30:00Z"));
        assert_eq!(rfc3339(window.start, &zone("Europe/Berlin")), "2026-12-01T00:00:00+01:00");
        assert_eq!(rfc3339(window.end, &zone("Europe/Berlin")), "2027-01-01T00:00:00+01:00");
    }

    #[test]
    fn days_have_23_and_25_hours_when_the_clocks_change() {
        let hours = |moment| {
            let window = calendar_window(Period::Day, &zone("America/New_York"), at(moment));
            window.end.since(window.start).as_secs() / 3_600
        };
        assert_eq!(hours("2026-03-08T12:00:00Z"), 23);
        assert_eq!(hours("2026-11-01T12:00:00Z"), 25);
        assert_eq!(hours("2026-11-23T12:00:00Z"), 24);
    }

    #[test]
    fn weeks_begin_on_monday() {
        let window = calendar_window(Period::Week, &TimeZone::UTC, at("2026-11-22T10:00:00Z"));
        assert_eq!(window.start, at("2026-11-16T00:00:00Z"));
        assert_eq!(window.end, at("2026-11-23T00:00:00Z"));
    }

    #[test]
    fn a_window_holds_the_moment_it_was_asked_for() {
        for zone_name in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Santiago", "Pacific/Apia"] {
            for period in Period::ALL {
                for hour in 0..2_000 {
                    let now = Timestamp::from_seconds(1_772_000_000 + hour * 10_007);
                    let window = calendar_window(period, &zone(zone_name), now);
                    assert!(window.contains(now), "{zone_name} {period} {now}");
                    assert_eq!(calendar_window(period, &zone(zone_name), window.start), window);
                }
            }
        }
    }
}
