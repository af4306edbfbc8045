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

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::wire::{self, Broken};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

use super::calls::{overdue, overloaded};
use super::compression::PREFIX;
use super::limits::ServerLimits;
use super::methods::Method;
use super::shares::Shares;
use crate::edge::{Answer, Progress};
use crate::gzip::{Expansion, NoGzip};
use crate::identity::ChannelShare;
use crate::limits::Shared;
use crate::refusal::Refusal;

/// Largest request of health and reflection.
const LARGEST_OPEN: usize = 64 * 1024;

/// What is counted for a request.
type Hold = Arc<Mutex<Option<Shared>>>;

/// The body of a request on its way to its handler.
pub(super) struct Arriving {
    body: Body,
    method: Method,
    /// True if messages may be compressed.
    compressed: bool,
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
        compressed: bool,
        limits: &ServerLimits,
        shares: Option<(Arc<Shares>, Arc<ChannelShare>)>,
    ) -> (Self, Refused) {
        let (refuse, refused) = oneshot::channel();
        let floor = || Progress::new(limits.request_window, limits.request_part as u64);
        let arriving = Self {
            body: Body::empty(),
            method,
            compressed,
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
        // The messages as they are passed on, once one of them was compressed.
        let mut expanded: Option<BytesMut> = None;
        self.wanted = loop {
            let Some(mut prefix) = whole.get(ready..ready + PREFIX) else { break PREFIX };
            let compressed = match prefix.get_u8() {
                0 => false,
                1 if self.compressed => true,
                _ => return Err(malformed("请求报文的压缩方式不支持")),
            };
            let length = prefix.get_u32() as usize;
            self.fits(length)?;
            let Some(message) = whole.get(ready + PREFIX..ready + PREFIX + length) else { break PREFIX + length };
            if compressed {
                let out = expanded.get_or_insert_with(|| BytesMut::from(whole.get(..ready).unwrap_or_default()));
                let message = self.expand(message, whole.len() + out.len())?;
                rows += self.check(&message)?;
                out.put_u8(0);
                // No message is larger than 16 MiB.
                out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
                out.extend_from_slice(&message);
            } else {
                rows += self.check(message)?;
                if let Some(out) = &mut expanded {
                    out.extend_from_slice(whole.get(ready..ready + PREFIX + length).unwrap_or_default());
                }
            }
            ready += PREFIX + length;
        };
        self.begun.extend_from_slice(whole.get(ready..).unwrap_or_default());
        let passed_on = (ready > 0).then(|| expanded.map_or_else(|| whole.slice(..ready), BytesMut::freeze));
        if let Some(messages) = &passed_on {
            let before = if self.method.shape.uploads { 0 } else { self.through };
            self.through = before + messages.len() + rows;
        }
        self.count(self.through + self.begun.len())?;
        Ok(passed_on)
    }

    /// Expands a compressed message. What it becomes is limited and counted like one that comes plain, before it is there;
    /// `beside` are the bytes of the body that are in memory meanwhile.
    fn expand(&mut self, message: &[u8], beside: usize) -> Result<Vec<u8>, Refusal> {
        let before = self.through + beside;
        let mut expansion = Expansion::new(message);
        while let Some(size) = expansion.next_part().map_err(|NoGzip| malformed("请求报文不是gzip压缩的报文"))?
        {
            self.fits(size)?;
            self.count(before + size)?;
        }
        Ok(expansion.into_whole())
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

    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
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
        let (arriving, mut refused) = Arriving::new(Method::of(path), true, &ServerLimits::default(), None);
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

    /// The messages of a body, each with the flag of a compressed one.
    fn gzipped(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for message in messages {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(message).unwrap();
            let mut framed = framed(&encoder.finish().unwrap());
            framed[0] = 1;
            body.extend(framed);
        }
        body
    }

    #[tokio::test]
    async fn compressed_messages_are_passed_on_plain_and_limited_by_what_they_become() {
        let line = pb::ReceivableLine { customer_id: "C".repeat(20), ..Default::default() };
        let messages: Vec<_> = (0..40)
            .map(|lines| {
                pb::ImportReceivableLinesRequest { batch: None, lines: vec![line.clone(); lines] }.encode_to_vec()
            })
            .collect();
        let plain: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        let mut mixed = gzipped(&messages[..20]);
        mixed.extend(messages[20..].iter().flat_map(|message| framed(message)));
        for (body, piece) in
            [(gzipped(&messages), 7), (gzipped(&messages), 100_000), (mixed.clone(), 1), (mixed, 10_000)]
        {
            let (through, refusal) = arrives(IMPORT, &body, piece).await;
            assert!(through == plain && refusal.is_none(), "{piece}: {refusal:?}");
        }
        // A bomb of 50 MB, and rows beyond the limit, are refused as if they came plain.
        let (through, refusal) = arrives(IMPORT, &gzipped(&[vec![0; 50 << 20]]), 100_000).await;
        assert_eq!((through.len(), refusal.unwrap().reason()), (0, "REQUEST_TOO_LARGE"));
        let (through, refusal) = arrives(SALE, &gzipped(&[[0x0a, 0].repeat(1_001)]), 100_000).await;
        assert_eq!((through.len(), refusal.unwrap().reason()), (0, "FIELD_MALFORMED"));
        let mut no_gzip = framed(b"no gzip");
        no_gzip[0] = 1;
        assert_eq!(arrives(SALE, &no_gzip, 100).await.1.unwrap().reason(), "FIELD_MALFORMED");
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
