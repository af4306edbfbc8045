//! Reads request bodies within limits of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::dialects::NoCall;

/// Memory is accounted for in pieces of this size.
const PIECE: usize = 1024;

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is no body that could be taken.
    NoCall(NoCall),
    /// Other bodies fill the memory that there is for them.
    NoRoom,
}

/// The limits, and the memory that all bodies share.
#[derive(Debug)]
pub(crate) struct Bodies {
    most_bytes: usize,
    time: Duration,
    room: Arc<Semaphore>,
}

/// A body that was read. Its share of the memory is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl ReadBody {
    /// The body of a request that needs none.
    pub(crate) fn none() -> Self {
        Self { bytes: Bytes::new(), _room: None }
    }
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        let pieces = (limits.body_memory_bytes / PIECE).clamp(1, Semaphore::MAX_PERMITS);
        Self { most_bytes: limits.body_bytes, time: limits.body_time, room: Arc::new(Semaphore::new(pieces)) }
    }

    pub(crate) async fn read(&self, body: &mut Incoming) -> Result<ReadBody, Unread> {
        match tokio::time::timeout(self.time, self.collect(body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Unread::NoCall(NoCall::TooSlow)),
        }
    }

    async fn collect(&self, body: &mut Incoming) -> Result<ReadBody, Unread> {
        let declared = body.size_hint().lower();
        if declared > self.most_bytes as u64 {
            return self.refuse(body).await;
        }
        let mut room = None;
        let mut whole = BytesMut::new();
        let mut only = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Unread::NoCall(NoCall::Broken))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = whole.len() + only.as_ref().map_or(0, Bytes::len) + data.len();
            if length > self.most_bytes {
                return self.refuse(body).await;
            }
            self.reserve(&mut room, length)?;
            // A body in one piece, which most are, is not copied.
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

    /// Takes more memory until there is enough for a body of `length` bytes.
    fn reserve(&self, room: &mut Option<OwnedSemaphorePermit>, length: usize) -> Result<(), Unread> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = length.div_ceil(PIECE).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| Unread::NoRoom)?;
        let more = Arc::clone(&self.room).try_acquire_many_owned(missing).map_err(|_| Unread::NoRoom)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }

    /// A client that is still sending would see a broken connection instead of the refusal,
    /// so a body that is not much too large is read to its end and thrown away.
    async fn refuse(&self, body: &mut Incoming) -> Result<ReadBody, Unread> {
        let mut thrown_away = 0;
        while let Some(Ok(frame)) = body.frame().await {
            thrown_away += frame.data_ref().map_or(0, Bytes::len);
            if thrown_away > self.most_bytes {
                break;
            }
        }
        Err(Unread::NoCall(NoCall::TooLarge(self.most_bytes)))
    }
}
