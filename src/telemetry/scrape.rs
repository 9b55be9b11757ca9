//! The numbers as Prometheus reads them: names, labels, and the only floating point of this module.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::metrics::{Action, BudgetReading, Mode, Numbers, OVERHEAD_BUCKETS_US, Readings, Traffic, label};

/// Values of the label `type`, in the order of `Traffic::tokens`.
const TOKEN_TYPES: [&str; 5] = ["input", "cached_input", "cache_write", "output", "reasoning"];

/// Values of the label `status`, in the order of `Traffic::requests`.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The collector behind the registry, which adds the prefix `plimsoll_`, and `_total` to counters.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Numbers>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let readings = self.0.source.get().map(|read| read());
        self.traffic(&mut encoder)?;
        self.decisions(&mut encoder)?;
        self.overhead(&mut encoder)?;
        self.attribution(&mut encoder)?;
        self.watches(&mut encoder)?;
        self.policy(&mut encoder)?;
        readings.map_or(Ok(()), |readings| self.readings(&mut encoder, &readings))
    }
}

impl Scrape {
    fn traffic(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let known = self.0.traffic.read().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<(&str, &str, &Traffic)> = known
            .iter()
            .flat_map(|(tenant, providers)| {
                providers.iter().map(move |(provider, traffic)| (&**tenant, &**provider, &**traffic))
            })
            .collect();
        rows.sort_by_key(|(tenant, provider, _)| (*tenant, *provider));

        let help = "Calls answered, by tenant (the label `other` is all tenants beyond the first 50)";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (tenant, provider, traffic) in &rows {
            for (class, count) in STATUS_CLASSES.iter().zip(&traffic.requests) {
                let labels = [("tenant", *tenant), ("provider", provider), ("status", class)];
                counter(&mut family.encode_family(&labels)?, &count.read())?;
            }
        }
        let help = "Tokens used; input includes cached_input and cache_write, output includes reasoning";
        let mut family = encoder.encode_descriptor("tokens", help, None, MetricType::Counter)?;
        for (tenant, provider, traffic) in &rows {
            for (kind, count) in TOKEN_TYPES.iter().zip(&traffic.tokens) {
                let labels = [("tenant", *tenant), ("provider", provider), ("type", kind)];
                counter(&mut family.encode_family(&labels)?, &count.read())?;
            }
        }
        let help = "Cost in US dollars; calls to models without a price are not in it";
        let mut family = encoder.encode_descriptor("cost_usd", help, None, MetricType::Counter)?;
        for (tenant, provider, traffic) in &rows {
            let labels = [("tenant", *tenant), ("provider", provider)];
            counter(&mut family.encode_family(&labels)?, &ratio(traffic.cost_nano_usd.read(), 1_000_000_000))?;
        }
        let help = "Calls whose cost is unknown because the model has no price";
        let mut family = encoder.encode_descriptor("unpriced_requests", help, None, MetricType::Counter)?;
        for (tenant, provider, traffic) in &rows {
            let labels = [("tenant", *tenant), ("provider", provider)];
            counter(&mut family.encode_family(&labels)?, &traffic.unpriced.read())?;
        }
        Ok(())
    }

    fn decisions(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "What policies did to calls (enforce) or would have done (dry_run)";
        let mut family = encoder.encode_descriptor("decisions", help, None, MetricType::Counter)?;
        for (action, word) in Action::ALL {
            for (mode, mode_word) in Mode::ALL {
                let count = self.0.decisions[action as usize][mode as usize].read();
                counter(&mut family.encode_family(&[("action", word), ("mode", mode_word)])?, &count)?;
            }
        }
        Ok(())
    }

    fn overhead(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Time the gateway itself spent before a call left";
        let mut metric = encoder.encode_descriptor("overhead_seconds", help, None, MetricType::Histogram)?;
        let ends = OVERHEAD_BUCKETS_US.iter().map(|end| ratio(u64::from(*end), 1_000_000)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.zip(&self.0.overhead).map(|(end, count)| (end, count.read())).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(ratio(self.0.overhead_sum_us.read(), 1_000_000), count, &buckets, None)
    }

    fn attribution(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Attribution values that were refused and became _invalid";
        let mut family = encoder.encode_descriptor("attribution_invalid", help, None, MetricType::Counter)?;
        let counts = self.0.attribution_invalid.read().unwrap_or_else(PoisonError::into_inner);
        for (dimension, count) in counts.iter().collect::<BTreeMap<_, _>>() {
            counter(&mut family.encode_family(&[("dimension", &**dimension)])?, &count.read())?;
        }
        Ok(())
    }

    fn watches(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Calls that went beyond what their tenant's segment watches for";
        let mut family = encoder.encode_descriptor("watch_exceeded", help, None, MetricType::Counter)?;
        let counts = self.0.watches.read().unwrap_or_else(PoisonError::into_inner);
        for (segment, watches) in &*counts {
            for (watch, count) in watches {
                let labels = [("segment", &**segment), ("watch", &**watch)];
                counter(&mut family.encode_family(&labels)?, &count.read())?;
            }
        }
        Ok(())
    }

    fn policy(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Whether the last load of the policy succeeded";
        encoder
            .encode_descriptor("policy_last_reload_successful", help, None, MetricType::Gauge)?
            .encode_gauge(&self.0.reload_successful.load(Ordering::Relaxed))?;
        let help = "When a policy was last loaded with success, in seconds since the Unix epoch";
        encoder
            .encode_descriptor("policy_last_reload_success_timestamp_seconds", help, None, MetricType::Gauge)?
            .encode_gauge(&self.0.reload_succeeded_at.load(Ordering::Relaxed))
    }

    fn readings(&self, encoder: &mut DescriptorEncoder, readings: &Readings) -> fmt::Result {
        let budgets = self.strictest(&readings.budgets);
        let help = "Used share of the limit; under `other` the highest of the remaining tenants";
        let mut family = encoder.encode_descriptor("budget_used_ratio", help, None, MetricType::Gauge)?;
        for ((budget, tenant), (ppm, _)) in &budgets {
            family.encode_family(&[("budget", *budget), ("tenant", *tenant)])?.encode_gauge(&ratio(*ppm, 1_000_000))?;
        }
        let help = "0 ok, 1 warning, 2 exceeded; under `other` the severest of the remaining tenants";
        let mut family = encoder.encode_descriptor("budget_state", help, None, MetricType::Gauge)?;
        for ((budget, tenant), (_, state)) in &budgets {
            family.encode_family(&[("budget", *budget), ("tenant", *tenant)])?.encode_gauge(&u32::from(*state))?;
        }
        let help = "Ledger rows that were lost";
        let mut metric = encoder.encode_descriptor("ledger_dropped", help, None, MetricType::Counter)?;
        counter(&mut metric, &readings.ledger_dropped)?;
        let help = "Ledger rows that wait in the spool for the next start";
        let mut metric = encoder.encode_descriptor("ledger_spooled", help, None, MetricType::Counter)?;
        counter(&mut metric, &readings.ledger_spooled)?;
        let help = "Size of the write-ahead log; it grows while somebody reads for long";
        encoder
            .encode_descriptor("ledger_wal_bytes", help, None, MetricType::Gauge)?
            .encode_gauge(&readings.ledger_wal_bytes)?;
        let help = "Panics that were caught, each of which failed one call";
        let mut metric = encoder.encode_descriptor("panics", help, None, MetricType::Counter)?;
        counter(&mut metric, &readings.panics)?;
        let help = "Calls that stand in line for a rate";
        encoder
            .encode_descriptor("throttle_waiting", help, None, MetricType::Gauge)?
            .encode_gauge(&readings.throttle_waiting)?;
        let help = "Whether the ledger can be written";
        encoder
            .encode_descriptor("ledger_healthy", help, None, MetricType::Gauge)?
            .encode_gauge(&u32::from(readings.ledger_healthy))
    }

    /// Per budget and tenant label the highest used share, in millionths, and the severest state.
    fn strictest<'a>(&self, budgets: &'a [BudgetReading]) -> BTreeMap<(&'a str, &'a str), (u64, u8)> {
        let known = self.0.traffic.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        for reading in budgets {
            let tenant = reading.tenant.as_deref().map_or("", |tenant| label(&known, tenant));
            let strictest: &mut (u64, u8) = found.entry((reading.budget.as_str(), tenant)).or_default();
            strictest.0 = strictest.0.max(share(reading.used, reading.limit));
            strictest.1 = strictest.1.max(reading.state);
        }
        found
    }
}

/// `used` of `limit` in millionths. A limit of 0 is used up from the first unit on.
fn share(used: i64, limit: i64) -> u64 {
    let (used, limit) = (u128::try_from(used).unwrap_or(0), u128::try_from(limit).unwrap_or(0));
    let millionths = (used * 1_000_000).checked_div(limit).unwrap_or(1_000_000);
    u64::try_from(millionths).unwrap_or(u64::MAX)
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "Prometheus knows numbers as 64-bit floats only"
)]
fn ratio(amount: u64, unit: u32) -> f64 {
    amount as f64 / f64::from(unit)
}

fn counter(encoder: &mut MetricEncoder<'_>, value: &impl EncodeCounterValue) -> fmt::Result {
    encoder.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>)
}
