//! The metrics of a process, and the admin port that serves them.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

use crate::limits;

/// Upper bounds in seconds, from a cached read to a long import.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Upper bounds in lines of an answer, up to the caps.
const LINE_BUCKETS: [f64; 7] = [0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];

/// The interval at which observations are sorted into buckets. Without it, a process that no Prometheus
/// scrapes would keep every single observation.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Returns the process's metrics, which all servers in the process share, or `None` if another recorder
/// is installed.
pub fn metrics_handle() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            // Fails if another recorder is installed; then that one has the metrics.
            let handle = builder().and_then(PrometheusBuilder::install_recorder).ok();
            describe();
            handle
        })
        .as_ref()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_lines".into()), &LINE_BUCKETS)
}

/// Describes the metrics that every process has. A counter without labels is registered with zero, so
/// that its first increment is visible as one.
fn describe() {
    describe_gauge!("communal_build_info", "Version of the running binary; always 1");
    metrics::gauge!("communal_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    describe_counter!("communal_calls_total", "gRPC calls answered, by method and gRPC code");
    describe_histogram!("communal_call_seconds", Unit::Seconds, "Time until a gRPC call is answered");
    describe_counter!(
        "communal_streams_ended_total",
        "Streams of replies that ended, by method and final gRPC code; Cancelled is a client that went away"
    );
    describe_gauge!("communal_calls_in_flight", "gRPC calls being carried out");
    describe_gauge!("communal_database_connections", "Connections of a service's pool, by state");
    describe_gauge!(
        "communal_clock_offset_seconds",
        Unit::Seconds,
        "Distance between the clock of the process and the clock of its database"
    );
    describe_histogram!(
        "communal_database_acquire_seconds",
        Unit::Seconds,
        "Time until a database connection was free"
    );
    describe_counter!("communal_database_acquire_timeouts_total", "Times no database connection was free in time");
    describe_histogram!("communal_statement_seconds", Unit::Seconds, "Time of a statement, by its name");
    describe_counter!(
        "communal_transaction_retries_total",
        "Transactions tried again because the database resolved a conflict"
    );
    describe_counter!("communal_idempotent_replays_total", "Repeated requests answered as before, by method");
    describe_counter!("communal_refused_credentials_total", "Calls refused for their credentials, by reason");
    limits::describe_metrics();
    metrics::counter!("communal_transaction_retries_total").increment(0);
    metrics::counter!("communal_database_acquire_timeouts_total").increment(0);
}

/// Serves `/metrics`, `/healthz` (the process runs) and `/readyz` (the process accepts requests) until
/// `stop` ends.
///
/// # Errors
/// Returns an error if the address cannot be bound.
pub async fn serve_admin(
    address: SocketAddr,
    ready: watch::Receiver<bool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address} (admin port): {error}"))?;
    let bound = listener.local_addr()?;
    let readiness = move || {
        let ready = *ready.borrow();
        async move { if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") } }
    };
    let routes = Router::new()
        .route("/metrics", get(|| async { metrics_handle().map(PrometheusHandle::render).unwrap_or_default() }))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readiness));
    let task = tokio::spawn(async move {
        let serving = axum::serve(listener, routes).with_graceful_shutdown(stop).into_future();
        tokio::select! {
            outcome = serving => if let Err(error) = outcome {
                tracing::error!(error = %error, "admin port failed");
            },
            () = upkeep() => {}
        }
    });
    Ok((bound, task))
}

/// Sorts observations into buckets periodically, forever.
async fn upkeep() {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        if let Some(handle) = metrics_handle() {
            handle.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_metric_is_rendered_with_its_help() {
        let handle = super::metrics_handle();
        metrics::histogram!("communal_statement_seconds", "statement" => "one").record(0.002);
        let text = handle.map(metrics_exporter_prometheus::PrometheusHandle::render).unwrap_or_default();
        assert!(text.contains("# HELP communal_statement_seconds "), "{text}");
        assert!(text.contains("communal_statement_seconds_bucket{statement=\"one\",le=\"0.0025\"} 1"), "{text}");
        assert!(text.contains("communal_transaction_retries_total 0"), "{text}");
    }
}
