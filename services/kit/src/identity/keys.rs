//! Keys and secrets of channels: generating, hashing, comparing, encrypting.

use anyhow::{Context, anyhow, ensure};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
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

/// The key that encrypts stored secrets. A signature can be checked only with the secret itself, so a
/// hash is not enough.
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

    fn cipher(&self) -> anyhow::Result<XChaCha20Poly1305> {
        let bytes = hex::decode(self.0.expose())?;
        XChaCha20Poly1305::new_from_slice(&bytes).map_err(|e| anyhow!("sealing key: {e}"))
    }

    /// Encrypts a secret and binds it to its channel: in another channel's row it cannot be decrypted.
    ///
    /// # Errors
    /// Returns an error if encryption fails, which does not happen with a parsed key.
    pub fn seal(&self, channel_id: &str, secret: &Secret) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: channel_id.as_bytes() };
        let mut sealed = nonce.to_vec();
        let cipher_text = self.cipher()?.encrypt(&XNonce::from(nonce), payload).map_err(|e| anyhow!("sealing: {e}"))?;
        sealed.extend(cipher_text);
        Ok(sealed)
    }

    /// Decrypts a secret.
    ///
    /// # Errors
    /// Returns an error if the secret was encrypted with another key or for another channel.
    pub fn open(&self, channel_id: &str, sealed: &[u8]) -> anyhow::Result<Secret> {
        let (nonce, cipher_text) = sealed.split_at_checked(NONCE_BYTES).context("a sealed secret is too short")?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into()?;
        let payload = Payload { msg: cipher_text, aad: channel_id.as_bytes() };
        let opened = self
            .cipher()?
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| anyhow!("a sealed secret does not open under this key"))?;
        Ok(Secret::new(String::from_utf8(opened).context("a sealed secret is no text")?))
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
}
