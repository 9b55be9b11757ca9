//! The courier against real sockets.

use std::sync::mpsc as std_mpsc;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::alert::notification::tests::warning;
use crate::alert::signature::{key, sign};
use crate::domain::clock::{ManualClock, Timestamp};

const SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";
const QUICK: Retries = Retries { attempts: 4, first: Duration::from_millis(2), longest: Duration::from_millis(5) };

/// A request as a receiver saw it: the head in lower case and the body.
type Seen = (String, String);

/// A receiver that answers its requests with `statuses`, one after the other, then with 200.
async fn receiver(statuses: &'static [u16]) -> (String, mpsc::UnboundedReceiver<Seen>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, seen) = mpsc::unbounded_channel();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut statuses = statuses.iter();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let Some(request) = read(&mut stream).await else { continue };
            let _ = sender.send(request);
            let status = statuses.next().unwrap_or(&200);
            let head = format!(
                "HTTP/1.1 {status} x\r\nlocation: /elsewhere\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
            );
            let _ = stream.write_all(head.as_bytes()).await;
        }
    });
    (url, seen, task)
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0_u8; 4096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length: usize = header(&head, "content-length")?.parse().ok()?;
        if body.len() >= length {
            return Some((head, body.to_owned()));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn courier(targets: Vec<(&str, Target)>) -> (Courier, std_mpsc::Receiver<(String, Outcome)>) {
    let (sender, outcomes) = std_mpsc::channel();
    let targets = Targets::new(targets.into_iter().map(|(name, target)| (Arc::from(name), target)));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_234_331)));
    let hook: Hook = Arc::new(move |target, outcome| sender.send((target.to_owned(), outcome)).unwrap());
    (Courier::start(targets, &clock, hook, QUICK), outcomes)
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again_under_the_same_id() {
    let (url, mut seen, _task) = receiver(&[500, 503]).await;
    let (courier, outcomes) = courier(vec![("default", Target::webhook(&url, SECRET).unwrap())]);
    courier.send(warning(), &["account_owner"]);
    assert_eq!(courier.close(Duration::from_secs(5)).await, 0);

    let mut ids = Vec::new();
    for _ in 0..3 {
        let (head, body) = seen.recv().await.unwrap();
        assert!(head.starts_with("post /hook http/1.1"));
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        assert_eq!(body, serde_json::to_string(&warning()).unwrap());
        let (id, timestamp) = (header(&head, "webhook-id").unwrap(), header(&head, "webhook-timestamp").unwrap());
        let expected = sign(&key(SECRET).unwrap(), id, timestamp.parse().unwrap(), body.as_bytes());
        assert_eq!(header(&head, "webhook-signature"), Some(&*expected.to_lowercase()));
        ids.push(id.to_owned());
    }
    assert!(seen.try_recv().is_err());
    assert!(ids[0].starts_with("msg_") && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let outcomes: Vec<_> = outcomes.try_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [Outcome::Retried, Outcome::Retried, Outcome::Delivered]);
}

#[tokio::test]
async fn what_cannot_succeed_is_given_up() {
    for (statuses, expected) in [(&[302_u16][..], 1), (&[410], 1), (&[500, 500, 500, 500, 500, 500], 4)] {
        let statuses: &'static [u16] = statuses;
        let (url, mut seen, _task) = receiver(statuses).await;
        let (courier, outcomes) = courier(vec![("oncall", Target::slack(&url).unwrap())]);
        courier.send(warning(), &["oncall"]);
        courier.close(Duration::from_secs(5)).await;
        assert_eq!(outcomes.try_iter().last(), Some(("oncall".to_owned(), Outcome::Failed)));
        let mut count = 0;
        while seen.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, expected, "{statuses:?}");
    }
}

#[tokio::test]
async fn slack_gets_text_and_nobody_gets_it_twice() {
    let (url, mut seen, _task) = receiver(&[]).await;
    let (courier, outcomes) = courier(vec![("slack:llm-margin", Target::slack(&url).unwrap())]);
    courier.send(warning(), &["slack:llm-margin", "log", "slack:llm-margin", "account_owner"]);
    assert_eq!(courier.close(Duration::from_secs(5)).await, 0);
    let (_, body) = seen.recv().await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(
        body["text"].as_str().unwrap().starts_with("◆ globex reached 80% of its November budget ($120.40 of $150)")
    );
    assert!(seen.try_recv().is_err());
    assert_eq!(outcomes.try_iter().count(), 2);
}

#[tokio::test]
async fn a_target_that_never_answers_delays_nobody_and_fills_only_its_own_mailbox() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, mut seen, _task) = receiver(&[]).await;
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let targets = vec![("silent", Target::slack(&silent_url).unwrap()), ("oncall", Target::slack(&url).unwrap())];
    let (courier, outcomes) = courier(targets);
    let begun = Instant::now();
    for _ in 0..MAILBOX + 10 {
        courier.send(warning(), &["silent"]);
    }
    courier.send(warning(), &["oncall"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "sending waits");
    assert!(seen.recv().await.is_some());
    assert!(outcomes.try_iter().filter(|(_, outcome)| *outcome == Outcome::Dropped).count() >= 9);
    let lost = courier.close(Duration::from_millis(50)).await;
    assert!(lost >= MAILBOX, "{lost}");
    courier.send(warning(), &["oncall"]);
    assert_eq!(outcomes.try_iter().last().map(|(_, outcome)| outcome), Some(Outcome::Dropped));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let retries = Retries { attempts: 9, first: Duration::from_secs(1), longest: Duration::from_secs(10) };
    for (attempt, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (40, 10)] {
        let pause = retries.pause(attempt);
        let whole = Duration::from_secs(seconds);
        assert!(whole / 2 <= pause && pause <= whole, "{attempt}: {pause:?}");
    }
}
