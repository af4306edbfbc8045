//! The settings of the service.

use std::net::SocketAddr;

use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::database::DatabaseSettings;
use communal_kit::identity::SealingKey;
use communal_kit::identity::token::SHORTEST_KEY;
use communal_kit::secret::Secret;
use communal_kit::server::ServerSettings;

/// The setting of the database's URL.
pub const DATABASE_URL: &str = "community_database_url";

/// The settings of `serve`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports and limits.
    pub server: ServerSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// The key that signs the bearer tokens of operators.
    pub token_key: Secret,
    /// The key that encrypts the secrets of apps; without it no signature can be checked.
    pub sealing_key: Option<SealingKey>,
    /// The clock, in the zone of business dates.
    pub clock: Clock,
}

impl Config {
    /// Reads the settings. Faults go to the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            server: ServerSettings::read(
                reader,
                ("community_addr", port(50052)),
                ("community_admin_addr", port(9052)),
                "community_identity_addr",
            ),
            database: DatabaseSettings::read(reader, DATABASE_URL),
            token_key: token_key(reader),
            sealing_key: sealing_key(reader),
            clock: Clock::read(reader),
        }
    }
}

/// Reads the key of tokens, which must be set and long.
pub fn token_key(reader: &mut Reader) -> Secret {
    let key = Secret::new(reader.required("token_key"));
    if !key.is_empty() && key.expose().len() < SHORTEST_KEY {
        reader.fault("token_key", format!("must have at least {SHORTEST_KEY} characters"));
    }
    key
}

/// Reads the key of stored secrets, if it is set.
pub fn sealing_key(reader: &mut Reader) -> Option<SealingKey> {
    let text = reader.secret("sealing_key");
    if text.is_empty() {
        return None;
    }
    SealingKey::parse(&text).map_err(|error| reader.fault("sealing_key", error)).ok()
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
    fn all_faults_are_reported_at_once_and_no_secret_with_them() {
        let reported = faults(&[("token_key", "short!"), ("sealing_key", "not hex"), ("time_zone", "Nowhere/Else")]);
        for name in ["DATABASE_URL", "TOKEN_KEY", "SEALING_KEY", "TIME_ZONE"] {
            assert!(reported.contains(name), "{name} is not in: {reported}");
        }
        assert!(!reported.contains("short!") && !reported.contains("not hex"), "{reported}");
    }

    #[test]
    fn the_required_settings_suffice() {
        let given = [
            ("community_database_url", "postgres://community@localhost/community"),
            ("token_key", "0123456789abcdef0123456789abcdef"),
        ];
        assert_eq!(faults(&given), "");
    }
}
