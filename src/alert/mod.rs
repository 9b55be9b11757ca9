//! The voice: notifications, and their delivery to webhooks, Slack and the log.
//!
//! Sending never waits and never fails a call: a mailbox that is full drops the notification and says so. Whether anything is
//! worth saying is decided elsewhere.

pub mod courier;
pub mod notification;
mod post;
mod signature;
pub mod target;
mod text;
