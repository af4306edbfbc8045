//! Personal data that is not stored as it is: numbers that identify a person, and passwords.
//!
//! A number is encrypted, bound to its company and customer, so that it can be read again and does not open in another's
//! row. A number that is searched for has a keyed hash beside it. A password is hashed slowly (Argon2id).

use anyhow::anyhow;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use communal_kit::identity::SealingKey;
use communal_kit::secret::Secret;

/// The key under which a company's personal data is stored.
#[derive(Clone, Debug)]
pub struct PersonalKeys(SealingKey);

impl PersonalKeys {
    /// Keys that are derived from the service's sealing key.
    #[must_use]
    pub fn new(key: SealingKey) -> Self {
        Self(key)
    }

    /// Encrypts a number of a customer; `None` if it is empty.
    ///
    /// # Errors
    /// Returns an error if the key cannot be used, which does not happen with a parsed key.
    pub fn seal(&self, company_id: &str, customer_id: &str, number: &str) -> anyhow::Result<Option<Vec<u8>>> {
        if number.is_empty() {
            return Ok(None);
        }
        self.0.seal(&owner(company_id, customer_id), &Secret::new(number)).map(Some)
    }

    /// Decrypts a number of a customer.
    ///
    /// # Errors
    /// Returns an error if it was encrypted under another key or for another customer.
    pub fn open(&self, company_id: &str, customer_id: &str, sealed: &[u8]) -> anyhow::Result<Secret> {
        self.0.open(&owner(company_id, customer_id), sealed)
    }

    /// The hash by which a certificate is found, in whatever case and spacing it is written.
    ///
    /// # Errors
    /// Returns an error if the key cannot be used, which does not happen with a parsed key.
    pub fn certificate(&self, company_id: &str, number: &str) -> anyhow::Result<Vec<u8>> {
        let number: String = number.split_whitespace().collect();
        Ok(self.0.lookup(&["certificate", company_id, &number.to_uppercase()])?.to_vec())
    }

    /// The hash by which the code of a phone is found.
    ///
    /// # Errors
    /// Returns an error if the key cannot be used, which does not happen with a parsed key.
    pub fn phone(&self, company_id: &str, phone: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.lookup(&["phone", company_id, phone])?.to_vec())
    }

    /// The hash of a code that proves a phone.
    ///
    /// # Errors
    /// Returns an error if the key cannot be used, which does not happen with a parsed key.
    pub fn code(&self, company_id: &str, phone: &str, code: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.lookup(&["code", company_id, phone, code])?.to_vec())
    }
}

fn owner(company_id: &str, customer_id: &str) -> String {
    format!("customer {company_id} {customer_id}")
}

/// Hashes a password with Argon2id and a salt of its own; takes some 20 ms and 19 MiB.
///
/// # Errors
/// Returns an error if the system has no random numbers.
pub fn password_hash(password: &Secret) -> anyhow::Result<String> {
    let hash = Argon2::default().hash_password(password.expose().as_bytes());
    Ok(hash.map_err(|error| anyhow!("hashing a password: {error}"))?.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use argon2::password_hash::PasswordVerifier as _;
    use argon2::password_hash::phc::PasswordHash;

    use super::*;

    #[test]
    fn a_number_opens_for_its_customer_alone() {
        let keys = PersonalKeys::new(SealingKey::generate());
        let sealed = keys.seal("S1", "K1", "11010119900307123X").unwrap().unwrap();
        assert_eq!(keys.open("S1", "K1", &sealed).unwrap().expose(), "11010119900307123X");
        assert!(keys.open("S1", "K2", &sealed).is_err());
        assert!(keys.open("S2", "K1", &sealed).is_err());
        assert_eq!(keys.seal("S1", "K1", "").unwrap(), None);
    }

    #[test]
    fn a_certificate_is_found_in_any_case_and_spacing_within_its_company() {
        let keys = PersonalKeys::new(SealingKey::generate());
        let hash = |company: &str, number: &str| keys.certificate(company, number).unwrap();
        assert_eq!(hash("S1", "11010119900307123X"), hash("S1", " 110101 19900307 123x"));
        assert_ne!(hash("S1", "11010119900307123X"), hash("S2", "11010119900307123X"));
    }

    #[test]
    fn a_password_is_hashed_with_argon2id_and_its_own_salt() {
        let password = Secret::new("correct horse");
        let (first, second) = (password_hash(&password).unwrap(), password_hash(&password).unwrap());
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second);
        let hash = PasswordHash::new(&first).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &hash).is_ok());
        assert!(Argon2::default().verify_password(b"wrong", &hash).is_err());
    }
}
