//! Reads request bodies within limits of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::dialects::NotDispatched;

/// Memory is reserved in pieces of this size.
const PIECE: usize = 1024;

/// The reason why a body was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The body is broken, too large or too slow.
    NotDispatched(NotDispatched),
    /// Other bodies use all memory that is reserved for bodies.
    NoRoom,
}

/// The limits of bodies, and the memory that all of them share.
#[derive(Debug)]
pub(crate) struct Bodies {
    most_bytes: usize,
    time: Duration,
    room: Arc<Semaphore>,
}

/// A body that was read. Its reserved memory is released when it is dropped.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl ReadBody {
    /// The body of a request without one.
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
            Err(_) => Err(Unread::NotDispatched(NotDispatched::TooSlow)),
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
            let frame = frame.map_err(|_| Unread::NotDispatched(NotDispatched::Broken))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = whole.len() + only.as_ref().map_or(0, Bytes::len) + data.len();
            if length > self.most_bytes {
                return self.refuse(body).await;
            }
            self.reserve(&mut room, length)?;
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

    /// Reserves memory until there is enough for a body of `length` bytes.
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

    /// Refuses a body. A client that is still sending would see a broken connection instead of the refusal, so a body
    /// that is not much too large is read to its end and discarded.
    async fn refuse(&self, body: &mut Incoming) -> Result<ReadBody, Unread> {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > self.most_bytes {
                break;
            }
        }
        Err(Unread::NotDispatched(NotDispatched::TooLarge(self.most_bytes)))
    }
}
