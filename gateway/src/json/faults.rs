//! The faults of a request that the service will report.

use communal_proto::contract::v1::{FaultKind, TranscodingFault, TranscodingFaults};
use prost::Message as _;

/// More are not carried; nobody reads them.
const MOST_FAULTS: usize = 200;
/// Nor more bytes: they travel in a header, a third longer for being text there, and HTTP/2
/// servers take 16 KB of headers unless told otherwise.
const MOST_BYTES: usize = 7 * 1024;

/// Gathers faults up to a limit.
#[derive(Debug, Default)]
pub struct Faults {
    carried: TranscodingFaults,
    bytes: usize,
    count: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, field: String, kind: FaultKind) {
        self.count += 1;
        // Two tags and lengths around each text, and the kind.
        let bytes = field.len() + 8;
        if self.carried.faults.len() < MOST_FAULTS && self.bytes + bytes <= MOST_BYTES {
            self.bytes += bytes;
            self.carried.faults.push(TranscodingFault { field, kind: kind.into() });
        }
    }

    /// How many there were, carried or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Those that are carried.
    #[must_use]
    pub fn carried(&self) -> &[TranscodingFault] {
        &self.carried.faults
    }

    /// The message for `x-transcoding-faults-bin`; `None` when there is nothing to report.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        (self.count > 0).then(|| self.carried.encode_to_vec())
    }
}
