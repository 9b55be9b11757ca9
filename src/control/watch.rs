//! Watches the policies' folder and reloads when its contents change.
//!
//! The folder is watched, not its files: editors and `ConfigMaps` replace files by renaming over them, and a watch on a file
//! would follow the old one. What happened is not asked; after a quiet moment the contents are read and compared.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{Broken, Control, Snapshot};

/// After the last event, how long to wait for a writer to finish.
const QUIET: Duration = Duration::from_millis(100);
/// A folder that is written to without pause is read all the same.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Folders that give no events (some network mounts), or do not exist yet, are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What came of a change.
pub type Outcome = Result<Arc<Snapshot>, Broken>;

/// The watching thread; it ends when this is dropped.
pub struct Watch {
    stop: mpsc::Sender<Event>,
    thread: Option<std::thread::JoinHandle<()>>,
}

enum Event {
    Changed,
    Stop,
}

impl Watch {
    /// Watches `control`'s folder; `told` hears every outcome.
    pub fn start(control: Arc<Control>, told: impl Fn(Outcome) + Send + 'static) -> std::io::Result<Self> {
        let (send, receive) = mpsc::channel();
        let stop = send.clone();
        let thread = std::thread::Builder::new().name("plimsoll-watch".to_owned()).spawn(move || {
            watch(&control, &send, &receive, &told);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it as soon as what it does just now is done; a drop waits for that.
    pub fn stop(&self) {
        let _ = self.stop.send(Event::Stop);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(control: &Control, events: &mpsc::Sender<Event>, inbox: &Receiver<Event>, told: &dyn Fn(Outcome)) {
    let mut watcher = watcher(control.folder(), events);
    // What changed between the first reading and the watch gave no event.
    look(control, told);
    loop {
        match inbox.recv_timeout(LOOK_EVERY) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Event::Changed) => {}
            Err(RecvTimeoutError::Timeout) => {
                if watcher.is_none() {
                    watcher = self::watcher(control.folder(), events);
                }
                if !control.differs() {
                    continue;
                }
            }
        }
        if !settle(inbox) {
            return;
        }
        look(control, told);
    }
}

fn look(control: &Control, told: &dyn Fn(Outcome)) {
    if let Some(outcome) = control.reload() {
        told(outcome);
    }
}

/// Waits until no event has come for a moment; `false` when it is time to stop.
fn settle(inbox: &Receiver<Event>) -> bool {
    let until = Instant::now() + LONGEST_WAIT;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match inbox.recv_timeout(QUIET.min(left)) {
            Ok(Event::Stop) => return false,
            Ok(Event::Changed) => {}
            Err(_) => return true,
        }
    }
    true
}

fn watcher(folder: &Path, events: &mpsc::Sender<Event>) -> Option<RecommendedWatcher> {
    let events = events.clone();
    let told = move |event: notify::Result<notify::Event>| {
        let reading = event.as_ref().is_ok_and(|event| event.kind.is_access());
        if !reading {
            let _ = events.send(Event::Changed);
        }
    };
    let mut watcher = notify::recommended_watcher(told).ok()?;
    watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: so many events are waited for, and not so long.
    #[test]
    fn a_file_that_is_written_in_many_pieces_is_looked_at_when_it_is_whole() {
        let (send, inbox) = mpsc::channel();
        assert!((0..20).all(|_| send.send(Event::Changed).is_ok()));
        assert!(settle(&inbox));
        assert!(matches!(inbox.try_recv(), Err(mpsc::TryRecvError::Empty)), "every event came before the look");
    }

    // Mutation: only the quiet ends the wait.
    #[test]
    fn a_folder_that_is_written_to_without_pause_is_looked_at() {
        let (send, inbox) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..1_000 {
                let _ = send.send(Event::Changed);
                std::thread::sleep(QUIET / 20);
            }
        });
        assert!(settle(&inbox));
        assert!(inbox.recv().is_ok(), "it is still written to");
    }

    // Mutation: the wait goes on.
    #[test]
    fn who_waits_can_be_stopped() {
        let (send, inbox) = mpsc::channel();
        assert!(send.send(Event::Changed).and_then(|()| send.send(Event::Stop)).is_ok());
        assert!(!settle(&inbox));
    }
}
