//! A finished answer, given again to the same call under the same name (`plimsoll-external-request-id`), without asking the
//! provider, holding money or costing anything. Off unless `replay:` is configured.
//!
//! Kept are answers with a status of 2xx that went to the client whole, for a while and within a bound of memory. Names are
//! per tenant. It refuses to answer a name that comes with another call, to run one name twice at the same time, and to
//! keep what nobody names: callers without a tenant are strangers to each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use sha2::{Digest as _, Sha256};

use crate::domain::attribution::INVALID;
use crate::domain::clock::Timestamp;
use crate::domain::tenant::UNATTRIBUTED;
use crate::wire::Target;

use super::admit::can_cost;
use super::call::Call;
use super::refuse::Refused;
use super::reply::{self, Marks};
use super::settle::write_replay;
use super::tap::Answer;
use super::{Gateway, Worker};

mod shelf;

use shelf::{Begun, Shelves, Ticket};

/// The bytes that a growing answer is given room for at first.
const FIRST_ROOM: usize = 4 * 1024;

/// What `replay:` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayRules {
    /// How long a finished answer is kept.
    pub keep: Duration,
    /// The bytes that all kept answers may take.
    pub memory: u64,
}

impl Default for ReplayRules {
    fn default() -> Self {
        Self { keep: Duration::from_mins(10), memory: 64 * 1024 * 1024 }
    }
}

/// The answers that one gateway keeps.
#[derive(Debug)]
pub struct Replays(Mutex<Shelves>);

/// What makes two calls the same: SHA-256 over method, provider, path, query and body.
type Asked = [u8; 32];

/// An answer as it went out.
#[derive(Debug)]
pub(super) struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Replays {
    /// An empty memory.
    pub fn new(rules: ReplayRules) -> Self {
        Self(Mutex::new(Shelves::new(rules)))
    }

    /// Forgets what is too old to be given again.
    pub fn forget_old(&self, now: Timestamp) {
        self.shelves().forget_old(now);
    }

    /// A poisoned lock guards maps whose sums may be off by one answer; they stay usable.
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call's name is good for.
pub(super) enum Claim {
    /// It has none, or nothing is ever kept.
    Unnamed,
    /// The first call of that name: it runs.
    First(First),
    /// It ran already.
    Again(Arc<Kept>),
}

/// The right to run a call under its name. Dropped, it frees the name.
pub(super) struct First {
    gateway: Arc<Gateway>,
    ticket: Ticket,
}

impl Worker {
    /// Claims the name of a call that may cost money.
    pub(super) fn claim(&self, call: &Call, target: &Target<'_>, body: &Bytes) -> Result<Claim, Refused> {
        let Some(replays) = &self.gateway.replays else { return Ok(Claim::Unnamed) };
        let tenant = &call.account.tenant.id;
        let name = call.attribution.external_request_id.as_ref().filter(|name| ***name != *INVALID);
        let Some(name) = name.filter(|_| ![UNATTRIBUTED, INVALID].contains(&tenant.as_str())) else {
            return Ok(Claim::Unnamed);
        };
        if !can_cost(call.operation) {
            return Ok(Claim::Unnamed);
        }
        let asked = asked(call, target, body);
        let begun = replays.shelves().begin(tenant, name, asked, call.now);
        match begun {
            Begun::First(ticket) => Ok(Claim::First(First { gateway: Arc::clone(&self.gateway), ticket })),
            Begun::Again(kept) => Ok(Claim::Again(kept)),
            Begun::Running => Err(Refused::in_flight(name)),
            Begun::Other => Err(Refused::name_reused(name)),
        }
    }
}

fn asked(call: &Call, target: &Target<'_>, body: &Bytes) -> Asked {
    let mut sum = Sha256::new();
    for part in [target.method.as_str(), &call.provider.name, target.path, target.query.unwrap_or_default()] {
        sum.update(part.as_bytes());
        sum.update([0]);
    }
    sum.update(body);
    sum.finalize().into()
}

impl Kept {
    /// The answer of a call that ran already, with a row that says so.
    pub(super) fn again(&self, worker: &Worker, call: &Call, marks: Marks) -> Response<Answer> {
        write_replay(worker, call, self.status.as_u16());
        let mut response = Response::new(Answer::ours(self.body.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.clone_from(&self.headers);
        marks.write(headers);
        headers.remove("server-timing");
        reply::timing(headers, call.arrived.elapsed(), None);
        headers.insert(HeaderName::from_static("plimsoll-replayed"), HeaderValue::from_static("?1"));
        response
    }
}

impl Claim {
    /// Keeps a good answer while it passes. Any other frees the name.
    pub(super) fn keep(self, mut response: Response<Answer>) -> Response<Answer> {
        let Self::First(first) = self else { return response };
        if !response.status().is_success() {
            return response;
        }
        let mut keeper = Keeper::new(first, &response);
        match response.body_mut() {
            Answer::Theirs(tapped) => tapped.keeper = Some(Box::new(keeper)),
            Answer::Ours(body) => {
                if let Some(body) = body {
                    keeper.pass(body);
                }
                keeper.finish();
            }
        }
        response
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(replays) = &self.gateway.replays {
            replays.shelves().give_up(&self.ticket);
        }
    }
}

/// An answer that is being kept. Dropped before its end, it is forgotten and its name is free.
pub(super) struct Keeper {
    first: First,
    status: StatusCode,
    headers: HeaderMap,
    /// Its length, when that is known beforehand.
    length: Option<u64>,
    /// What has passed. `None`: it is too large to be kept.
    body: Option<Vec<u8>>,
}

impl Keeper {
    fn new(first: First, response: &Response<Answer>) -> Self {
        let length = response.body().size_hint().exact();
        let most = first.gateway.options.replay.map_or(0, |rules| rules.memory);
        let fits = length.is_none_or(|length| length <= most);
        Self {
            first,
            status: response.status(),
            headers: response.headers().clone(),
            length,
            body: fits.then(Vec::new),
        }
    }

    /// Takes a copy of what goes to the client. Room is asked for before it is taken: twice as much each time, and not more
    /// than the answer needs.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let Some(body) = &mut self.body else { return };
        let (room, length) = (body.capacity(), body.len());
        if room - length < bytes.len() {
            let left =
                self.length.and_then(|whole| usize::try_from(whole).ok()).map(|whole| whole.saturating_sub(room));
            let more = room.max(FIRST_ROOM).min(left.unwrap_or(usize::MAX)).max(bytes.len());
            if !self.first.grow(more as u64) {
                self.body = None;
                return;
            }
            // Counted from the length, so that the capacity grows by just what was asked for.
            body.reserve_exact(room - length + more);
        }
        body.extend_from_slice(bytes);
    }

    /// The answer has gone out whole and was a good one.
    pub(super) fn finish(mut self) {
        let Some(mut body) = self.body.take() else { return };
        body.shrink_to_fit();
        let kept = Kept { status: self.status, headers: std::mem::take(&mut self.headers), body: Bytes::from(body) };
        self.first.finish(kept);
    }
}

impl First {
    fn grow(&self, more: u64) -> bool {
        let replays = self.gateway.replays.as_ref();
        replays.is_some_and(|replays| replays.shelves().grow(&self.ticket, more))
    }

    /// What follows, its drop, finds the name taken by the answer and leaves it alone.
    fn finish(&self, kept: Kept) {
        let now = self.gateway.clock.now();
        if let Some(replays) = &self.gateway.replays {
            replays.shelves().finish(&self.ticket, kept, now);
        }
    }
}
