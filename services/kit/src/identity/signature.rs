//! Signatures of HC requests: lower-case hex of
//! MD5(transaction-id + req-time + app-id + payload + secret).
//!
//! The secret comes last, and MD5 processes its input in order. So the gateway hashes everything it
//! knows and sends the state, and the service, which alone has the secret, completes the hash. The
//! secret never leaves the service, and the payload is not sent twice. MD5 is broken for collisions; it
//! is used because the documents prescribe it and every existing client signs so.

use digest::Digest;
use digest::common::hazmat::{SerializableState, SerializedState};
use md5::Md5;

use crate::identity::keys;
use crate::secret::Secret;

/// Returns the state after hashing the input before the secret, encoded for metadata.
///
/// ```
/// use communal_kit::{identity::signature, secret::Secret};
/// let state = signature::state("100000000020231201143456123456", "20231201143456", "micro-community",
///     br#"{"configId":"123456","communityId":"10001"}"#);
/// let secret = Secret::new("SECRET123");
/// assert!(signature::matches("927865e40dd5e23f37423c0927bd6ece", &[state], &secret));
/// ```
#[must_use]
pub fn state(request_id: &str, request_time: &str, channel_id: &str, payload: &[u8]) -> Vec<u8> {
    let mut hash = Md5::new();
    for part in [request_id.as_bytes(), request_time.as_bytes(), channel_id.as_bytes(), payload] {
        hash.update(part);
    }
    hash.serialize().to_vec()
}

/// Returns whether `signature` is the signature of one of the states, completed with the secret.
#[must_use]
pub fn matches(signature: &str, states: &[Vec<u8>], secret: &Secret) -> bool {
    states
        .iter()
        .filter_map(|state| finish(state, secret))
        .any(|finished| keys::equal(finished.as_bytes(), signature.as_bytes()))
}

/// Returns the signature of a state that is completed with the secret, or `None` if the bytes are no
/// state.
#[must_use]
pub fn finish(state: &[u8], secret: &Secret) -> Option<String> {
    let mut hash = Md5::deserialize(&SerializedState::<Md5>::try_from(state).ok()?).ok()?;
    hash.update(secret.expose().as_bytes());
    Some(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_vectors_and_no_others_match() {
        let secret = Secret::new("SECRET123");
        let of = |payload: &str| {
            state("100000000020231201143456123456", "20231201143456", "micro-community", payload.as_bytes())
        };
        let query = of("page=1&row=10&communityId=10001");
        let asked = of("?page=1&row=10&communityId=10001");
        assert!(matches("954eae7270d6349fee0c30d807746f75", std::slice::from_ref(&query), &secret));
        assert!(matches("a6ba3918eb843422f31666f4f1bbc4b7", &[query.clone(), asked], &secret));
        assert!(!matches("a6ba3918eb843422f31666f4f1bbc4b7", &[query], &secret));
        assert!(!matches("", &[of("x"), vec![1, 2, 3]], &secret));
    }
}
