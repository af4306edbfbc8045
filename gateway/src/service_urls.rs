//! The URLs of a service, as a setting gives them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;

/// The replicas of a service: one URL, or several separated by commas. A host name stands for all addresses that it
/// resolves to, so one URL is enough for a headless Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrls {
    endpoints: Vec<ServiceHost>,
    tls: bool,
}

/// One host of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceHost {
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// An error in the URLs of a service.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceUrlsFault {
    /// A part that is not the URL of a host.
    #[error("{0}: must be http://host:port or https://host:port")]
    Url(String),
    /// Some URLs are encrypted and some are not.
    #[error("all must be http or all must be https")]
    Mixed,
}

impl ServiceUrls {
    /// One replica at an address, called in plain text.
    #[must_use]
    pub fn of_address(address: SocketAddr) -> Self {
        let endpoints = vec![ServiceHost { host: address.ip().to_string(), port: address.port() }];
        Self { endpoints, tls: false }
    }

    /// Returns whether the service is called over TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn hosts(&self) -> &[ServiceHost] {
        &self.endpoints
    }
}

impl FromStr for ServiceUrls {
    type Err = ServiceUrlsFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut endpoints = Vec::new();
        let mut schemes = Vec::new();
        for part in text.split(',').map(str::trim) {
            let wrong = || ServiceUrlsFault::Url(part.to_owned());
            let url: Uri = part.parse().map_err(|_| wrong())?;
            let tls = match url.scheme_str() {
                Some("http") => false,
                Some("https") => true,
                _ => return Err(wrong()),
            };
            let host = url.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
            if url.path() != "/" || url.query().is_some() {
                return Err(wrong());
            }
            schemes.push(tls);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            endpoints.push(ServiceHost { host, port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }) });
        }
        let tls = schemes.first().copied().unwrap_or_default();
        if schemes.iter().any(|scheme| *scheme != tls) {
            return Err(ServiceUrlsFault::Mixed);
        }
        Ok(Self { endpoints, tls })
    }
}

impl fmt::Display for ServiceUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        for (index, ServiceHost { host, port }) in self.endpoints.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if host.contains(':') {
                write!(f, "{comma}{scheme}://[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{scheme}://{host}:{port}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for text in ["http://billing:50051", "https://a:1,https://[::1]:2", "http://127.0.0.1:80"] {
            assert_eq!(text.parse::<ServiceUrls>().unwrap().to_string(), text);
        }
        assert_eq!("https://billing/".parse::<ServiceUrls>().unwrap().to_string(), "https://billing:443");
    }

    #[test]
    fn a_url_that_names_no_host_is_refused() {
        for text in ["", "billing:50051", "ftp://a", "http://a/b", "http://a,,http://b", "http://a?b"] {
            assert!(matches!(text.parse::<ServiceUrls>(), Err(ServiceUrlsFault::Url(_))), "{text}");
        }
        assert_eq!("http://a,https://b".parse::<ServiceUrls>(), Err(ServiceUrlsFault::Mixed));
    }
}
