//! The settings of the service.

use std::net::SocketAddr;

use chrono::TimeDelta;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::database::DatabaseSettings;
use communal_kit::identity::policy::OperatorSource;
use communal_kit::identity::token::SHORTEST_KEY;
use communal_kit::identity::{Policy, Proof, SealingKey, TenantKind, Wording};
use communal_kit::refusal::Refusal;
use communal_kit::secret::Secret;
use communal_kit::server::ServerSettings;
use communal_proto::contract::v1::Reason;

/// The setting of the database's URL.
pub const DATABASE_URL: &str = "community_database_url";

/// The documented words for refused credentials.
static WORDING: Wording = Wording {
    channel_missing: "鉴权失败：APP_ID 为空或不正确",
    credentials: "鉴权失败：签名失败",
    request_id: "鉴权失败：TRANSACTION_ID 不能为空",
    request_time: "鉴权失败：requestTime 格式不对，遵循yyyyMMddHHmmss格式",
    operator: "您还没有登录，请先登录",
    tenant: "传入小区ID非法，请正常操作",
    method: "鉴权失败：AppId 没有权限访问 serviceCode = {method}",
    // No method of the service is for another kind of tenant.
    role: || Refusal::of(Reason::TenantRefused),
};

/// How far the time of a signed request may be off.
const REQUEST_TIME_WINDOW: TimeDelta = TimeDelta::minutes(15);

/// What `serve` needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports and limits.
    pub server: ServerSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Under which the bearer tokens of operators are signed.
    pub token_key: Secret,
    /// Under which the secrets of apps are stored; without it no signature can be checked.
    pub sealing_key: Option<SealingKey>,
    /// The clock, in the zone of business dates.
    pub clock: Clock,
}

impl Config {
    /// Reads the settings; faults go to the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            server: ServerSettings::read(reader, ("community_addr", port(50052)), ("community_admin_addr", port(9052))),
            database: DatabaseSettings::read(reader, DATABASE_URL),
            token_key: token_key(reader),
            sealing_key: sealing_key(reader),
            clock: clock(reader),
        }
    }
}

/// The key of tokens, which must be set and long.
pub fn token_key(reader: &mut Reader) -> Secret {
    let key = Secret::new(reader.required("token_key"));
    if !key.is_empty() && key.expose().len() < SHORTEST_KEY {
        reader.fault("token_key", format!("must have at least {SHORTEST_KEY} characters"));
    }
    key
}

/// The key of stored secrets, where it is set.
pub fn sealing_key(reader: &mut Reader) -> Option<SealingKey> {
    let text = reader.secret("sealing_key");
    if text.is_empty() {
        return None;
    }
    SealingKey::parse(&text).map_err(|error| reader.fault("sealing_key", error)).ok()
}

/// The machine's clock in the configured zone.
pub fn clock(reader: &mut Reader) -> Clock {
    Clock::system(reader.parsed("time_zone", DEFAULT_ZONE))
}

/// What the service asks of its callers.
#[must_use]
pub fn policy(token_key: Secret) -> Policy {
    Policy {
        proofs: &[Proof::Key, Proof::Signature, Proof::None],
        tenant_kinds: &[TenantKind::Community],
        operator: OperatorSource::Token(token_key),
        request_time_window: REQUEST_TIME_WINDOW,
        wording: &WORDING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(given: &[(&str, &str)]) -> String {
        let mut reader = Reader::new(given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        Config::read(&mut reader);
        reader.finish().err().map(|faults| faults.to_string()).unwrap_or_default()
    }

    #[test]
    fn all_faults_are_told_at_once_and_no_secret_with_them() {
        let told = faults(&[("token_key", "short!"), ("sealing_key", "not hex"), ("time_zone", "Nowhere/Else")]);
        for name in ["DATABASE_URL", "TOKEN_KEY", "SEALING_KEY", "TIME_ZONE"] {
            assert!(told.contains(name), "{name} is not in: {told}");
        }
        assert!(!told.contains("short!") && !told.contains("not hex"), "{told}");
    }

    #[test]
    fn what_is_needed_suffices() {
        let given = [
            ("community_database_url", "postgres://community@localhost/community"),
            ("token_key", "0123456789abcdef0123456789abcdef"),
        ];
        assert_eq!(faults(&given), "");
    }
}
