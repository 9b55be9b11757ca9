//! What segments watch, counted per tenant over all cores, and told when a call goes beyond it. Nothing here changes a call.
//!
//! It remembers one day (UTC) and forgets it at a restart: numbers and digests, so many and no more.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use crate::alert::notification::{Facts, Kind, Notification, TenantFacts, WatchFacts};
use crate::alert::target::{ACCOUNT_OWNER, LOG};
use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::policy::watch::{Beyond, Mean, Measure, Seen, Watch};

use super::Gateway;
use super::call::Call;
use super::panics::caught;
use super::users::day;

/// Versions of prompts whose input is averaged, per tenant and day.
const PROMPTS: usize = 256;
/// What a tenant's owner is told at most, per day.
const TOLD: usize = 1_024;

/// A segment that watches its tenants' calls.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) segment: Arc<str>,
    pub(super) watch: Arc<Watch>,
}

/// What a tenant's calls amount to today.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// Keyed at random, so that nobody can choose names whose digests meet.
    seed: RandomState,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: i64,
    /// Calls by workflow.
    steps: HashMap<u64, u64>,
    /// Input by version of the prompt.
    inputs: HashMap<u64, Mean>,
    /// What was told.
    told: HashSet<u64>,
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// It is a request of its own, and not another attempt of one.
    pub(super) logical: bool,
    /// All tokens of its input, where the provider said so.
    pub(super) input: Option<u64>,
}

/// Counts a call whose segment watches something, and tells of what goes beyond. A fault here never reaches the call.
pub(super) fn look(gateway: &Gateway, call: &Call, ended: Ended) {
    let Some(watched) = call.account.watched() else { return };
    if ended.logical || ended.input.is_some() {
        caught("watching", || judge(gateway, call, (watched, call.account.watching()), ended));
    }
}

fn judge(gateway: &Gateway, call: &Call, (watched, watching): (&Watched, &Watching), ended: Ended) {
    let attribution = &call.attribution;
    let limit = gateway.options.limits.users_per_tenant;
    let (steps, input) = watching.count((&watched.watch, limit), attribution, ended, call.now);
    // Another attempt of a request carries the same again.
    let (tool_output_tokens, extras) =
        if ended.logical { (call.content.tool_output, attribution.extras.as_slice()) } else { (0, &[][..]) };
    let seen = Seen { tool_output_tokens, steps, input, extras };
    for beyond in watched.watch.beyond(&seen) {
        gateway.metrics.watch_exceeded(&watched.segment, beyond.measure.as_str());
        if watching.is_news(beyond.measure, &attribution.prompt_version, call.now) {
            gateway.courier.send(notification(gateway, call, &watched.segment, beyond), &[ACCOUNT_OWNER, LOG]);
        }
    }
}

impl Watching {
    /// Counts a call: which step of its workflow it is, and the input of its prompt version so far. Of workflows beyond `limit`
    /// and versions beyond [`PROMPTS`] nothing is known, and what is not watched is not counted.
    fn count(
        &self,
        (watch, limit): (&Watch, usize),
        said: &Attribution,
        ended: Ended,
        now: Timestamp,
    ) -> (Option<u64>, Option<Mean>) {
        let workflow = said.workflow_id.as_ref().filter(|_| ended.logical && watch.steps.is_some());
        let workflow = workflow.map(|id| self.seed.hash_one(id));
        let input = ended.input.filter(|_| watch.avg_input_tokens.is_some());
        let prompt = input.map(|tokens| (self.seed.hash_one(&said.prompt_version), tokens));
        if workflow.is_none() && prompt.is_none() {
            return (None, None);
        }
        self.today(now, |today| {
            let steps = workflow.and_then(|id| {
                let steps = place(&mut today.steps, id, limit)?;
                *steps = steps.saturating_add(1);
                Some(*steps)
            });
            let mean = prompt.and_then(|(prompt, tokens)| {
                let mean = place(&mut today.inputs, prompt, PROMPTS)?;
                mean.add(tokens);
                Some(*mean)
            });
            (steps, mean)
        })
    }

    /// Whether that was not told today. Means are told for each version of the prompt.
    fn is_news(&self, measure: Measure<'_>, prompt: &str, now: Timestamp) -> bool {
        let of = if measure == Measure::AvgInput { prompt } else { "" };
        let news = self.seed.hash_one((measure.as_str(), of));
        self.today(now, |today| today.told.len() < TOLD && today.told.insert(news))
    }

    /// Whether anything was counted today.
    pub(super) fn any(&self, now: Timestamp) -> bool {
        let today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        let Today { day: last, steps, inputs, told } = &*today;
        *last >= day(now) && !(steps.is_empty() && inputs.is_empty() && told.is_empty())
    }

    /// A clock that jumps back keeps the later day.
    fn today<T>(&self, now: Timestamp, work: impl FnOnce(&mut Today) -> T) -> T {
        let day = day(now);
        // Numbers are never half-written.
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if day > today.day {
            *today = Today { day, ..Today::default() };
        }
        work(&mut today)
    }
}

/// The value of a key that is known or still finds room.
fn place<V: Default>(known: &mut HashMap<u64, V>, key: u64, limit: usize) -> Option<&mut V> {
    let room = known.len() < limit || known.contains_key(&key);
    room.then(|| known.entry(key).or_default())
}

fn notification(gateway: &Gateway, call: &Call, segment: &Arc<str>, beyond: Beyond<'_>) -> Notification {
    let said = &call.attribution;
    let Beyond { measure, seen, above } = beyond;
    let (what, prompt) = (measure.as_str(), &said.prompt_version);
    let of = match measure {
        Measure::Steps => said.workflow_id.as_ref().map_or_else(String::new, |id| format!(" of workflow {id}")),
        Measure::AvgInput => format!(" of prompt {prompt}"),
        Measure::ToolOutput | Measure::Attribute(_) => String::new(),
    };
    let message =
        format!("`{what}`{of} is {seen}, above the {above} that segment {segment} watches for (request {})", call.id);
    Notification {
        kind: Kind::WatchExceeded,
        timestamp: gateway.clock.now(),
        facts: Facts {
            tenant: Some(TenantFacts::from(&*call.account.tenant)),
            watch: Some(WatchFacts {
                name: Arc::from(what),
                segment: Arc::clone(segment),
                seen,
                above,
                endpoint_tag: Arc::clone(&said.endpoint_tag),
                prompt_version: Arc::clone(prompt),
                workflow_id: said.workflow_id.clone(),
                request_id: Arc::clone(&call.id),
            }),
            message: Some(message),
            ..Facts::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::account::Presence;

    fn on(day: i64) -> Timestamp {
        Timestamp::from_seconds((20_000 + day) * 86_400)
    }

    fn said(workflow: &str, prompt: &str) -> Attribution {
        Attribution {
            workflow_id: Some(Arc::from(workflow)),
            prompt_version: Arc::from(prompt),
            ..Attribution::default()
        }
    }

    fn both() -> Watch {
        Watch { steps: Some(1), avg_input_tokens: Some(1), ..Watch::default() }
    }

    const REQUEST: Ended = Ended { logical: true, input: Some(10) };

    // Mutations: retries are steps; workflows share a count; the day does not end; the limit is not asked.
    #[test]
    fn the_steps_of_a_workflow_are_its_requests_of_one_day() {
        let watching = Watching::default();
        let step = |workflow: &str, ended, day| watching.count((&both(), 2), &said(workflow, "v1"), ended, on(day)).0;
        assert_eq!((step("a", REQUEST, 0), step("a", REQUEST, 0), step("b", REQUEST, 0)), (Some(1), Some(2), Some(1)));
        assert_eq!(step("a", Ended { logical: false, ..REQUEST }, 0), None, "another attempt is no step");
        assert_eq!(step("c", REQUEST, 0), None, "there is no room for a third");
        assert_eq!(step("a", REQUEST, 0), Some(3), "those that are known go on");
        assert_eq!(step("a", REQUEST, -1), Some(4), "a clock that jumps back is no new day");
        assert_eq!(step("c", REQUEST, 1), Some(1));
    }

    // Mutations: the prompt's version is not a part of the key; unknown input counts as nothing.
    #[test]
    fn the_input_of_each_prompt_is_averaged_apart() {
        let watching = Watching::default();
        let mean = |prompt: &str, input| {
            watching.count((&both(), 2), &said("a", prompt), Ended { logical: false, input }, on(0)).1
        };
        let of = |inputs: &[u64]| {
            let mut mean = Mean::default();
            for tokens in inputs {
                mean.add(*tokens);
            }
            Some(mean)
        };
        assert_eq!((mean("v1", Some(10)), mean("v2", Some(50))), (of(&[10]), of(&[50])));
        assert_eq!(mean("v1", None), None);
        assert_eq!(mean("v1", Some(20)), of(&[10, 20]));
        for version in 0..10_000 {
            mean(&format!("v{version}"), Some(1));
        }
        assert_eq!(watching.today.lock().unwrap().inputs.len(), PROMPTS);
    }

    // Mutations: steps are counted whoever watches; inputs are.
    #[test]
    fn what_nobody_watches_is_not_counted() {
        let watching = Watching::default();
        let count = |watch: &Watch| watching.count((watch, 2), &said("a", "v1"), REQUEST, on(0));
        assert_eq!(count(&Watch { tool_output_tokens: Some(1), ..Watch::default() }), (None, None));
        assert!(!watching.any(on(0)));
        assert_eq!(count(&Watch { avg_input_tokens: None, ..both() }), (Some(1), None));
        assert_eq!(count(&Watch { steps: None, ..both() }).0, None);
    }

    // Mutations: everything is news; the version is a part of all news, or of none.
    #[test]
    fn a_thing_is_news_once_a_day() {
        let watching = Watching::default();
        let news = |measure, prompt, day| watching.is_news(measure, prompt, on(day));
        assert!(!watching.any(on(0)));
        assert!(news(Measure::Steps, "v1", 0) && !news(Measure::Steps, "v1", 0) && !news(Measure::Steps, "v2", 0));
        assert!(news(Measure::AvgInput, "v1", 0) && news(Measure::AvgInput, "v2", 0));
        assert!(!news(Measure::AvgInput, "v1", 0));
        assert!(news(Measure::Attribute("a.b"), "v1", 0) && news(Measure::Attribute("a.c"), "v1", 0));
        assert!(watching.any(on(0)) && !watching.any(on(1)));
        assert!(news(Measure::Steps, "v1", 1));
    }

    // Mutation: `Presence::remembers_today` looks at names alone.
    #[test]
    fn a_tenant_that_was_told_of_is_not_forgotten_before_the_day_ends() {
        let presence = Presence::default();
        assert!(!presence.remembers_today(on(0)));
        assert!(presence.watching().is_news(Measure::Steps, "v1", on(0)));
        assert!(presence.remembers_today(on(0)) && !presence.remembers_today(on(1)));
    }
}
