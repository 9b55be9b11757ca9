//! Carries notifications to their targets in the background.
//!
//! Each target has its own mailbox and its own task, so one that is down delays nobody else. Sending never waits: a full
//! mailbox drops the notification, which is logged and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::notification::Notification;
use super::post::{Failure, Letter, Post};
use super::target::{Target, Targets};
use crate::domain::clock::Clock;

/// How many notifications wait for one target.
const MAILBOX: usize = 256;

/// What became of a notification at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered,
    /// An attempt failed; another one follows.
    Retried,
    /// It was given up.
    Failed,
    /// The mailbox was full.
    Dropped,
}

/// Told of every outcome, with the target's name: for metrics. It must not wait.
pub type Hook = Arc<dyn Fn(&str, Outcome) + Send + Sync>;

/// How often and how fast a delivery is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Attempts in all.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles from there.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Retries {
    /// Eight attempts over one to two minutes.
    fn default() -> Self {
        Self { attempts: 8, first: Duration::from_millis(500), longest: Duration::from_mins(1) }
    }
}

impl Retries {
    /// The pause after so many attempts: doubling, of which the upper half is chance, so that receivers that come back are
    /// not met by everybody at once.
    fn pause(&self, attempts: u32) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
        let half = doubled.min(self.longest) / 2;
        let chance = getrandom::u32().unwrap_or(u32::MAX / 2);
        let micros = u128::from(chance) * half.as_micros() / u128::from(u32::MAX);
        half + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// Carries notifications; share it in an `Arc`.
pub struct Courier {
    targets: Targets,
    mailboxes: BTreeMap<Arc<str>, mpsc::Sender<Letter>>,
    hook: Hook,
    /// Accepted and neither delivered nor given up.
    pending: Arc<AtomicUsize>,
    closing: CancellationToken,
    /// Owns the tasks until [`Courier::close`] takes them.
    tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier")
            .field("targets", &self.targets)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl Courier {
    /// Starts a task per target on the current runtime.
    pub fn start(targets: Targets, clock: &Arc<dyn Clock>, hook: Hook, retries: Retries) -> Self {
        let (pending, closing, post) = (Arc::default(), CancellationToken::new(), Post::new());
        let (mut tasks, mut mailboxes) = (JoinSet::new(), BTreeMap::new());
        for (name, target) in targets.iter() {
            let (sender, mailbox) = mpsc::channel(MAILBOX);
            let round = Round {
                name: Arc::clone(name),
                target: target.clone(),
                post: post.clone(),
                clock: Arc::clone(clock),
                hook: Arc::clone(&hook),
                retries,
                pending: Arc::clone(&pending),
            };
            tasks.spawn(round.walk(mailbox, closing.clone()));
            mailboxes.insert(Arc::clone(name), sender);
        }
        Self { targets, mailboxes, hook, pending, closing, tasks: Mutex::new(tasks) }
    }

    /// The targets it serves.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Takes a notification for the targets that `to` names, and returns at once.
    pub fn send<N: AsRef<str>>(&self, notification: Notification, to: &[N]) {
        let letter = Letter { id: fresh_id(), notification: Arc::new(notification) };
        for name in self.targets.resolve(to, letter.notification.account_owner()) {
            // Counted first: the task may be done with it before this line is over.
            self.pending.fetch_add(1, Ordering::Relaxed);
            let taken = self.mailboxes.get(name).is_some_and(|mailbox| mailbox.try_send(letter.clone()).is_ok());
            if !taken {
                self.pending.fetch_sub(1, Ordering::Relaxed);
                let notification = letter.notification.name();
                tracing::warn!(receiver = name, notification, "notification dropped: its mailbox is full or closed");
                (self.hook)(name, Outcome::Dropped);
            }
        }
    }

    /// How many notifications are on their way.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Takes nothing more, delivers what waits, and gives up after `deadline`. Returns how many were lost.
    pub async fn close(&self, deadline: Duration) -> usize {
        self.closing.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let drained = tokio::time::timeout(deadline, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.shutdown().await;
        let lost = self.pending();
        if drained.is_err() || lost > 0 {
            tracing::warn!(lost, "notifications lost at shutdown");
        }
        lost
    }
}

/// `msg_` and 128 random bits.
fn fresh_id() -> Arc<str> {
    let half = || getrandom::u64().unwrap_or_default();
    Arc::from(format!("msg_{:016x}{:016x}", half(), half()))
}

/// The task of one target.
struct Round {
    name: Arc<str>,
    target: Target,
    post: Post,
    clock: Arc<dyn Clock>,
    hook: Hook,
    retries: Retries,
    pending: Arc<AtomicUsize>,
}

impl Round {
    async fn walk(self, mut mailbox: mpsc::Receiver<Letter>, closing: CancellationToken) {
        loop {
            let letter = tokio::select! {
                letter = mailbox.recv() => letter,
                () = closing.cancelled(), if !mailbox.is_closed() => {
                    // What is in the mailbox is still read out.
                    mailbox.close();
                    continue;
                }
            };
            let Some(letter) = letter else { return };
            let outcome = self.carry(&letter).await;
            (self.hook)(&self.name, outcome);
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn carry(&self, letter: &Letter) -> Outcome {
        if matches!(self.target, Target::Log) {
            let notification = letter.notification.name();
            let tenant = letter.notification.facts.tenant.as_ref().map(|tenant| &*tenant.id);
            let line = letter.notification.text().lines().collect::<Vec<_>>().join(" | ");
            tracing::info!(notification, tenant, id = &*letter.id, "{line}");
            return Outcome::Delivered;
        }
        for attempt in 1..=self.retries.attempts {
            let reason = match self.post.deliver(letter, &self.target, self.clock.now()).await {
                Ok(()) => return Outcome::Delivered,
                Err(Failure::Final(reason)) => return self.give_up(letter, &reason),
                Err(Failure::Passing(reason)) if attempt == self.retries.attempts => {
                    return self.give_up(letter, &reason);
                }
                Err(Failure::Passing(reason)) => reason,
            };
            tracing::debug!(receiver = &*self.name, attempt, reason, "notification not delivered yet");
            (self.hook)(&self.name, Outcome::Retried);
            tokio::time::sleep(self.retries.pause(attempt)).await;
        }
        Outcome::Failed
    }

    fn give_up(&self, letter: &Letter, reason: &str) -> Outcome {
        let notification = letter.notification.name();
        tracing::warn!(receiver = &*self.name, notification, reason, id = &*letter.id, "notification not delivered");
        Outcome::Failed
    }
}

#[cfg(test)]
mod tests;
