//! What leaves a core, gathered for one turn of its loop.
//!
//! Whoever reads at the other end of a connection sleeps until something comes, and to wake somebody costs more than to write.
//! So what calls write does not leave piece by piece: it waits until every call that is ready has had its turn, and leaves
//! together. What is long leaves at once, and nothing waits longer than the turn.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::panics::caught;

/// So many bytes of one connection wait at most.
const MOST: usize = 16 * 1024;
/// So many connections wait at most: in a long turn the first must not wait for all the others.
const FULL: usize = 64;

/// The connections of one core that have something to send.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: RefCell<Vec<Rc<RefCell<Outgoing>>>>,
    /// Emptied buffers: a connection has one only while there is something in it.
    spare: RefCell<Vec<Vec<u8>>>,
    /// Wakes the task that sends.
    sender: RefCell<Option<Waker>>,
}

impl Outbox {
    /// Sends what waits, turn after turn. A task of the core: who puts something in first wakes it, and the runtime runs it
    /// after every task that was ready before. It ends with the runtime; a connection that ends sends what it has itself.
    pub(super) async fn run(self: Rc<Self>) {
        loop {
            poll_fn(|cx| self.poll_waiting(cx)).await;
            caught("sending what waits", || self.send());
        }
    }

    fn poll_waiting(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.waiting.borrow().is_empty() {
            return Poll::Ready(());
        }
        remember(&mut self.sender.borrow_mut(), cx);
        Poll::Pending
    }

    fn put_in(&self, outgoing: &Rc<RefCell<Outgoing>>) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push(Rc::clone(outgoing));
        if waiting.len() == FULL {
            drop(waiting);
            self.send();
        } else if waiting.len() == 1
            && let Some(sender) = &*self.sender.borrow()
        {
            sender.wake_by_ref();
        }
    }

    fn send(&self) {
        let mut spare = self.spare.borrow_mut();
        for outgoing in self.waiting.borrow_mut().drain(..) {
            let mut outgoing = outgoing.borrow_mut();
            outgoing.waits = false;
            outgoing.send();
            if outgoing.unsent.is_empty() {
                let emptied = std::mem::take(&mut outgoing.unsent);
                if spare.len() < FULL {
                    spare.push(emptied);
                }
            }
        }
    }
}

/// Keeps the waker of a task, which is mostly the same.
fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

/// A connection whose writes are gathered.
pub(super) struct Gathered {
    reading: OwnedReadHalf,
    outgoing: Rc<RefCell<Outgoing>>,
    outbox: Rc<Outbox>,
}

/// The writing half.
struct Outgoing {
    /// Taken when the connection ends.
    half: Option<OwnedWriteHalf>,
    unsent: Vec<u8>,
    /// So many of the bytes are with the kernel.
    sent: usize,
    /// It stands in the outbox.
    waits: bool,
    /// The kernel takes no more; the connection's own task goes on with it.
    blocked: bool,
    /// Why nothing can be sent any more. The next who writes is told.
    failed: Option<io::Error>,
    /// Wakes the connection's task.
    writer: Option<Waker>,
}

impl Gathered {
    pub(super) fn new(tcp: TcpStream, outbox: Rc<Outbox>) -> Self {
        let (reading, half) = tcp.into_split();
        let outgoing = Outgoing {
            half: Some(half),
            unsent: Vec::new(),
            sent: 0,
            waits: false,
            blocked: false,
            failed: None,
            writer: None,
        };
        Self { reading, outgoing: Rc::new(RefCell::new(outgoing)), outbox }
    }

    /// Takes bytes to be sent with the others; not more than may wait.
    fn gather(&self, slices: &[IoSlice<'_>], cx: &Context<'_>) -> Option<usize> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.unsent.len() + length > MOST {
            return None;
        }
        if outgoing.unsent.capacity() == 0 {
            outgoing.unsent = self.outbox.spare.borrow_mut().pop().unwrap_or_default();
        }
        for slice in slices {
            outgoing.unsent.extend_from_slice(slice);
        }
        remember(&mut outgoing.writer, cx);
        let is_new = !std::mem::replace(&mut outgoing.waits, true);
        drop(outgoing);
        if is_new {
            self.outbox.put_in(&self.outgoing);
        }
        Some(length)
    }
}

impl Outgoing {
    /// Writes without waiting. Where the kernel does not take everything, the connection's task is woken to go on.
    fn send(&mut self) {
        let Some(half) = &self.half else { return };
        while !self.blocked
            && let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty())
        {
            match half.try_write(rest) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => {
                    self.failed = Some(error);
                    self.sent = self.unsent.len();
                }
            }
        }
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        }
        if (self.blocked || self.failed.is_some())
            && let Some(writer) = &self.writer
        {
            writer.wake_by_ref();
        }
    }

    /// Waits until the kernel has everything.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let Some(half) = &mut self.half else { return Poll::Ready(Ok(())) };
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += ready!(Pin::new(&mut *half).poll_write(cx, rest))?;
        }
        self.unsent = Vec::new();
        (self.sent, self.blocked) = (0, false);
        Poll::Ready(Ok(()))
    }

    /// What waits for the end of the turn is as good as written; what the kernel refused is not. Whoever has the connection now is
    /// woken should that happen.
    fn poll_unblocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.blocked || self.failed.is_some() {
            return self.poll_sent(cx);
        }
        if self.waits {
            remember(&mut self.writer, cx);
        }
        Poll::Ready(Ok(()))
    }

    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        self.half.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut outgoing = this.outgoing.borrow_mut();
        // Some write once and then only read. Why nothing can be sent is told to who writes: an answer may have come all the same.
        if outgoing.failed.is_none()
            && let Poll::Ready(Err(error)) = outgoing.poll_unblocked(cx)
        {
            outgoing.failed = Some(error);
        }
        Pin::new(&mut this.reading).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.outgoing.borrow_mut().poll_unblocked(cx))?;
        if let Some(taken) = self.gather(slices, cx) {
            return Poll::Ready(Ok(taken));
        }
        let mut outgoing = self.outgoing.borrow_mut();
        ready!(outgoing.poll_sent(cx))?;
        outgoing.half()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.borrow_mut().poll_unblocked(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.outgoing.borrow_mut();
        ready!(outgoing.poll_sent(cx))?;
        outgoing.half()?.poll_shutdown(cx)
    }
}

impl Drop for Gathered {
    /// What waits still leaves, as far as the kernel takes it.
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.blocked = false;
        outgoing.send();
        if let Some(half) = outgoing.half.take() {
            // The connection is closed, not shut down before.
            half.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// Runs on a core's kind of runtime, with a connection to somebody and an outbox that is running.
    fn on_a_core<F: Future>(work: impl FnOnce(Gathered, TcpStream, Rc<Outbox>) -> F) -> F::Output {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
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
}
