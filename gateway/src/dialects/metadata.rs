//! The metadata that goes to the service with the message.

use http::HeaderMap;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataValue, MetadataMap};

use super::NotDispatched;
use crate::json::Faults;

/// Most bytes of credentials that are forwarded. Real ones are below 2 KB. Together with the faults of the request
/// they must stay below the 16 KB of headers that an HTTP/2 server accepts.
const MOST_BYTES: usize = 5 * 1024;

/// The characters that are percent-encoded in a value that is not visible ASCII.
const HIDDEN: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Metadata under construction.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    metadata: MetadataMap,
    bytes: usize,
}

impl Forwarded {
    /// Forwards a text. A text that is not visible ASCII could not be a header or would lose its spaces; it is
    /// percent-encoded and then equals no real value.
    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
        let value = if visible { value.to_owned() } else { utf8_percent_encode(value, HIDDEN).to_string() };
        self.ascii(key, value);
    }

    /// Forwards a header; unchanged if it is ASCII.
    ///
    /// # Errors
    /// Returns `CredentialContradicts` if the header is there with two different values.
    pub(crate) fn header(&mut self, key: &'static str, headers: &HeaderMap) -> Result<(), NotDispatched> {
        let mut values = headers.get_all(key).iter();
        let Some(value) = values.next() else { return Ok(()) };
        if values.any(|other| other != value) {
            return Err(NotDispatched::CredentialContradicts(key));
        }
        match value.to_str() {
            Ok(value) => self.ascii(key, value.to_owned()),
            Err(_) => self.text(key, &String::from_utf8_lossy(value.as_bytes())),
        }
        Ok(())
    }

    /// Forwards the token of an operator as the header that usually has it.
    pub(crate) fn token(&mut self, token: &str) {
        self.ascii("authorization", format!("Bearer {}", utf8_percent_encode(token, HIDDEN)));
    }

    /// Forwards bytes. A key may have several values.
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

    /// Adds the faults of the request.
    ///
    /// # Errors
    /// Returns `CredentialsTooLarge` if the credentials are too large to be real.
    pub(crate) fn finish(mut self, faults: Faults) -> Result<MetadataMap, NotDispatched> {
        if self.bytes > MOST_BYTES {
            return Err(NotDispatched::CredentialsTooLarge);
        }
        if let Some(faults) = faults.encode() {
            self.metadata.insert_bin("x-transcoding-faults-bin", BinaryMetadataValue::from_bytes(&faults));
        }
        Ok(self.metadata)
    }
}
