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
                if spare.len() < FULL && emptied.capacity() > 0 {
                    spare.push(emptied);
                }
            }
        }
    }
}

/// Keeps the waker of a task, which is mostly the same.
fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
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
mod tests;
