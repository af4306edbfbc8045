//! Logs, traces and metrics of a process.
//!
//! Logs go to standard error, as JSON or for people; spans go to an OTLP collector where one
//! is configured; metrics are kept in the process and read from the admin port.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::Reader;

/// How a process tells what it does.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// Filter of log lines, as `tracing` writes it.
    pub filter: String,
    /// JSON lines instead of lines for people.
    pub json: bool,
    /// OTLP collector (gRPC); empty for none.
    pub otlp_endpoint: String,
    /// Share of new traces that are exported, 0 to 1; a caller's decision is followed.
    pub sample_ratio: f64,
}

impl TelemetrySettings {
    /// `COMMUNAL_LOG`, `COMMUNAL_LOG_FORMAT`, `COMMUNAL_OTLP_ENDPOINT`, `COMMUNAL_TRACE_RATIO`.
    pub fn read(reader: &mut Reader) -> Self {
        let filter = reader.text("log", "info");
        if let Err(error) = EnvFilter::try_new(&filter) {
            reader.fault("log", error);
        }
        let format = reader.text("log_format", "pretty");
        if format != "json" && format != "pretty" {
            reader.fault("log_format", "must be json or pretty");
        }
        let sample_ratio = reader.parsed("trace_ratio", 1.0);
        if !(0.0..=1.0).contains(&sample_ratio) {
            reader.fault("trace_ratio", "must be between 0 and 1");
        }
        Self { filter, json: format == "json", otlp_endpoint: reader.text("otlp_endpoint", ""), sample_ratio }
    }
}

/// Keeps telemetry alive; flushes what is pending when told to.
#[derive(Debug, Default)]
#[must_use = "spans are lost when this is dropped before the process ends"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what is pending. Blocks for as long as the collector takes, so it runs where
    /// blocking is allowed, and last of all.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(error = %error, "some spans were not exported");
        }
    }
}

/// Starts logging and exporting.
///
/// # Errors
/// Where the collector's address cannot be used or a subscriber is installed already.
pub fn init(service: &'static str, settings: &TelemetrySettings) -> anyhow::Result<Guard> {
    metrics_handle();
    let provider = exporter(service, settings)?;
    // The exporter's own calls must not be traced, or it would export itself.
    let spans = provider.as_ref().map(|p| {
        tracing_opentelemetry::layer()
            .with_tracer(p.tracer("communal"))
            .with_filter(EnvFilter::new("info,h2=off,hyper=off,tonic=off,tower=off"))
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if settings.json { lines.json().flatten_event(true).boxed() } else { lines.with_target(false).boxed() };
    tracing_subscriber::registry()
        .with(lines.with_filter(EnvFilter::try_new(&settings.filter)?))
        .with(spans)
        .try_init()?;
    Ok(Guard { provider })
}

fn exporter(service: &'static str, settings: &TelemetrySettings) -> anyhow::Result<Option<SdkTracerProvider>> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(&settings.otlp_endpoint).build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(Resource::builder().with_service_name(service).build())
            .build(),
    ))
}

/// Seconds, from a cached read to a long import.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The process's metrics. Several servers in one process share them.
pub fn metrics_handle() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder =
                PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS);
            // Fails where another recorder is installed; then that one has the metrics.
            let handle = builder.and_then(PrometheusBuilder::install_recorder).ok();
            metrics::gauge!("communal_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            handle
        })
        .as_ref()
}

/// Serves `/metrics`, `/healthz` (the process runs) and `/readyz` (it should get requests)
/// until the future `stop` ends.
///
/// # Errors
/// Where the address cannot be bound.
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
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
            tracing::error!(error = %error, "admin port failed");
        }
    });
    Ok((bound, task))
}
