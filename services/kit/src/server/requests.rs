//! The body of a request: counted, with a floor of progress, and checked by the contract before it
//! is decoded.
//!
//! Each message is let through whole, after its size and its rows were looked at on the wire. What
//! its rows will take in memory is counted beside its bytes until the call is answered; of a stream,
//! until the next message comes.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::wire::{self, Broken};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

use super::calls::{overdue, overloaded};
use super::limits::ServerLimits;
use super::methods::Method;
use super::shares::Shares;
use crate::edge::{Answer, Progress};
use crate::identity::ChannelShare;
use crate::limits::Shared;
use crate::refusal::Refusal;

/// A flag and four bytes of length stand in front of each message.
const PREFIX: usize = 5;
/// Largest request of health and reflection.
const LARGEST_OPEN: usize = 64 * 1024;

/// What is counted for a request.
type Hold = Arc<Mutex<Option<Shared>>>;

/// The body of a request on its way to its handler.
pub(super) struct Arriving {
    body: Body,
    method: Method,
    shares: Option<(Arc<Shares>, Arc<ChannelShare>)>,
    hold: Hold,
    held: usize,
    /// The memory of messages that were passed on, in bytes.
    through: usize,
    /// The beginning of a message whose end is to come.
    begun: BytesMut,
    /// Bytes that it has to have before it is looked at.
    wanted: usize,
    /// The floor of progress; a stream has none, since its sender may have to wait for what it sends.
    progress: Option<Progress>,
    refuse: Option<oneshot::Sender<Refusal>>,
}

/// The refusal of a request that is not passed on. It ends the call, because a handler could read a body that ends early as a
/// complete one.
pub(super) struct Refused(Option<oneshot::Receiver<Refusal>>);

impl Refused {
    /// Waits for the refusal. Without one the future never completes.
    pub(super) async fn refusal(&mut self) -> Refusal {
        poll_fn(|context| self.poll(context)).await
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Refusal> {
        let Some(refused) = &mut self.0 else { return Poll::Pending };
        let told = ready!(Pin::new(refused).poll(context));
        self.0 = None;
        told.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Arriving {
    /// Creates the body of a request of a method, still empty. Without shares nothing is counted.
    pub(super) fn new(
        method: Method,
        limits: &ServerLimits,
        shares: Option<(Arc<Shares>, Arc<ChannelShare>)>,
    ) -> (Self, Refused) {
        let (refuse, refused) = oneshot::channel();
        let floor = || Progress::new(limits.request_window, limits.request_part as u64);
        let arriving = Self {
            body: Body::empty(),
            method,
            shares,
            hold: Hold::default(),
            held: 0,
            through: 0,
            begun: BytesMut::new(),
            wanted: PREFIX,
            progress: (!method.shape.uploads).then(floor),
            refuse: Some(refuse),
        };
        (arriving, Refused(Some(refused)))
    }

    /// Returns what is counted for the request, to be kept until the call is answered.
    pub(super) fn hold(&self) -> Hold {
        Arc::clone(&self.hold)
    }

    /// Sets the body.
    pub(super) fn of(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// Adds received bytes, and returns the messages that are complete, if any.
    fn take(&mut self, data: Bytes) -> Result<Option<Bytes>, Refusal> {
        if let Some(progress) = &mut self.progress {
            progress.came(data.len());
        }
        let whole = if self.begun.is_empty() && data.len() >= self.wanted {
            data
        } else {
            self.begun.extend_from_slice(&data);
            if self.begun.len() < self.wanted {
                self.count(self.begun.len())?;
                return Ok(None);
            }
            self.begun.split().freeze()
        };
        let mut ready = 0;
        let mut rows = 0;
        self.wanted = loop {
            let Some(mut prefix) = whole.get(ready..ready + PREFIX) else { break PREFIX };
            let compressed = prefix.get_u8() != 0;
            let length = prefix.get_u32() as usize;
            if compressed {
                // Refused by its header before the body is read, where it has one.
                return Err(malformed("请求报文的压缩方式不支持"));
            }
            self.fits(length)?;
            let Some(message) = whole.get(ready + PREFIX..ready + PREFIX + length) else { break PREFIX + length };
            rows += self.check(message)?;
            ready += PREFIX + length;
        };
        self.begun.extend_from_slice(whole.get(ready..).unwrap_or_default());
        if ready > 0 {
            let before = if self.method.shape.uploads { 0 } else { self.through };
            self.through = before + ready + rows;
        }
        self.count(self.through + self.begun.len())?;
        Ok((ready > 0).then(|| whole.slice(..ready)))
    }

    fn fits(&self, length: usize) -> Result<(), Refusal> {
        let largest = self.method.shape.request.map_or(LARGEST_OPEN, |request| request.largest);
        if length <= largest {
            return Ok(());
        }
        self.refused_by_contract();
        Err(Refusal::new(Common::RequestTooLarge, format!("请求报文过大，不能超过{largest}字节")))
    }

    fn check(&self, message: &[u8]) -> Result<usize, Refusal> {
        let Some(request) = self.method.shape.request else { return Ok(0) };
        wire::check(request.message, message).map_err(|broken| {
            self.refused_by_contract();
            match broken {
                Broken::Malformed => malformed("请求报文不是该接口的protobuf报文"),
                Broken::Fault(fault) => Refusal::for_faults(vec![*fault]),
            }
        })
    }

    fn refused_by_contract(&self) {
        if let Some((shares, _)) = &self.shares {
            shares.refused_by_contract();
        }
    }

    /// Counts what the request has in memory now. What is small is not counted.
    fn count(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Some((all, share)) = &self.shares else { return Ok(()) };
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match &mut *hold {
            Some(hold) if bytes >= self.held => hold.more((bytes - self.held) as u64),
            Some(hold) => {
                drop(hold.split((self.held - bytes) as u64));
                true
            }
            None if Answer::<()>::counts(bytes) => {
                *hold = Shared::take(&all.request_bytes, &share.request_bytes, bytes as u64);
                hold.is_some()
            }
            None => return Ok(()),
        };
        if room {
            self.held = bytes;
            Ok(())
        } else {
            Err(overloaded())
        }
    }

    /// Ends the call with a refusal: its handler waits for more until it is dropped.
    fn end(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.refuse.take().map(|refuse| refuse.send(refusal)) {
            Some(Ok(())) => Poll::Pending,
            Some(Err(refusal)) => Poll::Ready(Some(Err(refusal.into()))),
            None => Poll::Ready(None),
        }
    }
}

fn malformed(text: &str) -> Refusal {
    Refusal::new(Common::FieldMalformed, text)
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        loop {
            let data = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(None) if !this.begun.is_empty() => {
                    return this.end(malformed("请求报文不完整"));
                }
                Poll::Ready(ended) => return Poll::Ready(ended),
                Poll::Pending => {
                    let late = this.progress.as_mut().is_some_and(|progress| progress.poll_late(context).is_ready());
                    return if late { this.end(overdue()) } else { Poll::Pending };
                }
            };
            match this.take(data) {
                Ok(Some(messages)) => return Poll::Ready(Some(Ok(Frame::data(messages)))),
                Ok(None) => {}
                Err(refusal) => return this.end(refusal),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::{BodyExt as _, StreamBody};
    use prost::Message as _;

    use super::*;
    use communal_proto::billing::v1 as pb;

    const IMPORT: &str = "/communal.billing.v1.ReceivableService/ImportReceivableLines";
    const SALE: &str = "/communal.billing.v1.PackageService/CancelSalesPackage";

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        framed
    }

    /// What is let through of a body that comes in pieces of this size, and its refusal.
    async fn arrives(path: &str, body: &[u8], piece: usize) -> (Vec<u8>, Option<Refusal>) {
        let pieces: Vec<_> =
            body.chunks(piece).map(|piece| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let (arriving, mut refused) = Arriving::new(Method::of(path), &ServerLimits::default(), None);
        let mut arriving = arriving.of(Body::new(StreamBody::new(tokio_stream::iter(pieces))));
        let mut through = Vec::new();
        let reading = async {
            while let Some(frame) = arriving.frame().await {
                through.extend_from_slice(frame.unwrap().data_ref().unwrap());
            }
        };
        let refusal = tokio::select! {
            biased;
            () = reading => None,
            refusal = refused.refusal() => Some(refusal),
        };
        (through, refusal)
    }

    #[tokio::test]
    async fn messages_come_through_whole_whatever_pieces_they_come_in() {
        let line = pb::ReceivableLine { customer_id: "C".repeat(20), ..Default::default() };
        let mut body = Vec::new();
        for lines in 0..40 {
            let message = pb::ImportReceivableLinesRequest { batch: None, lines: vec![line.clone(); lines] };
            body.extend(framed(&message.encode_to_vec()));
        }
        for piece in [1, 4, 5, 6, 100, 1_000, 100_000] {
            let (through, refusal) = arrives(IMPORT, &body, piece).await;
            assert!(through == body && refusal.is_none(), "{piece}: {refusal:?}");
        }
        let (through, refusal) = arrives(IMPORT, &body[..body.len() - 1], 1_000).await;
        assert_eq!((through.len() < body.len(), refusal.unwrap().reason()), (true, "FIELD_MALFORMED"));
    }

    #[tokio::test]
    async fn rows_are_counted_and_sizes_are_seen_before_anything_is_let_through() {
        let rows = |count: usize| [0x0a, 0].repeat(count);
        for piece in [1, 1_000, 100_000] {
            let (through, refusal) = arrives(SALE, &framed(&rows(1_000)), piece).await;
            assert_eq!((through.len(), refusal.is_none()), (2_005, true));
            let (through, refusal) = arrives(SALE, &framed(&rows(1_001)), piece).await;
            let refusal = refusal.unwrap();
            assert_eq!((through.len(), refusal.reason()), (0, "FIELD_MALFORMED"));
            assert!(refusal.fields().any(|field| *field == "COM_SALES_PACK"), "{refusal:?}");
            // The prefix is enough.
            let (_, refusal) = arrives(SALE, &[0, 0xff, 0xff, 0xff, 0xff], piece).await;
            assert_eq!(refusal.unwrap().reason(), "REQUEST_TOO_LARGE");
        }
        let (_, refusal) = arrives(IMPORT, &framed(b"no protobuf"), 100).await;
        assert_eq!(refusal.unwrap().reason(), "FIELD_MALFORMED");
    }
}
