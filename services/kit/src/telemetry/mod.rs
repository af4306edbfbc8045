//! Logs, traces and metrics of a process.
//!
//! Logs go to standard error, as JSON or as text. Spans go to an OTLP collector if one is configured.
//! Metrics are kept in the process and are read from the admin port. None of the three contains a key,
//! a token, a name or any other value of a request.

pub mod boundary;
mod driver;
pub mod lane;
mod lines;
mod metrics;
mod refusals;
pub mod trace;

use std::sync::OnceLock;

use opentelemetry::trace::{SpanKind, TraceId, TracerProvider as _};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SdkTracerProvider, ShouldSample as _};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::Reader;

pub use metrics::{metrics_handle, serve_admin};
pub use refusals::{LIMITS, TelemetryLimits, refusal_is_a_line};
use trace::Identifiers;

/// The settings of logs, traces and metrics.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// The filter of log lines, in the syntax of `tracing`.
    pub filter: String,
    /// True for JSON lines, false for text lines.
    pub json: bool,
    /// The address of the OTLP collector (gRPC); empty if there is none.
    pub otlp_endpoint: String,
    /// The share of new traces that are exported, 0 to 1. A trace that is continued keeps the decision
    /// of where it began.
    pub sample_ratio: f64,
    /// True if the trace of every caller is continued, false if only a gateway's is.
    pub follows_callers: bool,
    /// The limits of telemetry.
    pub limits: TelemetryLimits,
}

impl TelemetrySettings {
    /// Reads `COMMUNAL_LOG`, `COMMUNAL_LOG_FORMAT`, `COMMUNAL_OTLP_ENDPOINT`, `COMMUNAL_TRACE_RATIO` and
    /// `COMMUNAL_TRACE_CALLERS`.
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
        let callers = reader.text("trace_callers", "linked");
        if callers != "linked" && callers != "followed" {
            reader.fault("trace_callers", "must be linked or followed");
        }
        Self {
            filter,
            follows_callers: callers == "followed",
            json: format == "json",
            otlp_endpoint: reader.text("otlp_endpoint", ""),
            sample_ratio,
            limits: TelemetryLimits::read(reader),
        }
    }
}

/// Keeps telemetry alive; [`Guard::shutdown`] exports the remaining spans.
#[derive(Debug, Default)]
#[must_use = "spans are lost when this is dropped before the process ends"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Exports the remaining spans. Blocks until the collector has answered, so it runs on a thread
    /// that may block, as the last step of a process.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(error = %error, "some spans were not exported");
        }
    }
}

/// The sampler of new traces; empty if no spans are exported.
static EXPORTED: OnceLock<Sampler> = OnceLock::new();

/// Whether the trace of every caller is continued; empty in a process without telemetry.
static FOLLOWED: OnceLock<bool> = OnceLock::new();

/// Returns whether the trace of every caller is continued.
pub(crate) fn follows_callers() -> bool {
    FOLLOWED.get().is_some_and(|followed| *followed)
}

/// Returns whether this process exports spans. If not, values that only spans need are not computed.
#[must_use]
pub fn exporting() -> bool {
    EXPORTED.get().is_some()
}

/// Returns whether a new trace is exported. The trace id decides before the first span exists. A
/// process that exports nothing leaves the decision to the processes it calls.
pub(crate) fn samples(trace_id: u128) -> bool {
    EXPORTED.get().is_none_or(|sampler| {
        let result = sampler.should_sample(None, TraceId::from(trace_id), "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    })
}

/// Starts logging, and exporting of spans if a collector is configured.
///
/// # Errors
/// Returns an error if the collector's address is invalid or a subscriber is installed already.
pub fn init(service: &'static str, settings: &TelemetrySettings) -> anyhow::Result<Guard> {
    metrics_handle();
    refusals::set(&settings.limits);
    let _ = FOLLOWED.set(settings.follows_callers);
    let provider = exporter(service, settings)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines =
        if settings.json { lines.event_format(lines::Json).boxed() } else { lines.event_format(lines::Pretty).boxed() };
    // Log lines take the call from the task, so they need no spans. The hint lets `tracing` skip
    // everything below the filter's level without asking.
    let is_event = filter_fn(|line: &Metadata<'_>| line.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let lines = lines.with_filter(EnvFilter::try_new(&settings.filter)?.and(is_event));
    let registry = tracing_subscriber::registry().with(lines);
    match &provider {
        // The exporter's layer is added only if there is an exporter: an `Option` that is `None` has no
        // filter and would enable every span of every library.
        None => registry.try_init()?,
        Some(provider) => {
            let spans = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("communal"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_target(false)
                .with_filter(our_spans());
            registry.with(spans).with(driver::DriverLayer.with_filter(driver::read())).try_init()?;
            let _ = EXPORTED.set(Sampler::TraceIdRatioBased(settings.sample_ratio));
        }
    }
    log_panics();
    Ok(Guard { provider })
}

/// Returns the filter for spans of this product. Spans of libraries are not exported: the exporter's
/// own calls would be traced, exported and traced again.
fn our_spans() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|span: &Metadata<'_>| span.is_span() && span.target().starts_with("communal"))
        .with_max_level_hint(LevelFilter::INFO)
}

/// Logs panics like other errors. A panic's message can contain a value of the request, so the line has
/// only the location.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.location = place, "panicked");
    }));
}

fn exporter(service: &'static str, settings: &TelemetrySettings) -> anyhow::Result<Option<SdkTracerProvider>> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(&settings.otlp_endpoint).build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    let resource = Resource::builder().with_service_name(service);
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_id_generator(Identifiers)
            .with_resource(resource.with_attribute(version).build())
            .build(),
    ))
}
