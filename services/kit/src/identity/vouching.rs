//! The gateway's proofs that signature states, and the trace of a call, come from it.
//!
//! A signature of HC covers the raw HTTP request, which the service never sees; it completes the MD5
//! states that the gateway sends instead. A state says nothing about the call it comes with, so without
//! a proof one captured signature would fit every call. The gateway therefore binds the states to the
//! whole call by a MAC with a key that only gateways and services have. It covers the method, the
//! credentials, the request id and time, and the encoded message.
//!
//! The trace id of a call stands in the rows that it writes and tells an auditor which request wrote them. A caller
//! could choose it, so a service takes one from a gateway alone, which proves it by a MAC with the same key.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use bytes::Bytes;
use communal_proto::contract::v1::Reason as Common;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue, MetadataMap};

use crate::config::Reader;
use crate::identity::keys;
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::telemetry::trace::{TRACEPARENT, TraceContext};

/// The metadata of the states, which only a gateway may send.
pub const SIGNATURE_STATES: &str = "x-signature-states-bin";
/// The metadata of the proof: the hash of the encoded message, followed by the MAC.
pub const PROOF: &str = "x-gateway-proof-bin";

/// The metadata of the proof that the trace context comes from a gateway: a MAC of `traceparent`, as hexadecimal digits.
pub const TRACE_PROOF: &str = "x-gateway-trace-proof";

/// The purposes of proofs, so that a MAC with the same key for another purpose is no proof.
const STATES: &[u8] = b"communal signature states 1";
const TRACE: &[u8] = b"communal trace 1";
/// The metadata that a proof covers besides the method and the message. A value that is added, removed
/// or changed on the way invalidates the proof.
const BOUND: [&str; 9] = [
    "x-channel-id",
    "x-channel-key",
    "x-tenant-id",
    "idempotency-key",
    "x-request-time",
    "x-signature",
    SIGNATURE_STATES,
    "authorization",
    "x-transcoding-faults-bin",
];
const KEY_BYTES: usize = 32;
const HASH_BYTES: usize = 32;

/// The keys by which a service recognizes its gateways: one, or two during a rotation. A gateway signs
/// with the first. Each is kept as the MAC that begins with it.
#[derive(Clone, Debug)]
pub struct GatewayKeys(Vec<Hmac<Sha256>>);

impl GatewayKeys {
    /// Generates a key for a gateway and services that start together.
    #[must_use]
    pub fn generate() -> Self {
        Self(keyed(&keys::generate()).into_iter().collect())
    }

    /// Reads `COMMUNAL_GATEWAY_KEY`, if it is set.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let text = reader.secret("gateway_key");
        if text.is_empty() {
            return None;
        }
        Self::parse(&text).map_err(|error| reader.fault("gateway_key", error)).ok()
    }

    /// Parses keys of 64 hexadecimal digits, separated by commas.
    ///
    /// # Errors
    /// Returns an error if one is anything else.
    pub fn parse(text: &Secret) -> anyhow::Result<Self> {
        let keys = text.expose().split(',').map(|key| keyed(&Secret::new(key.trim())));
        let keys: Option<_> = keys.collect();
        keys.map(Self).context("must be 64 hexadecimal digits, or two such keys")
    }

    /// Adds a trace context to the metadata, with the proof that it comes from this gateway.
    pub fn prove_trace(&self, metadata: &mut MetadataMap, context: &TraceContext) {
        context.send(metadata);
        if let (Some(key), Some(sent)) = (self.0.first(), metadata.get(TRACEPARENT)) {
            let tag = mac_of_trace(key, sent.as_bytes()).finalize().into_bytes();
            if let Ok(mut proof) = AsciiMetadataValue::try_from(hex::encode(tag)) {
                proof.set_sensitive(true);
                metadata.insert(TRACE_PROOF, proof);
            }
        }
    }

    /// Returns whether the trace context of a call comes from a gateway.
    #[must_use]
    pub fn proves_trace(&self, headers: &HeaderMap) -> bool {
        let (Some(context), Some(proof)) = (headers.get(TRACEPARENT), headers.get(TRACE_PROOF)) else { return false };
        let Ok(tag) = hex::decode(proof) else { return false };
        self.0.iter().any(|key| mac_of_trace(key, context.as_bytes()).verify_slice(&tag).is_ok())
    }

    /// Adds the proof that the states in the metadata were made by this gateway for this message.
    pub fn prove(&self, method: &str, metadata: &mut MetadataMap, message: &[u8]) {
        let mut hash = Hash::default();
        hash.frame(message);
        let hash = hash.finish();
        let Some(key) = self.0.first() else { return };
        let proof = [&hash[..], &mac(key, method, metadata.as_ref(), &hash).finalize().into_bytes()].concat();
        metadata.insert_bin(PROOF, BinaryMetadataValue::from_bytes(&proof));
    }

    /// Returns the hash that the message must have, or `None` if the call has no valid proof of a
    /// gateway.
    pub(crate) fn check(&self, method: &str, headers: &HeaderMap) -> Option<[u8; HASH_BYTES]> {
        let metadata = MetadataMap::from_headers(headers.clone());
        let mut proofs = metadata.get_all_bin(PROOF).iter();
        let (proof, None) = (proofs.next()?.to_bytes().ok()?, proofs.next()) else { return None };
        let (hash, tag) = proof.split_first_chunk::<HASH_BYTES>()?;
        let genuine = |key| mac(key, method, headers, hash).verify_slice(tag).is_ok();
        self.0.iter().any(genuine).then_some(*hash)
    }
}

/// Begins a MAC with a key of 64 hexadecimal digits; `None` if it is anything else.
fn keyed(key: &Secret) -> Option<Hmac<Sha256>> {
    let bytes = hex::decode(key.expose()).ok().filter(|bytes| bytes.len() == KEY_BYTES)?;
    Hmac::new_from_slice(&bytes).ok()
}

/// Computes the MAC of a trace context.
fn mac_of_trace(key: &Hmac<Sha256>, context: &[u8]) -> Hmac<Sha256> {
    key.clone().chain_update(TRACE).chain_update(context)
}

/// Computes the MAC of a call. Each part is preceded by its length, so that no byte can move from one
/// part to the next.
fn mac(key: &Hmac<Sha256>, method: &str, headers: &HeaderMap, hash: &[u8; HASH_BYTES]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    let mut part = |bytes: &[u8]| {
        mac.update(&(bytes.len() as u64).to_be_bytes());
        mac.update(bytes);
    };
    part(STATES);
    part(method.as_bytes());
    part(hash);
    for name in BOUND {
        part(name.as_bytes());
        let values = headers.get_all(name);
        part(&(values.iter().count() as u64).to_be_bytes());
        values.iter().for_each(|value| part(value.as_bytes()));
    }
    mac
}

/// The hash of a gRPC body: of its frames, each of which is a byte (0 for uncompressed), the length and
/// the message.
#[derive(Clone, Debug, Default)]
struct Hash(Sha256);

impl Hash {
    fn frame(&mut self, message: &[u8]) {
        self.0.update([0]);
        self.0.update(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.update(message);
    }

    fn finish(self) -> [u8; HASH_BYTES] {
        self.0.finalize().into()
    }
}

/// A body that ends with a refusal unless it has the proved hash. The handler of a unary call runs
/// after its request's body has ended, so it never sees another message.
struct Proved {
    body: Body,
    expected: [u8; HASH_BYTES],
    /// Taken at the end.
    hash: Option<Hash>,
    refused: &'static str,
}

/// Passes `body` through and, at its end, refuses it with the message `refused` if it does not have the
/// proved hash.
pub(crate) fn proved(body: Body, expected: [u8; HASH_BYTES], refused: &'static str) -> Body {
    Body::new(Proved { body, expected, hash: Some(Hash::default()), refused })
}

impl Proved {
    /// Compares the hashes once, at the end of the data.
    fn end(&mut self) -> Result<(), Status> {
        let Some(hash) = self.hash.take() else { return Ok(()) };
        if keys::equal(&hash.finish(), &self.expected) {
            return Ok(());
        }
        let refusal = Refusal::new(Common::CredentialsRefused, self.refused).cause("a gateway's proof of another body");
        metrics::counter!("communal_refused_credentials_total", "reason" => refusal.reason()).increment(1);
        Err(refusal.into())
    }
}

impl HttpBody for Proved {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(self.end().err().map(Err)),
        };
        match (frame.data_ref(), &mut self.hash) {
            (Some(data), Some(hash)) => hash.0.update(data),
            // Trailers come after all data.
            _ => self.end()?,
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.hash.is_none() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    const METHOD: &str = "/communal.community.v1.FeeItemService/DeleteFeeConfig";

    fn call(keys: &GatewayKeys) -> HeaderMap {
        let mut metadata = MetadataMap::new();
        for (name, value) in [("idempotency-key", "1"), ("x-request-time", "20240320103000"), ("x-signature", "s")] {
            metadata.insert(name, value.parse().unwrap());
        }
        metadata.append_bin(SIGNATURE_STATES, BinaryMetadataValue::from_bytes(b"state"));
        keys.prove(METHOD, &mut metadata, b"message");
        metadata.into_headers()
    }

    #[test]
    fn a_proof_holds_for_its_own_call_only() {
        let keys = GatewayKeys::generate();
        let headers = call(&keys);
        assert!(keys.check(METHOD, &headers).is_some());
        assert!(keys.check("/communal.community.v1.FeeItemService/UpdateFeeConfig", &headers).is_none());
        for name in BOUND {
            let mut added = headers.clone();
            added.append(name, "YQ".parse().unwrap());
            assert!(keys.check(METHOD, &added).is_none(), "{name} added");
            let mut removed = headers.clone();
            if removed.remove(name).is_some() {
                assert!(keys.check(METHOD, &removed).is_none(), "{name} removed");
            }
        }
        let mut twice = headers.clone();
        twice.append(PROOF, headers[PROOF].clone());
        assert!(keys.check(METHOD, &twice).is_none());
        assert!(GatewayKeys::generate().check(METHOD, &headers).is_none());
    }

    #[test]
    fn while_a_key_is_replaced_both_are_taken_and_the_first_proves() {
        let (old, new) = (keys::generate(), keys::generate());
        let of = |text: &str| GatewayKeys::parse(&Secret::new(text)).unwrap();
        let both = of(&format!("{}, {}", new.expose(), old.expose()));
        assert!(both.check(METHOD, &call(&of(old.expose()))).is_some());
        assert!(of(new.expose()).check(METHOD, &call(&both)).is_some());
        assert!(of(old.expose()).check(METHOD, &call(&both)).is_none());
        for wrong in ["", "00", "zz", &format!("{},", new.expose())] {
            assert!(GatewayKeys::parse(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trace_is_proved_by_a_gateway_and_by_nobody_else() {
        let (keys, context) = (GatewayKeys::generate(), TraceContext::root());
        let mut metadata = MetadataMap::new();
        keys.prove_trace(&mut metadata, &context);
        let headers = metadata.into_headers();
        assert!(keys.proves_trace(&headers));
        assert!(!GatewayKeys::generate().proves_trace(&headers), "another key");
        let mut moved = headers.clone();
        moved.insert(TRACEPARENT, TraceContext::root().to_string().parse().unwrap());
        assert!(!keys.proves_trace(&moved), "another trace");
        let mut bare = headers.clone();
        bare.remove(TRACE_PROOF);
        assert!(!keys.proves_trace(&bare), "no proof");
        let mut other = headers;
        other.insert(TRACE_PROOF, "!".parse().unwrap());
        assert!(!keys.proves_trace(&other), "no digits");
    }

    #[tokio::test]
    async fn a_body_that_was_not_proved_ends_with_a_refusal() {
        let keys = GatewayKeys::generate();
        let expected = keys.check(METHOD, &call(&keys)).unwrap();
        let sent = |bytes: &'static [u8]| {
            let body = Full::new(Bytes::from_static(bytes)).map_err(|never| match never {});
            proved(Body::new(body), expected, "refused").collect()
        };
        assert!(sent(b"\0\0\0\0\x07message").await.is_ok());
        for other in [&b"\0\0\0\0\x07massage"[..], b"", b"\0\0\0\0\x07message\0\0\0\0\0"] {
            assert_eq!(sent(other).await.err().unwrap().code(), tonic::Code::Unauthenticated);
        }
    }
}
