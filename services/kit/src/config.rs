//! Configuration from environment variables and from a TOML file, which they override. All faults are
//! gathered and reported at once, before a port is opened.
//!
//! A setting `billing_addr` is the environment variable `COMMUNAL_BILLING_ADDR`, and the key
//! `billing_addr` of the file that `COMMUNAL_CONFIG` names.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use crate::secret::Secret;

/// The exit code of a process whose configuration has faults (`EX_USAGE`).
pub const EXIT_CONFIGURATION: u8 = 64;

/// Reads settings and gathers faults.
#[derive(Debug, Default)]
pub struct Reader {
    file: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    asked: Vec<&'static str>,
    faults: Vec<String>,
}

/// All faults of a configuration.
#[derive(Debug)]
pub struct ConfigurationFaults(Vec<String>);

impl Display for ConfigurationFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration has {} fault(s):", self.0.len())?;
        self.0.iter().try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}

impl std::error::Error for ConfigurationFaults {}

impl Reader {
    /// Creates a reader of the environment and of the file that it names. A file that cannot be read is
    /// a fault that [`Reader::finish`] reports.
    #[must_use]
    pub fn from_environment() -> Self {
        let environment = std::env::vars()
            .filter_map(|(key, value)| Some((key.strip_prefix("COMMUNAL_")?.to_lowercase(), value)))
            .collect();
        Self::new(environment)
    }

    /// Creates a reader of given settings, by lower-case name without prefix; for tests.
    #[must_use]
    pub fn new(environment: BTreeMap<String, String>) -> Self {
        let mut reader = Self { environment, ..Self::default() };
        if let Some(path) = reader.environment.get("config").cloned() {
            match std::fs::read_to_string(&path)
                .map_err(|e| e.to_string())
                .and_then(|text| text.parse::<toml::Table>().map_err(|e| e.message().to_owned()))
            {
                Ok(table) => {
                    for (key, value) in table {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        reader.file.insert(key, text);
                    }
                }
                Err(error) => reader.faults.push(format!("COMMUNAL_CONFIG: {path}: {error}")),
            }
        }
        reader
    }

    fn find(&mut self, key: &'static str) -> Option<String> {
        self.asked.push(key);
        self.environment.get(key).or_else(|| self.file.get(key)).filter(|v| !v.is_empty()).cloned()
    }

    /// Reads a text with a default.
    pub fn text(&mut self, key: &'static str, default: &str) -> String {
        self.find(key).unwrap_or_else(|| default.to_owned())
    }

    /// Reads a text that must be set.
    pub fn required(&mut self, key: &'static str) -> String {
        self.find(key).unwrap_or_else(|| {
            self.faults.push(format!("COMMUNAL_{}: must be set", key.to_uppercase()));
            String::new()
        })
    }

    /// Reads a secret; it is empty if it is not set.
    pub fn secret(&mut self, key: &'static str) -> Secret {
        Secret::new(self.find(key).unwrap_or_default())
    }

    /// Reads a value of a type that can be parsed.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str, default: T) -> T {
        let Some(text) = self.find(key) else { return default };
        text.parse().unwrap_or_else(|error| {
            self.fault(key, format!("{text:?}: {error}"));
            default
        })
    }

    /// Reads a value that may be left out.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.find(key)?;
        text.parse().map_err(|error| self.fault(key, format!("{text:?}: {error}"))).ok()
    }

    /// Adds a fault that the caller found, such as a contradiction between two settings.
    pub fn fault(&mut self, key: &str, what: impl Display) {
        self.faults.push(format!("COMMUNAL_{}: {what}", key.to_uppercase()));
    }

    /// Returns the names of all settings that were read, in lower case and without prefix.
    #[must_use]
    pub fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Returns all faults if there are any.
    pub fn finish(self) -> Result<(), ConfigurationFaults> {
        if self.faults.is_empty() { Ok(()) } else { Err(ConfigurationFaults(self.faults)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_reported_at_once_and_secrets_are_not_in_them() {
        let given = [("addr", "nonsense"), ("key", "s3cret"), ("rows", "-1")];
        let mut reader = Reader::new(given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let default: std::net::SocketAddr = ([127, 0, 0, 1], 1).into();
        assert_eq!(reader.parsed("addr", default), default);
        assert_eq!(reader.parsed("rows", 7_u32), 7);
        assert_eq!(reader.secret("key").expose(), "s3cret");
        assert_eq!(reader.required("database_url"), "");
        let faults = reader.finish().map_err(|f| f.to_string()).err().unwrap_or_default();
        for part in ["3 fault(s)", "COMMUNAL_ADDR", "COMMUNAL_ROWS", "COMMUNAL_DATABASE_URL: must be set"] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        assert!(!faults.contains("s3cret"));
    }
}
