//! Connections to a service: their limits, and TLS with files that are renewed while the process runs.

use std::net::SocketAddr;
use std::time::Duration;

use communal_kit::tls::{PemFiles, Pems};
use http::Uri;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Largest trailers: a refusal can name a hundred fields in them.
const LARGEST_TRAILERS: u32 = 256 * 1024;
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The settings of connections to one service.
#[derive(Debug)]
pub(super) struct Transport {
    channels: usize,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    files: PemFiles,
    current: Pems,
}

impl Transport {
    /// Makes this number of connections to each replica, over TLS if files are given.
    ///
    /// # Errors
    /// Returns an error if the files cannot be read or used.
    pub(super) fn new(channels: usize, tls: Option<&PemFiles>) -> anyhow::Result<Self> {
        let tls = match tls {
            Some(files) => {
                let current = files.read()?;
                let files = files.clone();
                Some(Tls { files, current })
            }
            None => None,
        };
        let transport = Self { channels: channels.max(1), tls };
        transport.endpoint(SocketAddr::from(([127, 0, 0, 1], 1)), "localhost")?;
        Ok(transport)
    }

    /// Reads the files again; returns whether new connections must be made.
    pub(super) fn reload(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        let found = match tls.files.read() {
            Ok(found) if found == tls.current => return false,
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %error, "the certificates cannot be read; the former ones stay in use");
                return false;
            }
        };
        let before = std::mem::replace(&mut tls.current, found);
        // Certificate and key may have been read while they were being replaced; the next reload sees both.
        if let Err(error) = self.endpoint(SocketAddr::from(([127, 0, 0, 1], 1)), "localhost") {
            tracing::warn!(error = %error, "the certificates cannot be used; the former ones stay in use");
            if let Some(tls) = &mut self.tls {
                tls.current = before;
            }
            return false;
        }
        tracing::info!("certificates renewed");
        true
    }

    /// Returns connections to an address. Each is opened by the first call that needs it, and again after it broke.
    pub(super) fn channels(&self, address: SocketAddr, host: &str) -> anyhow::Result<Vec<Channel>> {
        let endpoint = self.endpoint(address, host)?;
        Ok((0..self.channels).map(|_| endpoint.connect_lazy()).collect())
    }

    fn endpoint(&self, address: SocketAddr, host: &str) -> anyhow::Result<Endpoint> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let authority = if host.contains(':') {
            format!("[{host}]:{}", address.port())
        } else {
            format!("{host}:{}", address.port())
        };
        let origin: Uri = format!("{scheme}://{authority}").parse()?;
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .origin(origin)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_LIMIT)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .http2_max_header_list_size(LARGEST_TRAILERS);
        let Some(tls) = &self.tls else { return Ok(endpoint) };
        let mut config = ClientTlsConfig::new().domain_name(host);
        if let Some(authorities) = &tls.current.authorities {
            config = config.ca_certificate(Certificate::from_pem(authorities));
        }
        if let (Some(certificate), Some(key)) = (&tls.current.certificate, &tls.current.key) {
            config = config.identity(Identity::from_pem(certificate, key.expose()));
        }
        Ok(endpoint.tls_config(config)?)
    }
}
