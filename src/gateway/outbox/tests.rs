//! Every byte leaves once, in order, and in time.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};

use super::*;

/// Runs on a core's kind of runtime, with a connection to somebody and an outbox that is running.
fn on_a_core<F: Future>(work: impl FnOnce(Gathered, TcpStream, Rc<Outbox>) -> F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let ours = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        // The kernel takes little at once.
        socket2::SockRef::from(&ours).set_send_buffer_size(4_096).expect("a small buffer");
        let (theirs, _) = listener.accept().await.expect("a connection");
        let outbox = Rc::<Outbox>::default();
        drop(tokio::task::spawn_local(Rc::clone(&outbox).run()));
        tokio::task::yield_now().await;
        work(Gathered::new(ours, Rc::clone(&outbox)), theirs, outbox).await
    })
}

/// What has arrived by now.
fn arrived(theirs: &TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 10];
    let read = theirs.try_read(&mut buffer).unwrap_or_default();
    buffer.truncate(read);
    buffer
}

/// What comes of a future that somebody wakes. A timeout would look at it once more at its end.
async fn woken<F: Future>(work: F) -> F::Output {
    tokio::select! {
        biased;
        () = tokio::time::sleep(std::time::Duration::from_secs(5)) => panic!("nobody woke it"),
        done = work => done,
    }
}

async fn everything(mut theirs: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).await.expect("bytes");
    all
}

// Mutation: `put_in` sends at once.
#[test]
fn what_is_written_in_one_turn_leaves_at_its_end() {
    on_a_core(async |mut ours, theirs, outbox| {
        ours.write_all(b"a head, ").await.expect("written");
        ours.write_all(b"a body").await.expect("written");
        ours.flush().await.expect("flushed");
        assert_eq!(outbox.waiting.borrow().len(), 1, "one connection waits, with both writes");
        assert_eq!(arrived(&theirs), b"");
        tokio::task::yield_now().await;
        theirs.readable().await.expect("readable");
        assert_eq!(arrived(&theirs), b"a head, a body");
        assert_eq!(outbox.spare.borrow().len(), 1, "its buffer is kept for the next");
    });
}

// Mutation: `Drop` does not send.
#[test]
fn what_waits_when_a_connection_ends_still_leaves() {
    let all = on_a_core(async |mut ours, theirs, _| {
        ours.write_all(b"the last words").await.expect("written");
        drop(ours);
        everything(theirs).await
    });
    assert_eq!(all, b"the last words");
}

// Mutation: `send` keeps the error for itself and wakes nobody.
#[test]
fn who_writes_to_a_closed_connection_is_told() {
    on_a_core(async |mut ours, theirs, _| {
        // Closed with something unread, a connection is reset.
        ours.write_all(b"unread").await.expect("written");
        tokio::task::yield_now().await;
        theirs.readable().await.expect("readable");
        drop(theirs);
        let told = poll_fn(|cx| {
            let written = Pin::new(&mut ours).poll_write(cx, b"more");
            // Taken for this turn: the turn's end wakes us when it did not leave.
            if matches!(written, Poll::Ready(Ok(_))) { Poll::Pending } else { written }
        });
        assert!(woken(told).await.is_err());
    });
}

// Mutations: `send` wakes nobody when the kernel takes no more; a buffer that was sent is kept.
#[test]
fn what_the_kernel_did_not_take_goes_on_when_it_does() {
    on_a_core(async |mut ours, theirs, _| {
        let mut before = 0;
        while let Ok(taken) = ours.outgoing.borrow().half.as_ref().expect("a half").try_write(&[b'.'; MOST]) {
            before += taken;
        }
        let mut is_written = false;
        let flushed = poll_fn(|cx| {
            if is_written {
                return Pin::new(&mut ours).poll_flush(cx);
            }
            is_written = true;
            assert!(matches!(Pin::new(&mut ours).poll_write(cx, b"more"), Poll::Ready(Ok(4))));
            assert!(matches!(Pin::new(&mut ours).poll_flush(cx), Poll::Ready(Ok(()))), "it waits for its turn");
            Poll::Pending
        });
        let read = tokio::task::spawn_local(everything(theirs));
        woken(flushed).await.expect("flushed");
        assert_eq!(ours.outgoing.borrow().unsent.capacity(), 0, "no buffer without something in it");
        drop(ours);
        let read = read.await.expect("everything");
        assert!(read.len() == before + 4 && read.ends_with(b".more"), "{} of {before} and 4 bytes", read.len());
    });
}

// Mutation: the outbox is never full.
#[test]
fn a_long_turn_does_not_hold_up_what_came_first() {
    on_a_core(async |mut ours, theirs, outbox| {
        ours.write_all(b"first").await.expect("written");
        let first = outbox.waiting.borrow().first().map(Rc::clone).expect("it waits");
        (1..FULL).for_each(|_| outbox.put_in(&first));
        assert!(outbox.waiting.borrow().is_empty() && !first.borrow().waits, "it left before the turn ended");
        theirs.readable().await.expect("readable");
        assert_eq!(arrived(&theirs), b"first");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the sizes, however slow the reader: every byte arrives once and in order.
    // Mutations: `sent` is not set back; a long write does not wait for what is before it.
    #[test]
    fn every_byte_arrives_once_and_in_order(
        pieces in proptest::collection::vec((0usize..3, 0usize..40_000, any::<bool>()), 1..60),
    ) {
        let lengths = pieces.iter().map(|(kind, length, _)| [length % 7, length % 3_000, *length][*kind]);
        let total: usize = lengths.clone().sum();
        let bytes: Vec<u8> = (0..total).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
        let all = on_a_core(async |mut ours, theirs, _| {
            let mut rest = bytes.as_slice();
            let writing = async {
                for (length, (_, _, pause)) in lengths.zip(&pieces) {
                    let (piece, behind) = rest.split_at(length);
                    ours.write_all(piece).await.expect("written");
                    rest = behind;
                    if *pause {
                        tokio::task::yield_now().await;
                    }
                }
                ours.shutdown().await.expect("shut down");
            };
            tokio::join!(writing, everything(theirs)).1
        });
        prop_assert_eq!(all, bytes);
    }
}
