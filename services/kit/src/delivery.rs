//! Which failed calls certainly were not carried out, so that a client may make them again on
//! another replica.
//!
//! Everything else may have happened: whoever made the call is told, and knows by its request
//! id whether it may be made again.

use std::error::Error;

use h2::Reason;
use tonic::{ConnectError, Status};

/// Why a call did not get as far as a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// No connection could be made.
    Unreachable,
    /// The connection ended before the call was sent, or the replica said that it would not
    /// look at it: it is stopping, or the connection is old.
    TurnedAway,
}

/// Looks behind a status that a client's own transport made. `None` where the service may
/// have done something, or has answered.
#[must_use]
pub fn undelivered(status: &Status) -> Option<Undelivered> {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return Some(Undelivered::Unreachable);
        }
        // «A pending item was dropped before ever being processed.»
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return Some(Undelivered::TurnedAway);
        }
        if error.downcast_ref::<h2::Error>().is_some_and(turned_away) {
            return Some(Undelivered::TurnedAway);
        }
        next = Error::source(error);
    }
    None
}

/// A stream above the last one that GOAWAY promises to serve, or one reset as refused: by
/// RFC 9113 (6.8 and 8.7) neither was processed.
fn turned_away(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_go_away() && reason == Some(Reason::NO_ERROR)
            || error.is_reset() && reason == Some(Reason::REFUSED_STREAM))
}
