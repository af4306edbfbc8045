//! Connections over TLS, from certificate files that may change while the service runs.
//!
//! tonic's own TLS reads them once. Here every new connection uses the newest usable certificates; open
//! connections keep theirs, and their age is limited.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::tls::{PemFiles, Pems};

/// The interval at which the files are read.
pub(super) const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// The newest usable certificates. Dropping it ends the watching of the files.
#[derive(Debug)]
pub(super) struct ServerTls {
    newest: Arc<RwLock<Arc<ServerConfig>>>,
    watch: AbortHandle,
}

impl Drop for ServerTls {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl ServerTls {
    /// Reads the files, and watches them; returns `None` if none are named.
    ///
    /// # Errors
    /// Returns an error if they cannot be read or used.
    pub(super) fn load(files: &PemFiles, every: Duration) -> anyhow::Result<Option<Self>> {
        if files.certificate.is_none() {
            return Ok(None);
        }
        let mut pems = files.read()?;
        let newest = Arc::new(RwLock::new(configuration(&pems)?));
        let (files, renewed) = (files.clone(), Arc::clone(&newest));
        let watch = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                if let Some(config) = reload(&files, &mut pems) {
                    *renewed.write().unwrap_or_else(PoisonError::into_inner) = config;
                }
            }
        });
        Ok(Some(Self { newest, watch: watch.abort_handle() }))
    }

    /// Returns an acceptor with the newest certificates.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// Returns the configuration of the files if it has changed and can be used.
fn reload(files: &PemFiles, pems: &mut Pems) -> Option<Arc<ServerConfig>> {
    let found = match files.read() {
        Ok(found) if found == *pems => return None,
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(error = %error, "the certificates cannot be read; the former ones stay in use");
            return None;
        }
    };
    match configuration(&found) {
        Ok(config) => {
            *pems = found;
            tracing::info!("certificates renewed");
            Some(config)
        }
        // Certificate and key may have been written at different moments; the next read finds both.
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "the certificates cannot be used; the former ones stay in use");
            None
        }
    }
}

fn configuration(pems: &Pems) -> anyhow::Result<Arc<ServerConfig>> {
    let certificate = pems.certificate.as_deref().context("there is no certificate")?;
    let key = pems.key.as_ref().context("there is no key")?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &pems.authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(authorities).context("the authorities of clients")? {
                roots.add(authority)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(certificate).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).context("the key")?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?;
    anyhow::ensure!(!found.is_empty(), "holds no certificate");
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::SocketAddr;

    use communal_fixtures::tls::{Authority, Folder};
    use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    fn files(folder: &Folder) -> PemFiles {
        let file = |name| Some(folder.file(name));
        PemFiles { certificate: file("tls.crt"), key: file("tls.key"), authorities: file("ca.crt") }
    }

    fn serve(files: &PemFiles) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let tls = ServerTls::load(files, Duration::from_millis(20)).unwrap().unwrap();
        let (_, service) = tonic_health::server::health_reporter();
        let connections = async_stream::stream! {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = tls.acceptor().accept(stream).await {
                    yield Ok::<_, std::io::Error>(stream);
                }
            }
        };
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections));
        address
    }

    fn client(address: SocketAddr, server: &Authority, identity: Option<(String, String)>) -> Channel {
        let mut tls =
            ClientTlsConfig::new().domain_name("billing").ca_certificate(Certificate::from_pem(server.certificate()));
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    async fn answers(channel: &Channel) -> bool {
        let question = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel.clone()).check(question).await.is_ok()
    }

    #[tokio::test]
    async fn only_clients_of_the_named_authority_are_accepted() {
        let (ours, theirs, folder) = (Authority::generate(), Authority::generate(), Folder::create());
        folder.write("billing", &ours, &ours);
        let address = serve(&files(&folder));
        assert!(answers(&client(address, &ours, Some(ours.issue("billing")))).await);
        assert!(!answers(&client(address, &ours, None)).await, "without a certificate");
        assert!(!answers(&client(address, &ours, Some(theirs.issue("billing")))).await, "with somebody else's");
        assert!(!answers(&client(address, &theirs, Some(ours.issue("billing")))).await, "the client checks as well");
        let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        assert!(!answers(&plain).await, "without encryption");
    }

    #[tokio::test]
    async fn changed_files_are_used_for_new_connections_and_unusable_ones_are_not() {
        let (old, new, folder) = (Authority::generate(), Authority::generate(), Folder::create());
        folder.write("billing", &old, &old);
        let address = serve(&files(&folder));
        let open = client(address, &old, Some(old.issue("billing")));
        assert!(answers(&open).await);
        // A key that is not the certificate's: what was there before stays in use.
        std::fs::write(folder.file("tls.key"), new.issue("billing").1).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(answers(&client(address, &old, Some(old.issue("billing")))).await);
        folder.write("billing", &new, &new);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(answers(&client(address, &new, Some(new.issue("billing")))).await);
        assert!(
            !answers(&client(address, &new, Some(old.issue("billing")))).await,
            "the former authority is not trusted any more"
        );
        assert!(answers(&open).await, "an open connection goes on");
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_stop_the_start() {
        let (ours, folder) = (Authority::generate(), Folder::create());
        folder.write("billing", &ours, &ours);
        std::fs::write(folder.file("ca.crt"), "").unwrap();
        let error = ServerTls::load(&files(&folder), LOOKED_AT_EVERY).err().unwrap();
        assert!(format!("{error:#}").contains("authorities"), "{error:#}");
        assert!(ServerTls::load(&PemFiles::default(), LOOKED_AT_EVERY).unwrap().is_none());
    }
}
