//! Bodies of answers: sent in pieces, each of which is counted until it has left the process.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::streams::cut_off_at;
use crate::limits::Shared;

/// The most bytes of a piece. A piece is copied to the socket's buffers at once, which delays other calls by some hundred
/// microseconds at most. Smaller pieces cost a wake-up and a system call each: with 64 KiB, an answer of 200 lines of
/// arrears (300 KB) took a seventh more CPU.
pub const PIECE: usize = 512 * 1024;
/// An answer up to this size is not counted: the limits of connections and streams bound these.
const SMALL: usize = 4 * 1024;

/// The body of an answer. `K` is kept until the last byte is handed over.
#[derive(Debug)]
pub struct Answer<K> {
    data: Bytes,
    trailers: Option<HeaderMap>,
    hold: Option<Shared>,
    stall: Duration,
    /// True if other streams come before the next piece.
    others_first: bool,
    _kept: K,
}

impl<K> Answer<K> {
    /// Returns whether an answer of this size is counted.
    #[must_use]
    pub fn counts(bytes: usize) -> bool {
        bytes > SMALL
    }

    /// Creates the body of an answer with what was taken of the quotas for it. It is cut off if the
    /// client takes nothing for the time `stall`.
    #[must_use]
    pub fn new(data: Bytes, trailers: Option<HeaderMap>, hold: Option<Shared>, stall: Duration, kept: K) -> Self {
        Self { data, trailers, hold, stall, others_first: false, _kept: kept }
    }

    /// Replaces the kept value.
    #[must_use]
    pub fn keeping<O>(self, kept: O) -> Answer<O> {
        let Self { data, trailers, hold, stall, others_first, _kept: _ } = self;
        Answer { data, trailers, hold, stall, others_first, _kept: kept }
    }
}

/// A piece that is being sent. When its last reference is dropped, its bytes are given back.
struct Piece {
    bytes: Bytes,
    _hold: Shared,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<K: Unpin> Body for Answer<K> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if this.data.is_empty() {
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if std::mem::take(&mut this.others_first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        cut_off_at(Some(Instant::now() + this.stall));
        let bytes = this.data.split_to(this.data.len().min(PIECE));
        this.others_first = !this.data.is_empty();
        let bytes = match &mut this.hold {
            Some(hold) => {
                let hold = hold.split(bytes.len() as u64);
                Bytes::from_owner(Piece { bytes, _hold: hold })
            }
            None => bytes,
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // With trailers, the headers need no length.
        if self.trailers.is_some() { SizeHint::default() } else { SizeHint::with_exact(self.data.len() as u64) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::BodyExt as _;
    use metrics::Counter;

    use super::*;
    use crate::limits::Quota;

    #[tokio::test]
    async fn an_answer_counts_until_its_last_piece_has_left() {
        let (all, share) =
            (Quota::counted(2 * PIECE + 10, Counter::noop()), Quota::counted(2 * PIECE + 10, Counter::noop()));
        let length = PIECE * 2 + 10;
        let hold = Shared::take(&all, &share, length as u64);
        let mut answer = Answer::new(Bytes::from(vec![7; length]), None, hold, Duration::from_secs(1), ());
        assert_eq!(answer.size_hint().exact(), Some(length as u64));
        let mut under_way = Vec::new();
        while let Some(frame) = answer.frame().await {
            under_way.push(frame.unwrap().into_data().unwrap());
        }
        drop(answer);
        assert_eq!(under_way.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, 10]);
        assert_eq!((all.used(), share.used()), (length as u64, length as u64));
        under_way.pop();
        assert_eq!(all.used(), 2 * PIECE as u64);
        under_way.clear();
        assert_eq!((all.used(), share.used()), (0, 0));
    }
}
