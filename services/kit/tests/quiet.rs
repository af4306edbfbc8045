//! A process that exports no spans makes none: neither its own nor those of the libraries below.
//! Alone in its binary, since the subscriber is the process's.
#![allow(clippy::unwrap_used)]

use communal_kit::telemetry::{self, TelemetrySettings};
use tracing::Level;
use tracing::level_filters::LevelFilter;

#[test]
fn without_a_collector_there_are_lines_and_no_spans() {
    let settings = TelemetrySettings {
        follows_callers: false,
        limits: Default::default(),
        filter: "info,communal_kit=debug".to_owned(),
        json: true,
        otlp_endpoint: String::new(),
        sample_ratio: 1.0,
    };
    let _guard = telemetry::init("test", &settings).unwrap();
    assert!(!telemetry::exporting());
    assert!(tracing::event_enabled!(target: "communal_kit::server", Level::DEBUG));
    assert!(!tracing::event_enabled!(target: "h2", Level::DEBUG));
    // What is below every filter is not even asked about.
    assert_eq!(LevelFilter::current(), LevelFilter::DEBUG);
    for span in [
        tracing::info_span!(target: "communal_kit::server", "call"),
        tracing::error_span!(target: "h2", "connection"),
        tracing::trace_span!(target: "h2", "frame"),
    ] {
        assert!(span.is_disabled(), "{:?} costs something and goes nowhere", span.metadata());
    }
}
