//! Failed calls that were certainly not carried out, so that a client may send them again to another
//! replica.
//!
//! Any other failed call may have been carried out. Its caller gets the error and decides by its
//! request id whether to send it again.

use std::error::Error;

use h2::Reason;
use tonic::{ConnectError, Status};

/// The reason why a call did not reach a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// No connection could be made.
    Unreachable,
    /// The connection ended before the call was sent, or the replica refused it unseen because it is
    /// stopping or the connection is too old.
    TurnedAway,
}

/// Examines a status that a client's own transport made. Returns `None` if the service has answered or
/// may have carried the call out.
#[must_use]
pub fn undelivered(status: &Status) -> Option<Undelivered> {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return Some(Undelivered::Unreachable);
        }
        // hyper: "A pending item was dropped before ever being processed."
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

/// Returns whether the stream is above the last one that GOAWAY promises to serve, or was reset as
/// refused: by RFC 9113 (6.8 and 8.7) neither was processed.
fn turned_away(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_go_away() && reason == Some(Reason::NO_ERROR)
            || error.is_reset() && reason == Some(Reason::REFUSED_STREAM))
}
