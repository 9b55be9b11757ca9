//! The upstream half of an answer: what has arrived, and how long we wait for more.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use super::Limits;
use super::link::{Burst, Link, Then};

/// What breaks a client's connection in mid-answer: the provider's stream broke.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the provider's answer was cut")
    }
}

impl std::error::Error for Cut {}

/// The link that an answer comes over, and the timer for silence and for the end of patience.
pub(super) struct Source {
    /// Taken when the answer has ended well.
    pub(super) link: Option<Link>,
    heard: Instant,
    silence: Duration,
    /// When the answer must have ended.
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    /// We gave up, and not the provider.
    pub(super) gave_up: bool,
    /// It is over, and not well.
    pub(super) broken: bool,
}

impl Source {
    pub(super) fn new(link: Link, limits: &Limits) -> Self {
        let (heard, silence) = (Instant::now(), limits.silence_timeout);
        let deadline = heard + limits.answer_timeout;
        let timer = Box::pin(tokio::time::sleep_until((heard + silence).min(deadline).into()));
        Self { link: Some(link), heard, silence, deadline, timer, gave_up: false, broken: false }
    }

    /// All that has arrived, in one piece, so that what was sent in one go is read, metered and written in one go.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Burst> {
        let Some(link) = self.link.as_mut().filter(|_| !self.broken) else { return Poll::Ready(CUT) };
        match link.poll_burst(cx) {
            Poll::Ready(burst) => {
                self.heard = Instant::now();
                self.gave_up = match burst.then {
                    // A stream that never makes us wait is not asked for its patience below.
                    Then::More => self.heard > self.deadline,
                    Then::Cut => link.is_unreadable(),
                    Then::End => false,
                };
                Poll::Ready(if self.gave_up { Burst { then: Then::Cut, ..burst } } else { burst })
            }
            Poll::Pending => self.poll_patience(cx),
        }
    }

    /// The timer is set anew only when it fires, so that a busy stream never touches it.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Burst> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = (self.heard + self.silence).min(self.deadline);
            if due <= Instant::now() {
                self.gave_up = true;
                return Poll::Ready(CUT);
            }
            self.timer.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}

/// Nothing more comes.
const CUT: Burst = Burst { bytes: Bytes::new(), then: Then::Cut };
