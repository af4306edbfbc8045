//! Bearer tokens of operators: JWTs that the service itself signs with HS256.

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The issuer of the tokens.
const ISSUER: &str = "communal";
/// The shortest signing key in bytes; shorter keys can be guessed.
pub const SHORTEST_KEY: usize = 32;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
}

/// The most seconds by which the clock of another issuer may be ahead.
const LEEWAY: i64 = 60;

/// Issues a token for an operator.
///
/// # Errors
/// Returns an error if signing fails.
pub fn issue(key: &Secret, operator_id: &str, now: DateTime<Utc>, life: TimeDelta) -> anyhow::Result<String> {
    let claims = Claims {
        iss: ISSUER.into(),
        sub: operator_id.into(),
        iat: now.timestamp(),
        exp: now.checked_add_signed(life).context("the token would never end")?.timestamp(),
        nbf: None,
    };
    let key = EncodingKey::from_secret(key.expose().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

/// Returns the operator of a token that is genuine and valid at `now`: `iat` and `nbf` are not later,
/// `exp` is. A header with extensions (`crit`) is refused, because none is supported.
#[must_use]
pub fn operator(key: &Secret, token: &str, now: DateTime<Utc>) -> Option<String> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    // The expiry is checked below, against the caller's clock.
    validation.validate_exp = false;
    let key = DecodingKey::from_secret(key.expose().as_bytes());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?.claims;
    let (now, begins) = (now.timestamp(), claims.iat.max(claims.nbf.unwrap_or(i64::MIN)));
    let in_force = claims.exp > now && begins <= now.saturating_add(LEEWAY);
    (in_force && !demands_extensions(token)).then_some(claims.sub)
}

/// Returns whether the header of a token has extensions that its reader must support (`crit`).
fn demands_extensions(token: &str) -> bool {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|header| serde_json::from_slice::<serde_json::Value>(&header).ok());
    header.is_none_or(|header| header.get("crit").is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

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

    #[test]
    fn a_token_is_in_force_from_its_beginning_and_demands_nothing() {
        let key = Secret::new("0123456789abcdef0123456789abcdef");
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let of = |header: serde_json::Value, claims: serde_json::Value| {
            let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let text = format!("{}.{}", part(&header), part(&claims));
            let signing = EncodingKey::from_secret(key.expose().as_bytes());
            let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &signing, Algorithm::HS256).unwrap();
            operator(&key, &format!("{text}.{signature}"), now)
        };
        let header = || json!({"alg": "HS256", "typ": "JWT"});
        let claims = |iat: i64, nbf: Option<i64>| {
            let mut claims =
                json!({"iss": ISSUER, "sub": "x", "iat": now.timestamp() + iat, "exp": now.timestamp() + 9_000});
            if let Some(nbf) = nbf {
                claims["nbf"] = json!(now.timestamp() + nbf);
            }
            claims
        };
        for (iat, nbf) in [(0, None), (-60, Some(0)), (LEEWAY, Some(LEEWAY))] {
            assert_eq!(of(header(), claims(iat, nbf)).as_deref(), Some("x"), "{iat} {nbf:?}");
        }
        for (iat, nbf) in [(LEEWAY + 1, None), (0, Some(LEEWAY + 1)), (7_200, Some(0))] {
            assert_eq!(of(header(), claims(iat, nbf)), None, "{iat} {nbf:?}");
        }
        for crit in [json!(["b64"]), json!([]), json!("x")] {
            assert_eq!(of(json!({"alg": "HS256", "crit": crit, "b64": false}), claims(0, None)), None);
        }
    }
}
