//! Keys and secrets of channels: generating, hashing, comparing, encrypting.

use anyhow::{Context, anyhow, ensure};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// Bytes of a generated key. In hexadecimal it has twice as many digits, which is the length of a
/// DYNAMIC_KEY.
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Generates a key of 64 hexadecimal digits.
#[must_use]
pub fn generate() -> Secret {
    Secret::new(hex::encode(rand::random::<[u8; KEY_BYTES]>()))
}

/// Returns the hash that is stored for a key. Keys are long and random, so a slow hash would only make
/// each call slower.
#[must_use]
pub fn fingerprint(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Compares in constant time.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The purpose of the key that is derived for lookups, so that a MAC under the same key for another purpose differs.
const LOOKUP: &[u8] = b"communal lookup of a sealed value";

/// The key that encrypts stored secrets which have to be read again. A signature can be checked only with the
/// secret itself, so a hash is not enough.
#[derive(Clone, Debug)]
pub struct SealingKey(Secret);

impl SealingKey {
    /// Parses 64 hexadecimal digits.
    ///
    /// # Errors
    /// Returns an error if the text is anything else.
    pub fn parse(text: &Secret) -> anyhow::Result<Self> {
        let bytes = hex::decode(text.expose()).context("must be 64 hexadecimal digits")?;
        ensure!(bytes.len() == KEY_BYTES, "must be 64 hexadecimal digits");
        Ok(Self(text.clone()))
    }

    /// Makes a key.
    #[must_use]
    pub fn generate() -> Self {
        Self(generate())
    }

    fn cipher(&self) -> anyhow::Result<XChaCha20Poly1305> {
        let bytes = hex::decode(self.0.expose())?;
        XChaCha20Poly1305::new_from_slice(&bytes).map_err(|e| anyhow!("sealing key: {e}"))
    }

    /// Encrypts a secret and binds it to its owner, like a channel: in another owner's row it cannot be
    /// decrypted.
    ///
    /// # Errors
    /// Returns an error if encryption fails, which does not happen with a parsed key.
    pub fn seal(&self, owner: &str, secret: &Secret) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: owner.as_bytes() };
        let mut sealed = nonce.to_vec();
        let cipher_text = self.cipher()?.encrypt(&XNonce::from(nonce), payload).map_err(|e| anyhow!("sealing: {e}"))?;
        sealed.extend(cipher_text);
        Ok(sealed)
    }

    /// Decrypts a secret.
    ///
    /// # Errors
    /// Returns an error if the secret was encrypted with another key or for another owner.
    pub fn open(&self, owner: &str, sealed: &[u8]) -> anyhow::Result<Secret> {
        let (nonce, cipher_text) = sealed.split_at_checked(NONCE_BYTES).context("a sealed secret is too short")?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into()?;
        let payload = Payload { msg: cipher_text, aad: owner.as_bytes() };
        let opened = self
            .cipher()?
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| anyhow!("a sealed secret does not open under this key"))?;
        Ok(Secret::new(String::from_utf8(opened).context("a sealed secret is no text")?))
    }

    /// Hashes a value by which a row with a sealed value is found. Who has no key cannot try values. The
    /// parts are told apart by their lengths.
    ///
    /// # Errors
    /// Returns an error if the key cannot be used, which does not happen with a parsed key.
    pub fn lookup(&self, parts: &[&str]) -> anyhow::Result<[u8; 32]> {
        let mut derived = Hmac::<Sha256>::new_from_slice(&hex::decode(self.0.expose())?)?;
        derived.update(LOOKUP);
        let mut mac = Hmac::<Sha256>::new_from_slice(&derived.finalize().into_bytes())?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Ok(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_opens_only_under_its_key_and_for_its_channel() {
        let key = SealingKey::parse(&generate()).unwrap();
        let sealed = key.seal("demo-app", &Secret::new("SECRET123")).unwrap();
        assert_eq!(key.open("demo-app", &sealed).unwrap().expose(), "SECRET123");
        assert!(key.open("other-app", &sealed).is_err());
        assert!(SealingKey::parse(&generate()).unwrap().open("demo-app", &sealed).is_err());
        assert!(!sealed.windows(9).any(|w| w == b"SECRET123"));
    }

    #[test]
    fn a_lookup_is_the_same_under_its_key_and_for_its_parts_alone() {
        let (key, other) = (SealingKey::parse(&generate()).unwrap(), SealingKey::parse(&generate()).unwrap());
        let lookup = key.lookup(&["S1", "110101"]).unwrap();
        assert_eq!(lookup, key.lookup(&["S1", "110101"]).unwrap());
        assert_ne!(lookup, key.lookup(&["S11", "10101"]).unwrap());
        assert_ne!(lookup, other.lookup(&["S1", "110101"]).unwrap());
    }
}
