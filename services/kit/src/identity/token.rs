//! Bearer tokens of operators: JWTs signed with HS256 by the service itself.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Who issues the tokens.
const ISSUER: &str = "communal";
/// Shorter keys can be guessed.
pub const SHORTEST_KEY: usize = 32;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: i64,
    exp: i64,
}

/// Issues a token for an operator.
///
/// # Errors
/// Where signing fails.
pub fn issue(key: &Secret, operator_id: &str, now: DateTime<Utc>, life: TimeDelta) -> anyhow::Result<String> {
    let claims = Claims {
        iss: ISSUER.into(),
        sub: operator_id.into(),
        iat: now.timestamp(),
        exp: now.checked_add_signed(life).context("the token would never end")?.timestamp(),
    };
    let key = EncodingKey::from_secret(key.expose().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

/// The operator of a token that is genuine and in force at `now`.
#[must_use]
pub fn operator(key: &Secret, token: &str, now: DateTime<Utc>) -> Option<String> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    // The end is checked against the clock that was handed in.
    validation.validate_exp = false;
    let key = DecodingKey::from_secret(key.expose().as_bytes());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims;
    (claims.exp > now.timestamp()).then_some(claims.sub)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_speaks_for_its_operator_until_it_ends() {
        let key = Secret::new("0123456789abcdef0123456789abcdef");
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let token = issue(&key, "302023111900000001", now, TimeDelta::hours(2)).unwrap();
        assert_eq!(operator(&key, &token, now).as_deref(), Some("302023111900000001"));
        assert_eq!(operator(&key, &token, now + TimeDelta::hours(2)), None);
        assert_eq!(operator(&Secret::new("another key of thirty-two letters"), &token, now), None);
        let (head, rest) = token.split_once('.').unwrap();
        assert_eq!(operator(&key, &format!("{head}.x{rest}"), now), None);
        // The algorithm "none" and its kin are not accepted.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjb21tdW5hbCIsInN1YiI6IngiLCJpYXQiOjAsImV4cCI6OTk5OTk5OTk5OX0.";
        assert_eq!(operator(&key, unsigned, now), None);
    }
}
