//! Certificates and keys from mounted files that change while the process runs, such as those of
//! cert-manager.

use std::path::{Path, PathBuf};

use crate::config::Reader;
use crate::secret::Secret;

/// The paths of a certificate, its key and the trusted authorities, all PEM.
#[derive(Clone, Debug, Default)]
pub struct PemFiles {
    /// This process's certificate, followed by its chain.
    pub certificate: Option<PathBuf>,
    /// The key of the certificate.
    pub key: Option<PathBuf>,
    /// The authorities that peers' certificates must be signed by.
    pub authorities: Option<PathBuf>,
}

/// The content of the files at one moment.
#[derive(Clone, Debug)]
pub struct Pems {
    /// This process's certificate, followed by its chain.
    pub certificate: Option<String>,
    /// The key of the certificate.
    pub key: Option<Secret>,
    /// The authorities that peers' certificates must be signed by.
    pub authorities: Option<String>,
}

impl PartialEq for Pems {
    fn eq(&self, other: &Self) -> bool {
        let key = |pems: &Self| pems.key.as_ref().map(|key| key.expose().to_owned());
        self.certificate == other.certificate && self.authorities == other.authorities && key(self) == key(other)
    }
}

/// The names of the settings that hold the paths.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The setting of the certificate.
    pub certificate: &'static str,
    /// The setting of its key.
    pub key: &'static str,
    /// The setting of the authorities.
    pub authorities: &'static str,
}

impl PemFiles {
    /// Reads the settings. A certificate without its key, or a key without its certificate, is a fault.
    pub fn read_settings(reader: &mut Reader, names: Names) -> Self {
        let mut file = |name| Some(PathBuf::from(reader.text(name, ""))).filter(|path| !path.as_os_str().is_empty());
        let files =
            Self { certificate: file(names.certificate), key: file(names.key), authorities: file(names.authorities) };
        match (&files.certificate, &files.key) {
            (Some(_), None) => reader.fault(names.key, "must be set where the certificate is"),
            (None, Some(_)) => reader.fault(names.certificate, "must be set where its key is"),
            _ => {}
        }
        files
    }

    /// Returns whether no path is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificate.is_none() && self.key.is_none() && self.authorities.is_none()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub fn read(&self) -> anyhow::Result<Pems> {
        Ok(Pems {
            certificate: text(self.certificate.as_deref())?,
            key: text(self.key.as_deref())?.map(Secret::new),
            authorities: text(self.authorities.as_deref())?,
        })
    }
}

fn text(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(Some(text))
}
