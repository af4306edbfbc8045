//! The faults that transcoding finds in a request and that the service reports.

use communal_proto::contract::v1::{FaultKind, TranscodingFault, TranscodingFaults};
use prost::Message as _;

/// Most faults that are sent to the service; no client reads more.
const MOST_FAULTS: usize = 200;
/// Most bytes that are sent. They travel in a header, where base64 makes them a third longer, and HTTP/2 servers accept
/// 16 KB of headers by default.
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
        // Two tags and lengths for each text, and the kind.
        let bytes = field.len() + 8;
        if self.carried.faults.len() < MOST_FAULTS && self.bytes + bytes <= MOST_BYTES {
            self.bytes += bytes;
            self.carried.faults.push(TranscodingFault { field, kind: kind.into() });
        }
    }

    /// The number of faults, sent or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The faults that are sent.
    #[must_use]
    pub fn carried(&self) -> &[TranscodingFault] {
        &self.carried.faults
    }

    /// Encodes the message for `x-transcoding-faults-bin`, with the number of those left out; returns `None` if there is
    /// nothing to report.
    #[must_use]
    pub fn encode(mut self) -> Option<Vec<u8>> {
        let left_out = self.count - self.carried.faults.len();
        self.carried.left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        (self.count > 0).then(|| self.carried.encode_to_vec())
    }
}
