//! Connections over TLS, from certificate files that may change while the service runs.
//!
//! tonic's own TLS reads them once. Here every connection is greeted with the newest ones that
//! could be used; those that are open keep what they were opened with, and their age is bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};

use crate::tls::{PemFiles, Pems};

/// Time between two looks at the files.
pub(super) const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
/// Longest time for a client to greet.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// Greeted connections that wait to be served.
const WAITING: usize = 64;

/// Files that could be used when the service started.
#[derive(Debug)]
pub(super) struct ServerTls {
    files: PemFiles,
    pems: Pems,
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads the files; `None` where none are named.
    ///
    /// # Errors
    /// They cannot be read or used.
    pub(super) fn load(files: &PemFiles) -> anyhow::Result<Option<Self>> {
        if files.certificate.is_none() {
            return Ok(None);
        }
        let pems = files.read()?;
        let config = configuration(&pems)?;
        Ok(Some(Self { files: files.clone(), pems, config }))
    }

    /// Greets what comes in; ends when nobody takes the connections any more.
    pub(super) fn greet<I>(
        mut self,
        incoming: I,
        every: Duration,
    ) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>>
    where
        I: Stream<Item = io::Result<TcpStream>> + Send + Unpin + 'static,
    {
        let (greeted, connections) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut incoming = incoming;
            let mut look = tokio::time::interval(every);
            loop {
                tokio::select! {
                    () = greeted.closed() => return,
                    _ = look.tick() => self.reload(),
                    stream = incoming.next() => match stream {
                        None => return,
                        Some(Err(error)) => tracing::warn!(error = %error, "cannot accept a connection"),
                        Some(Ok(stream)) => {
                            let (acceptor, greeted) = (TlsAcceptor::from(Arc::clone(&self.config)), greeted.clone());
                            tokio::spawn(async move {
                                match tokio::time::timeout(GREETING_LIMIT, acceptor.accept(stream)).await {
                                    Ok(Ok(stream)) => drop(greeted.send(Ok(stream)).await),
                                    Ok(Err(error)) => tracing::info!(error = %error, "a client was not let in"),
                                    Err(_) => tracing::info!("a client did not greet in time"),
                                }
                            });
                        }
                    },
                }
            }
        });
        ReceiverStream::new(connections)
    }

    fn reload(&mut self) {
        let found = match self.files.read() {
            Ok(found) if found == self.pems => return,
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %error, "the certificates cannot be read; the former ones stay in use");
                return;
            }
        };
        match configuration(&found) {
            Ok(config) => {
                self.config = config;
                self.pems = found;
                tracing::info!("certificates renewed");
            }
            // Certificate and key may be of different moments; the next look sees both.
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "the certificates cannot be used; the former ones stay in use");
            }
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
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    fn files(folder: &Folder) -> PemFiles {
        let file = |name| Some(folder.file(name));
        PemFiles { certificate: file("tls.crt"), key: file("tls.key"), authorities: file("ca.crt") }
    }

    fn serve(files: &PemFiles) -> SocketAddr {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = incoming.local_addr().unwrap();
        let tls = ServerTls::load(files).unwrap().unwrap();
        let (_, service) = tonic_health::server::health_reporter();
        let connections = tls.greet(incoming, Duration::from_millis(20));
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
    async fn only_clients_of_the_named_authority_are_let_in() {
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

    #[test]
    fn files_that_cannot_be_used_stop_the_start() {
        let (ours, folder) = (Authority::generate(), Folder::create());
        folder.write("billing", &ours, &ours);
        std::fs::write(folder.file("ca.crt"), "").unwrap();
        let error = ServerTls::load(&files(&folder)).err().unwrap();
        assert!(format!("{error:#}").contains("authorities"), "{error:#}");
        assert!(ServerTls::load(&PemFiles::default()).unwrap().is_none());
    }
}
