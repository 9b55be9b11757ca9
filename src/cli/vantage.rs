//! Where a question about a policy is asked from: files and a ledger here, or a gateway that runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use crate::control::model_facts;
use crate::diagnostic::{self, Source};
use crate::directory::Directory;
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::price::PriceBook;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::tenant::{Revenue, Tenant, TenantId};
use crate::domain::window::Window;
use crate::ledger::{Column, LedgerReader, SpendQuery};
use crate::policy::decision::Step;
use crate::policy::hypothesis::{Usage, Used};
use crate::policy::past::{self, PastCalls};
use crate::policy::{ModelFacts, Policy};

use super::desk::{Desk, Place, environment};
use super::files::{Folder, compiled};
use super::remote::{Remote, escaped};

/// What names it on the command line.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The policies' folder.
    #[arg(long, value_name = "FOLDER", default_value = "policies")]
    policies: PathBuf,
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    gateway: At,
}

/// A gateway that runs.
#[derive(Debug, Args)]
pub(super) struct At {
    /// The admin listener of a running gateway: `http://127.0.0.1:4181`.
    #[arg(long)]
    pub(super) url: Option<String>,
    /// Its admin token; else `PLIMSOLL_ADMIN_TOKEN`.
    #[arg(long)]
    token: Option<String>,
}

impl At {
    /// The gateway, when one is named.
    pub(super) fn remote(&self) -> Option<Remote> {
        let token = || self.token.clone().or_else(|| environment("PLIMSOLL_ADMIN_TOKEN")).unwrap_or_default();
        self.url.as_deref().map(|url| Remote::new(url, token()))
    }
}

/// A policy with everything around it.
pub(super) struct Vantage {
    pub(super) policy: Policy,
    /// `r42 9f3c1ae`; of files the digest alone.
    pub(super) revision: String,
    pub(super) sources: Vec<Source>,
    prices: PriceBook,
    books: Books,
    /// What the rows of present windows add up to, by identity and key.
    sums: RefCell<BTreeMap<Arc<str>, BTreeMap<String, i64>>>,
}

enum Books {
    Here { tenants: Directory, ledger: Option<LedgerReader> },
    There { remote: Remote, counters: BTreeMap<(String, String), Counter> },
}

/// A live counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    window: Window,
    used: Amounts,
    decide_opened: Option<Timestamp>,
}

impl Vantage {
    /// The policy at a moment, and the books beside it.
    pub(super) fn open(place: &Where, now: Timestamp) -> Result<Self, String> {
        match place.gateway.remote() {
            Some(remote) => Self::there(remote, &place.place, now),
            None => Self::here(place, now),
        }
    }

    fn here(place: &Where, now: Timestamp) -> Result<Self, String> {
        let desk = Desk::open(&place.place)?;
        Self::of_folder(Folder::read(&place.policies)?.priced_by(desk.prices.clone()), desk, now)
    }

    /// A folder, with the ledger beside it.
    pub(super) fn of_folder(folder: Folder, desk: Desk, now: Timestamp) -> Result<Self, String> {
        let policy = folder.valid_policy(now)?;
        let tenants = folder.tenants(&policy)?;
        let ledger = desk.reader_if_there()?;
        let revision = folder.files.digest.get(..7).unwrap_or_default().to_owned();
        let sources = folder.files.policies;
        Ok(Self {
            policy,
            revision,
            sources,
            prices: desk.prices,
            books: Books::Here { tenants, ledger },
            sums: RefCell::default(),
        })
    }

    /// What a gateway runs, compiled here.
    pub(super) fn there(remote: Remote, place: &Place, now: Timestamp) -> Result<Self, String> {
        let running = remote.read("/api/v1/policy")?;
        let revision = running["revision"].as_str().unwrap_or_default().to_owned();
        let text = |file: &Value, key: &str| file[key].as_str().unwrap_or_default().to_owned();
        let files = running["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let sources: Vec<Source> =
            files.iter().map(|file| Source::new(&text(file, "name"), &text(file, "text"))).collect();
        let prices = Desk::open(place)?.prices;
        let policy = compiled(&sources, &prices, now).map_err(|errors| {
            let shown = diagnostic::render(&errors, &sources);
            format!("{shown}error: what runs at the gateway does not compile here; are its prices in `--config FILE`?")
        })?;
        let books = Books::There { remote, counters: BTreeMap::new() };
        Ok(Self { policy, revision, sources, prices, books, sums: RefCell::default() })
    }

    /// The same policy as it was at another moment.
    pub(super) fn at(self, then: Timestamp) -> Result<Self, String> {
        let policy =
            compiled(&self.sources, &self.prices, then).map_err(|errors| diagnostic::render(&errors, &self.sources))?;
        Ok(Self { policy, ..self })
    }

    /// Reads the live counters, where a gateway has some: all, or those that concern one tenant.
    pub(super) fn with_counters(mut self, tenant: Option<&str>) -> Result<Self, String> {
        if let Books::There { remote, counters } = &mut self.books {
            let filter = tenant.map(|tenant| format!("?tenantId={}", escaped(tenant))).unwrap_or_default();
            let found = remote.read(&format!("/api/v1/counters{filter}"))?;
            *counters = found["counters"].as_array().into_iter().flatten().filter_map(counter).collect();
        }
        Ok(self)
    }

    /// What the tariff says about a model.
    pub(super) fn model(&self, name: &str) -> Option<ModelFacts> {
        model_facts(&self.prices, name)
    }

    /// What is known about a tenant.
    pub(super) fn tenant(&self, id: &str) -> Result<Option<Tenant>, String> {
        match &self.books {
            Books::Here { tenants, .. } => Ok(tenants.tenant(id)),
            Books::There { remote, .. } => {
                let found = remote.find(&format!("/api/v1/tenants/{}", escaped(id)))?;
                Ok(found.as_ref().and_then(tenant))
            }
        }
    }

    /// The tenants of the directory.
    pub(super) fn tenants(&self) -> Result<Vec<Tenant>, String> {
        match &self.books {
            Books::Here { tenants, .. } => Ok(tenants.iter().collect()),
            Books::There { remote, .. } => {
                let found = remote.read("/api/v1/tenants")?;
                Ok(found["tenants"].as_array().into_iter().flatten().filter_map(tenant).collect())
            }
        }
    }

    /// The attempts of a request, as the admin API shows them.
    pub(super) fn request(&self, id: &str) -> Result<Vec<Value>, String> {
        match &self.books {
            Books::Here { ledger: None, .. } => Err(no_ledger()),
            Books::Here { ledger: Some(ledger), .. } => {
                let rows = ledger.request(id).map_err(|error| format!("error: {error}"))?;
                Ok(rows.iter().filter_map(|row| serde_json::to_value(row).ok()).collect())
            }
            Books::There { remote, .. } => {
                let found = remote.find(&format!("/api/v1/requests/{}", escaped(id)))?;
                Ok(found.and_then(|found| found["rows"].as_array().cloned()).unwrap_or_default())
            }
        }
    }

    /// Whether it knows what was spent.
    pub(super) fn has_books(&self) -> bool {
        !matches!(self.books, Books::Here { ledger: None, .. })
    }

    /// A counter of a budget of `policy` in the window that holds `now`: the live one, else what the ledger's rows add up to.
    pub(super) fn usage(&self, policy: &Policy, budget: usize, key: &str, now: Timestamp) -> Result<Usage, String> {
        let Some(rule) = policy.budgets.get(budget) else { return Ok(Usage::default()) };
        let window = policy.counting_time(budget, now);
        if let Books::There { counters, .. } = &self.books {
            let known = counters.get(&(rule.identity.to_string(), key.to_owned()));
            // Of buckets the gateway has told what counts now.
            let is_now = |counter: &&Counter| rule.span.ring().is_some() || counter.window == window;
            if let Some(counter) = known.filter(is_now) {
                let used = counter.used.get(rule.unit.index()).copied().unwrap_or(0);
                return Ok(Usage { used: Used::Amount(used), decide_opened: counter.decide_opened });
            }
            // A budget that runs has a counter as soon as it has counted.
            if self.policy.budgets.iter().any(|budget| budget.identity == rule.identity) {
                return Ok(Usage::default());
            }
        }
        let mut sums = self.sums.borrow_mut();
        if !sums.contains_key(&*rule.identity) {
            let calls = self.past(window.start, now, &[])?;
            sums.insert(Arc::clone(&rule.identity), past::sums(policy, budget, &calls));
        }
        let used = sums.get(&*rule.identity).and_then(|sums| sums.get(key)).copied().unwrap_or(0);
        Ok(Usage { used: Used::Amount(used), decide_opened: self.decide_opened(policy, budget, key, now)? })
    }

    /// When the `decide` step of a counter was reached, in the window that holds `at` and not after it.
    pub(super) fn decide_opened(
        &self,
        policy: &Policy,
        budget: usize,
        key: &str,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, String> {
        let Some(rule) = policy.budgets.get(budget) else { return Ok(None) };
        let window = policy.window(budget, at);
        let opened = match &self.books {
            Books::Here { ledger: None, .. } => None,
            Books::Here { ledger: Some(ledger), .. } => {
                let steps = ledger.transitions(window.start);
                let steps = steps.map_err(|error| format!("error: the ledger cannot be read: {error}"))?;
                let own = steps.into_iter().find(|reached| {
                    reached.budget == rule.name
                        && *reached.key == *key
                        && reached.window_start == window.start
                        && *reached.step == *Step::Decide.as_str()
                });
                own.map(|reached| reached.at)
            }
            Books::There { counters, .. } => {
                let known = counters.get(&(rule.identity.to_string(), key.to_owned()));
                known.filter(|counter| counter.window == window).and_then(|counter| counter.decide_opened)
            }
        };
        Ok(opened.filter(|opened| *opened <= at))
    }

    /// What was called from `since` to `until` (exclusive), by every dimension.
    pub(super) fn past(
        &self,
        since: Timestamp,
        until: Timestamp,
        filters: &[(Column, String)],
    ) -> Result<Vec<PastCalls>, String> {
        match &self.books {
            Books::Here { ledger: None, .. } => Ok(Vec::new()),
            Books::Here { ledger: Some(ledger), .. } => here(ledger, since, until, filters),
            Books::There { remote, .. } => there(remote, since, until, filters),
        }
    }
}

/// The present, for everything that looks at what runs.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

fn no_ledger() -> String {
    "error: there is no ledger here; name it with `--ledger PATH`, or a running gateway with `--url`".to_owned()
}

/// The dimensions that budgets match and count by, in the order of [`PastCalls`].
const BY: [Column; 11] = [
    Column::TenantId,
    Column::Plan,
    Column::Segment,
    Column::EndpointTag,
    Column::PromptVersion,
    Column::DataMode,
    Column::Environment,
    Column::UserId,
    Column::WorkflowId,
    Column::Provider,
    Column::Model,
];

fn here(
    ledger: &LedgerReader,
    since: Timestamp,
    until: Timestamp,
    filters: &[(Column, String)],
) -> Result<Vec<PastCalls>, String> {
    let query = SpendQuery { by: BY.to_vec(), since: Some(since), until: Some(until), filters: filters.to_vec() };
    let rows = ledger.spend(&query).map_err(|error| format!("error: the ledger cannot be read: {error}"))?;
    let calls = rows.into_iter().map(|row| {
        let mut values = row.dimensions.into_iter();
        let totals = row.totals;
        let money = totals.cost_nano_usd.saturating_add(totals.in_doubt_nano_usd);
        let tokens = totals.input_tokens.saturating_add(totals.output_tokens);
        past_calls(&mut || values.next().flatten(), [money, tokens, totals.requests])
    });
    Ok(calls.collect())
}

fn there(
    remote: &Remote,
    since: Timestamp,
    until: Timestamp,
    filters: &[(Column, String)],
) -> Result<Vec<PastCalls>, String> {
    let names: Vec<&str> = BY.iter().map(|column| column.as_str()).collect();
    let since = since.max(Timestamp::default());
    let mut path = format!("/api/v1/spend?by={}&since={since}&until={until}", names.join(","));
    for (column, value) in filters {
        let _ = write!(path, "&{}={}", column.as_str(), escaped(value));
    }
    let found = remote.read(&path)?;
    let rows = found["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let calls = rows.iter().map(|row| {
        let number = |name: &str| row[name].as_i64().unwrap_or(0);
        let money = number("cost_nano_usd").saturating_add(number("in_doubt_nano_usd"));
        let tokens = number("input_tokens").saturating_add(number("output_tokens"));
        let mut names = names.iter();
        let mut next = || row[*names.next()?].as_str().map(str::to_owned);
        past_calls(&mut next, [money, tokens, number("requests")])
    });
    Ok(calls.collect())
}

/// From the values of [`BY`], one after the other.
fn past_calls(next: &mut dyn FnMut() -> Option<String>, amounts: Amounts) -> PastCalls {
    PastCalls {
        tenant_id: next().unwrap_or_default(),
        plan: next(),
        segment: next(),
        endpoint_tag: next().unwrap_or_default(),
        prompt_version: next().unwrap_or_default(),
        data_mode: next().unwrap_or_default(),
        environment: next().unwrap_or_default(),
        user_id: next(),
        workflow_id: next(),
        provider: next().unwrap_or_default(),
        model: next().unwrap_or_default(),
        amounts,
        requests: amounts.get(Unit::Requests.index()).copied().unwrap_or(0),
    }
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok().map(Timestamp::from_jiff)
}

fn counter(found: &Value) -> Option<((String, String), Counter)> {
    let key: Vec<&str> = found["key"].as_array()?.iter().filter_map(Value::as_str).collect();
    let key = key.join(&crate::policy::KEY_SEPARATOR.to_string());
    let window = Window {
        start: moment(&found["starts_at"]).unwrap_or(Window::EVER.start),
        end: moment(&found["resets_at"]).unwrap_or(Window::EVER.end),
    };
    let number = |name: &str| found[name].as_i64().unwrap_or(0);
    let used = [number("nano_usd"), number("tokens"), number("requests")];
    let counter = Counter { window, used, decide_opened: moment(&found["decide_opened"]) };
    Some(((found["identity"].as_str()?.to_owned(), key), counter))
}

/// A tenant as the admin API shows it.
fn tenant(found: &Value) -> Option<Tenant> {
    let text = |name: &str| found[name].as_str().map(Arc::from);
    Some(Tenant {
        id: TenantId::new(found["tenantId"].as_str()?).ok()?,
        name: found["name"].as_str().map(Box::from),
        plan: text("plan"),
        segment: text("segment"),
        account_owner: text("account_owner"),
        revenue: found["revenue"].as_str().and_then(Revenue::parse),
        upgrade_url: text("upgrade_url"),
    })
}
