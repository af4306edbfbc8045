//! Logs, traces and metrics of a process.
//!
//! Logs go to standard error, as JSON or for people; spans go to an OTLP collector where one
//! is configured; metrics are kept in the process and read from the admin port. None of the
//! three ever has a key, a token, a name or any other value of a request.

pub mod boundary;
mod driver;
mod lines;
mod measures;
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

pub use measures::{metrics_handle, serve_admin};
pub use refusals::{LIMITS, TelemetryLimits, refusal_is_a_line};
use trace::Identifiers;

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
    /// What is written at most.
    pub limits: TelemetryLimits,
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
        Self {
            filter,
            json: format == "json",
            otlp_endpoint: reader.text("otlp_endpoint", ""),
            sample_ratio,
            limits: TelemetryLimits::read(reader),
        }
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

/// Which new traces are exported; empty where no spans are.
static EXPORTED: OnceLock<Sampler> = OnceLock::new();

/// Whether this process exports spans. Where not, what only they need is not worth computing.
#[must_use]
pub fn exporting() -> bool {
    EXPORTED.get().is_some()
}

/// Whether a trace that begins here is exported. Decided by its identity, before any span of it
/// is made. A process that exports nothing leaves it to those it calls.
pub(crate) fn samples(trace_id: u128) -> bool {
    EXPORTED.get().is_none_or(|sampler| {
        let result = sampler.should_sample(None, TraceId::from(trace_id), "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    })
}

/// Starts logging and exporting.
///
/// # Errors
/// Where the collector's address cannot be used or a subscriber is installed already.
pub fn init(service: &'static str, settings: &TelemetrySettings) -> anyhow::Result<Guard> {
    metrics_handle();
    refusals::set(&settings.limits);
    let provider = exporter(service, settings)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines =
        if settings.json { lines.event_format(lines::Json).boxed() } else { lines.event_format(lines::Pretty).boxed() };
    // Lines tell of their call by themselves: no span is opened for them. The hint keeps what is
    // below the filter's level from being asked about at all.
    let is_event = filter_fn(|line: &Metadata<'_>| line.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let lines = lines.with_filter(EnvFilter::try_new(&settings.filter)?.and(is_event));
    let registry = tracing_subscriber::registry().with(lines);
    match &provider {
        // Not a layer that may be absent: an absent one has no filter, and so wants every span
        // of every library below.
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

/// Spans of this product. Those of the libraries below are not exported: the exporter's own
/// calls among them would be traced, and exported, and traced again.
fn our_spans() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|span: &Metadata<'_>| span.is_span() && span.target().starts_with("communal"))
        .with_max_level_hint(LevelFilter::INFO)
}

/// A panic is a line like others. Its message may have a value of the request in it, so it
/// says only where it happened.
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
