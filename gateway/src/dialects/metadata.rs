//! What goes to the service beside the message.

use http::HeaderMap;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataValue, MetadataMap};

use super::NoCall;
use crate::json::Faults;

/// Most bytes of credentials that are forwarded. Real ones are below 2 KB; with the faults of
/// a request they have to stay below the 16 KB of headers that an HTTP/2 server takes.
const MOST_BYTES: usize = 5 * 1024;

/// What is encoded in a value that is not visible ASCII throughout.
const HIDDEN: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Metadata under construction.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    metadata: MetadataMap,
    bytes: usize,
}

impl Forwarded {
    /// Forwards a text. One that is not visible ASCII could not be a header, or would lose
    /// its spaces on the way; it goes percent-encoded and then equals no real value.
    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
        let value = if visible { value.to_owned() } else { utf8_percent_encode(value, HIDDEN).to_string() };
        self.ascii(key, value);
    }

    /// Forwards a header as it is, where it is ASCII.
    pub(crate) fn header(&mut self, key: &'static str, headers: &HeaderMap) {
        let Some(value) = headers.get(key) else { return };
        match value.to_str() {
            Ok(value) => self.ascii(key, value.to_owned()),
            Err(_) => self.text(key, &String::from_utf8_lossy(value.as_bytes())),
        }
    }

    /// Forwards bytes; a key may have several.
    pub(crate) fn bytes(&mut self, key: &'static str, value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.metadata.append_bin(key, BinaryMetadataValue::from_bytes(value));
    }

    fn ascii(&mut self, key: &'static str, value: String) {
        self.bytes += key.len() + value.len();
        if let Ok(value) = AsciiMetadataValue::try_from(value) {
            self.metadata.insert(AsciiMetadataKey::from_static(key), value);
        }
    }

    /// Adds the faults of the request, unless there is too much already.
    pub(crate) fn finish(mut self, faults: &Faults) -> Result<MetadataMap, NoCall> {
        if self.bytes > MOST_BYTES {
            return Err(NoCall::CredentialsTooLarge);
        }
        if let Some(faults) = faults.encode() {
            self.metadata.insert_bin("x-transcoding-faults-bin", BinaryMetadataValue::from_bytes(&faults));
        }
        Ok(self.metadata)
    }
}
