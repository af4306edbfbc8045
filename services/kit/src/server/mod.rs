//! The gRPC server of a service: limits, deadlines, health, reflection, and a shutdown that loses no
//! call.

mod calls;
mod compression;
mod deadlines;
mod elsewhere;
mod health;
pub mod limits;
mod methods;
mod readiness;
mod reflection;
mod requests;
mod serve;
mod services;
mod shares;
mod tls;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::config::Reader;
use crate::edge::{Edge, keep_measuring};
use crate::identity::authenticator::AuthenticatorSettings;
use crate::identity::{Authenticator, GatewayKeys};
use crate::pool::Pool;
use crate::tls::{Names, PemFiles};
use crate::{idempotency, telemetry};
pub use calls::MOST_REPLY;
use calls::{CallResources, Calls};
use health::HealthStates;
pub use limits::ServerLimits;
use readiness::Told;
use serve::Port;
pub use services::Services;
use shares::Shares;
use tls::ServerTls;

/// The largest request message, which is larger than any batch that the contract allows.
pub const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// The largest reply message, which is larger than any answer within the caps.
pub const LARGEST_REPLY: usize = 64 * 1024 * 1024;

/// Connections to the port of administration, in all and of one address.
const ADMINISTRATORS: usize = 64;

/// The longest wait for leased connections at the end.
const POOL_CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The name of the service in traces and metrics.
    pub service: &'static str,
    /// The address of gRPC.
    pub address: SocketAddr,
    /// The address of metrics and health over HTTP.
    pub admin_address: SocketAddr,
    /// Address of the administration of credentials over gRPC; not served where there is none.
    pub identity_address: Option<SocketAddr>,
    /// The limits of callers.
    pub limits: ServerLimits,
    /// The bytes from which a reply is compressed for a client that takes gzip; `None` if none is.
    pub gzip_from: Option<NonZeroUsize>,
    /// The longest life of a connection, so that clients find new replicas.
    pub connection_age: Duration,
    /// The time between "not ready" and the end of accepting, in which load balancers take the replica
    /// out.
    pub drain_notice: Duration,
    /// The longest time for running calls to end.
    pub drain_limit: Duration,
    /// The settings of authentication.
    pub authenticator: AuthenticatorSettings,
    /// The certificates of gRPC over TLS; without them gRPC is served in plain text.
    pub tls: PemFiles,
}

impl ServerSettings {
    /// Reads `COMMUNAL_<SERVICE>_ADDR`, `…_ADMIN_ADDR`, `…_IDENTITY_ADDR` and the limits that all
    /// services share.
    pub fn read(
        reader: &mut Reader,
        address: (&'static str, SocketAddr),
        admin_address: (&'static str, SocketAddr),
        identity_address: &'static str,
    ) -> Self {
        let authenticator = AuthenticatorSettings::default();
        let tls = PemFiles::read_settings(
            reader,
            Names { certificate: "tls_certificate", key: "tls_key", authorities: "tls_client_ca" },
        );
        if tls.authorities.is_some() && tls.certificate.is_none() {
            reader.fault("tls_client_ca", "is set, but there is no certificate to serve TLS with");
        }
        Self {
            service: address.0.trim_end_matches("_addr"),
            address: reader.parsed(address.0, address.1),
            admin_address: reader.parsed(admin_address.0, admin_address.1),
            identity_address: reader.optional(identity_address),
            limits: ServerLimits::read(reader),
            gzip_from: NonZeroUsize::new(reader.parsed("gzip_from_bytes", 16 * 1024)),
            connection_age: Duration::from_secs(reader.parsed("connection_age_s", 300)),
            drain_notice: Duration::from_millis(reader.parsed("drain_notice_ms", 500)),
            drain_limit: Duration::from_millis(reader.parsed("drain_limit_ms", 25_000)),
            authenticator: AuthenticatorSettings {
                cached_for: Duration::from_millis(reader.parsed("credentials_cached_ms", 3_000)),
                calls_per_second: NonZeroU32::new(
                    reader
                        .parsed("channel_calls_per_second", authenticator.calls_per_second.map_or(0, NonZeroU32::get)),
                ),
                gateways: GatewayKeys::read(reader),
            },
            tls,
        }
    }
}

/// A server with its routes and settings.
pub struct Server {
    settings: ServerSettings,
    services: Services,
    /// Served on a port of their own.
    administration: Services,
    authenticator: Arc<Authenticator>,
    pool: Pool,
    migrator: &'static Migrator,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A server whose ports are open and which does not answer yet.
#[derive(Debug)]
pub struct Bound {
    server: Server,
    listener: TcpListener,
    identity_listener: Option<TcpListener>,
    tls: Option<Arc<ServerTls>>,
    ready: (watch::Sender<bool>, watch::Receiver<bool>),
    admin_stop: oneshot::Sender<()>,
    /// The address of gRPC.
    pub address: SocketAddr,
    /// The address of metrics and health over HTTP.
    pub admin_address: SocketAddr,
    /// Where the administration of credentials listens, if it is served.
    pub identity_address: Option<SocketAddr>,
}

impl Server {
    /// Creates a server of these services. It is ready while its database answers and has the service's
    /// schema.
    #[must_use]
    pub fn new(
        settings: ServerSettings,
        services: Services,
        authenticator: Arc<Authenticator>,
        pool: Pool,
        migrator: &'static Migrator,
    ) -> Self {
        Self { settings, services, administration: Services::default(), authenticator, pool, migrator }
    }

    /// Serves the administration of credentials as well, on its own port. Callers of the service
    /// cannot reach it where that port is closed to them.
    #[must_use]
    pub fn administered_by(self, administration: Services) -> Self {
        Self { administration, ..self }
    }

    /// Opens the ports.
    ///
    /// # Errors
    /// Returns an error if a port is taken or the certificates cannot be used.
    pub async fn bind(self) -> anyhow::Result<Bound> {
        // Registered before the first call, so that the counters start at zero.
        telemetry::metrics_handle();
        let tls = ServerTls::load(&self.settings.tls, tls::LOOKED_AT_EVERY)?.map(Arc::new);
        let listener = listen(self.settings.address).await?;
        let address = listener.local_addr()?;
        let identity_listener = match self.settings.identity_address {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let identity_address = identity_listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let ready = watch::channel(false);
        let (admin_stop, stopped) = oneshot::channel::<()>();
        let stop = async move { drop(stopped.await) };
        let (admin_address, _) = telemetry::serve_admin(self.settings.admin_address, ready.1.clone(), stop).await?;
        let server = self;
        Ok(Bound {
            server,
            listener,
            identity_listener,
            tls,
            ready,
            admin_stop,
            address,
            admin_address,
            identity_address,
        })
    }
}

impl Bound {
    /// Serves until `shutdown` ends, then waits for running calls and closes the pool.
    ///
    /// # Errors
    /// Returns an error if serving fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { server, listener, identity_listener, tls, ready: (ready, _), admin_stop, address, .. } = self;
        let (admin_address, identity_address) = (self.admin_address, self.identity_address);
        let settings = server.settings;
        let health = HealthStates::default();
        let mut names = server.services.names();
        names.extend(server.administration.names());
        let told = Told { health: health.clone(), ready, names };
        let watcher = readiness::watch(settings.service, told.clone(), server.pool.clone(), server.migrator).await;

        let encrypted = tls.is_some();
        let shares = Arc::new(Shares::new(settings.service, settings.limits, server.pool.places()));
        let edge = |connections: usize, per_address: usize| {
            let of_address = Arc::clone(&shares);
            let patience = settings.limits.patience(Some(settings.connection_age));
            let share = move || of_address.of_address();
            Edge::new(settings.service, limits::of_edge(), (connections, per_address), patience, share)
        };
        let main = edge(settings.limits.connections, settings.limits.connections_per_address);
        let levels = tokio::spawn(keep_measuring(shares.levels(settings.service, main.connections())));
        let calls = CallResources {
            service: settings.service,
            limits: settings.limits,
            gzip_from: settings.gzip_from,
            shares: Arc::clone(&shares),
            authenticator: server.authenticator,
        };
        let calls = Arc::new(calls);
        let port = |edge, services: Services| {
            let services = services.with(health.service()).reflected();
            let names = services.names();
            let calls = Calls::new(services.into_routes(), names, Arc::clone(&calls));
            Port { edge, tls: tls.clone(), calls, concurrent_calls: settings.limits.calls }
        };
        let (stop, stopping) = watch::channel(false);
        let mut ports = JoinSet::new();
        ports.spawn(port(main, server.services).serve(listener, stopping.clone()));
        if let Some(listener) = identity_listener {
            let edge = edge(ADMINISTRATORS, ADMINISTRATORS);
            ports.spawn(port(edge, server.administration).serve(listener, stopping));
        }
        let mut serving = tokio::spawn(async move { while ports.join_next().await.is_some() {} });
        let housekeeping = tokio::spawn(forget_old_replies(server.pool.driver().clone()));
        tracing::info!(
            grpc.address = %address,
            admin.address = %admin_address,
            identity.address = identity_address.map(tracing::field::display),
            encrypted,
            "serving"
        );

        tokio::select! {
            () = shutdown => {}
            ended = &mut serving => return Ok(ended?),
        }
        tracing::info!("stopping: not ready any more");
        watcher.abort();
        housekeeping.abort();
        levels.abort();
        told.set(false);
        tokio::time::sleep(settings.drain_notice).await;
        stop.send_replace(true);
        match tokio::time::timeout(settings.drain_limit, &mut serving).await {
            Ok(ended) => ended?,
            Err(_) => {
                tracing::warn!("calls still running at the end of the drain were dropped; nothing of them is stored");
                serving.abort();
            }
        }
        // A dropped call may hold its connection until the process ends; PostgreSQL then rolls its
        // transaction back.
        let _ = tokio::time::timeout(POOL_CLOSE_LIMIT, server.pool.close()).await;
        let _ = admin_stop.send(());
        tracing::info!("stopped");
        Ok(())
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))
}

/// Deletes old replies periodically. Every replica does; `SKIP LOCKED` prevents them from waiting for
/// each other.
async fn forget_old_replies(pool: PgPool) {
    loop {
        tokio::time::sleep(Duration::from_hours(1)).await;
        match idempotency::forget_old(&pool).await {
            Ok(forgotten) => tracing::debug!(forgotten, "old replies forgotten"),
            Err(error) => tracing::warn!(error = %error, "old replies could not be forgotten"),
        }
    }
}

/// Returns a future that ends at SIGTERM (Kubernetes, `kill`) or SIGINT (Ctrl-C).
///
/// # Errors
/// Returns an error if the signal handlers cannot be installed.
pub fn shutdown_signal() -> anyhow::Result<Shutdown> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}

/// A future that ends when the process is to stop.
pub type Shutdown = futures::future::BoxFuture<'static, ()>;
