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

/// How many buckets the time of a rolling span is counted in.
pub const RING_BUCKETS: i64 = 60;
/// A workflow is counted in buckets of a day.
const WORKFLOW_BUCKET_MICROS: i64 = 86_400_000_000;
/// A workflow that made no call that counts for so many days is over.
pub const WORKFLOW_IDLE_DAYS: i64 = 7;

/// A span without a calendar's edges is counted in buckets, each a window of its own, aligned to the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    bucket: i64,
    reach: i64,
    /// Nothing leaves while it is in use.
    keeps: bool,
}

impl Span {
    /// The buckets that it is counted in; `None` for a calendar period, which is one window.
    pub fn ring(self) -> Option<Ring> {
        match self {
            Self::Calendar(_) => None,
            Self::Rolling(length) => {
                let reach = i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(RING_BUCKETS);
                Some(Ring { bucket: (reach - 1) / RING_BUCKETS + 1, reach, keeps: false })
            }
            Self::Workflow => Some(Ring {
                bucket: WORKFLOW_BUCKET_MICROS,
                reach: WORKFLOW_IDLE_DAYS * WORKFLOW_BUCKET_MICROS,
                keeps: true,
            }),
        }
    }
}

impl Ring {
    /// The bucket that holds a moment.
    pub fn bucket(self, at: Timestamp) -> Window {
        let start = at.micros().div_euclid(self.bucket).saturating_mul(self.bucket);
        let end = start.saturating_add(self.bucket);
        Window { start: Timestamp::from_micros(start), end: Timestamp::from_micros(end) }
    }

    /// Buckets that end after this moment count at `now`. Where nothing leaves: a counter whose newest bucket does not end
    /// after it has been idle for too long. By buckets, so that it can be told from a ledger too.
    pub fn since(self, now: Timestamp) -> Timestamp {
        let now = if self.keeps { self.bucket(now).start } else { now };
        Timestamp::from_micros(now.micros().saturating_sub(self.reach))
    }

    /// The start of the first bucket that counts at `now`.
    pub fn start(self, now: Timestamp) -> Timestamp {
        self.bucket(self.since(now)).start
    }

    /// When a bucket leaves; `None`: nothing leaves while the counter is in use.
    pub fn leaves(self, bucket: Window) -> Option<Timestamp> {
        (!self.keeps).then(|| Timestamp::from_micros(bucket.end.micros().saturating_add(self.reach)))
    }

    /// Whether nothing leaves while the counter is in use.
    pub fn keeps(self) -> bool {
        self.keeps
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

    /// When it ends; `None`: never.
    pub fn resets_at(&self) -> Option<Timestamp> {
        (self.end != Self::EVER.end).then_some(self.end)
    }

    /// Whether it has a length of which a share can have passed.
    pub fn has_length(&self) -> bool {
        self.start != Self::EVER.start && self.end != Self::EVER.end
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
    fn buckets_follow_each_other_and_leave_when_their_time_has_passed() {
        for seconds in [60, 61, 100, 3_600, 86_400, 30 * 86_400] {
            let length = Duration::from_secs(seconds);
            let ring = Span::Rolling(length).ring().expect("a ring");
            let now = at("2026-11-25T12:00:07Z");
            let bucket = ring.bucket(now);
            assert!(bucket.contains(now));
            assert_eq!(ring.bucket(bucket.end).start, bucket.end, "{seconds}");
            let sixtieth = bucket.end.since(bucket.start).as_micros() * 60;
            assert!(sixtieth >= length.as_micros() && sixtieth < length.as_micros() + 60, "{seconds}");
            assert_eq!(ring.leaves(bucket), Some(bucket.end.after(length)));
            assert!(ring.start(now) <= ring.since(now) && now.since(ring.since(now)) == length);
        }
        let ring = Span::Workflow.ring().expect("a ring");
        assert_eq!(ring.leaves(ring.bucket(Timestamp::default())), None);
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
