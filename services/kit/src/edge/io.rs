//! The byte stream of a connection, with deadlines for the first bytes and for writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::Patience;

/// The first bytes of an HTTP/2 client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail if the first bytes are late, and whose writes fail if the client takes
/// nothing for too long. Once the version of HTTP is known, reads have the deadlines of that version.
#[derive(Debug)]
pub struct Timed<T> {
    inner: T,
    greeting: Option<Greeting>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    late_greetings: Counter,
    stalls: Counter,
}

#[derive(Debug)]
struct Greeting {
    /// The number of bytes of the preface that were read.
    read: usize,
    until: Pin<Box<Sleep>>,
}

impl<T> Timed<T> {
    pub(super) fn new(inner: T, patience: &Patience, late_greetings: Counter, stalls: Counter) -> Self {
        let greeting = Some(Greeting { read: 0, until: Box::pin(sleep(patience.greeting)) });
        Self { inner, greeting, stall: patience.stall, stalled: None, late_greetings, stalls }
    }

    fn written<R>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        if stalled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.stalls.increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Greeting {
    /// Continues to read the first bytes; returns whether they are complete.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let expected = &PREFACE[self.read..];
        let length = bytes.len().min(expected.len());
        self.read += length;
        self.read == PREFACE.len() || bytes[..length] != expected[..length]
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        let Some(greeting) = &mut this.greeting else { return polled };
        if polled.is_ready() {
            if greeting.read(&buffer.filled()[before..]) {
                this.greeting = None;
            }
            return polled;
        }
        if greeting.until.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.late_greetings.increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.written(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(context, bytes);
        this.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_flush(context);
        this.written(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_shutdown(context);
        this.written(context, polled)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn timed(capacity: usize) -> (DuplexStream, Timed<DuplexStream>) {
        let time = Duration::from_millis(300);
        let patience = Patience { greeting: time, idle: time, stall: time, age: None };
        let (client, server) = duplex(capacity);
        (client, Timed::new(server, &patience, Counter::noop(), Counter::noop()))
    }

    #[tokio::test]
    async fn a_client_has_to_greet() {
        for (greeting, in_time) in [("", false), ("P", false), ("PRI * HTTP/2.0\r\n", false), ("G", true), ("PO", true)]
        {
            let (mut client, mut server) = timed(100);
            client.write_all(greeting.as_bytes()).await.unwrap();
            let mut bytes = [0; 100];
            if !greeting.is_empty() {
                assert_eq!(server.read(&mut bytes).await.unwrap(), greeting.len());
            }
            let more = tokio::time::timeout(Duration::from_millis(600), server.read(&mut bytes)).await;
            assert_eq!(more.is_err(), in_time, "{greeting:?}");
        }
        let (mut client, mut server) = timed(100);
        for part in [&PREFACE[..7], &PREFACE[7..]] {
            client.write_all(part).await.unwrap();
            assert_eq!(server.read(&mut [0; 100]).await.unwrap(), part.len());
        }
        assert!(server.greeting.is_none());
    }

    #[tokio::test]
    async fn a_client_has_to_take_what_is_written() {
        let (mut client, mut server) = timed(8);
        server.write_all(&[0; 8]).await.unwrap();
        let reading = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.read_exact(&mut [0; 8]).await.unwrap();
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 8]), reading);
        written.unwrap();
        let error = server.write_all(&[0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
