//! Reads request bodies within limits of size, time and memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use communal_kit::edge::Progress;
use communal_kit::gzip::{Expansion, NoGzip};
use communal_kit::limits::Shared;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};

use crate::config::Limits;
use crate::dialects::NotDispatched;
use crate::shares::{AddressShare, Shares};

/// The reason why a body was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The body is broken, too large or too slow.
    NotDispatched(NotDispatched),
    /// Other bodies use all that there is for bodies, or for those of one address.
    NoRoom,
}

/// The limits of bodies, and what all of them share.
#[derive(Debug)]
pub(crate) struct Bodies {
    limits: Limits,
    shares: Arc<Shares>,
}

/// A body that was read. Its reserved memory is released when it is dropped.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _room: Option<Shared>,
}

impl ReadBody {
    /// The body of a request without one.
    pub(crate) fn none() -> Self {
        Self { bytes: Bytes::new(), _room: None }
    }
}

impl Bodies {
    pub(crate) fn new(limits: &Limits, shares: &Arc<Shares>) -> Self {
        Self { limits: *limits, shares: Arc::clone(shares) }
    }

    /// Reads a body, and expands it if it is compressed by gzip.
    pub(crate) async fn read(&self, body: &mut Incoming, gzip: bool, share: &AddressShare) -> Result<ReadBody, Unread> {
        // A body that arrives takes no place among the calls: it may come slowly, or not at all.
        let _arriving = Shared::take(&self.shares.bodies, &share.bodies, 1).ok_or(Unread::NoRoom)?;
        let read = async {
            let read = self.collect(body, share).await?;
            if gzip { self.expand(&read.bytes, share).await } else { Ok(read) }
        };
        match tokio::time::timeout(self.limits.body_time, read).await {
            Ok(outcome) => outcome,
            Err(_) => Err(too_slow()),
        }
    }

    /// Expands a body. The limit is that of a plain one, and memory is reserved for each part before the next is made.
    async fn expand(&self, compressed: &[u8], share: &AddressShare) -> Result<ReadBody, Unread> {
        let mut room = None;
        let mut expansion = Expansion::new(compressed);
        let mut before = 0;
        while let Some(size) = expansion.next_part().map_err(|NoGzip| Unread::NotDispatched(NotDispatched::NoGzip))? {
            if size > self.limits.body_bytes {
                return Err(Unread::NotDispatched(NotDispatched::TooLarge(self.limits.body_bytes)));
            }
            self.reserve(&mut room, size - before, share)?;
            before = size;
            // Other calls go on between two parts.
            tokio::task::yield_now().await;
        }
        Ok(ReadBody { bytes: expansion.into_whole().into(), _room: room })
    }

    async fn collect(&self, body: &mut Incoming, share: &AddressShare) -> Result<ReadBody, Unread> {
        let declared = body.size_hint().lower();
        if declared > self.limits.body_bytes as u64 {
            return self.refuse(body).await;
        }
        let mut room = None;
        let mut whole = BytesMut::new();
        let mut only = None;
        let mut progress = Progress::new(self.limits.body_window, self.limits.body_part as u64);
        while let Some(frame) = progress.within(body.frame()).await.map_err(|_| too_slow())? {
            let frame = frame.map_err(|_| Unread::NotDispatched(NotDispatched::Broken))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = whole.len() + only.as_ref().map_or(0, Bytes::len) + data.len();
            if length > self.limits.body_bytes {
                return self.refuse(body).await;
            }
            progress.came(data.len());
            self.reserve(&mut room, data.len(), share)?;
            // Most bodies arrive in one piece and are not copied.
            match only.take() {
                None if whole.is_empty() => only = Some(data),
                first => {
                    if let Some(first) = first {
                        whole.reserve(usize::try_from(declared).unwrap_or_default().max(length));
                        whole.extend_from_slice(&first);
                    }
                    whole.extend_from_slice(&data);
                }
            }
        }
        Ok(ReadBody { bytes: only.unwrap_or_else(|| whole.freeze()), _room: room })
    }

    /// Reserves memory for more bytes of a body.
    fn reserve(&self, room: &mut Option<Shared>, bytes: usize, share: &AddressShare) -> Result<(), Unread> {
        let reserved = match room {
            Some(room) => room.more(bytes as u64),
            None => {
                *room = Shared::take(&self.shares.body_memory, &share.body_memory, bytes as u64);
                room.is_some()
            }
        };
        if reserved { Ok(()) } else { Err(Unread::NoRoom) }
    }

    /// Refuses a body. A client that is still sending would see a broken connection instead of the refusal, so a body
    /// that is not much too large is read to its end and discarded.
    async fn refuse(&self, body: &mut Incoming) -> Result<ReadBody, Unread> {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > self.limits.body_bytes {
                break;
            }
        }
        Err(Unread::NotDispatched(NotDispatched::TooLarge(self.limits.body_bytes)))
    }
}

fn too_slow() -> Unread {
    Unread::NotDispatched(NotDispatched::TooSlow)
}
