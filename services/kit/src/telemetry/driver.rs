//! Row counts of statements, which only the database driver knows. The driver reports them in events;
//! this layer records them in the statement's span and drops the events, so that statements need no
//! wrapper.

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

const QUERY: &str = "sqlx::query";

/// Returns the filter for the driver's events. Each event copies the statement's text, so the filter is
/// installed only if spans are exported.
pub(super) fn read() -> Targets {
    Targets::new().with_target(QUERY, LevelFilter::DEBUG)
}

/// A layer that records row counts in the span of the statement.
#[derive(Debug)]
pub(super) struct DriverLayer;

impl<S: Subscriber> Layer<S> for DriverLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        // `named` opened this span around the statement; other spans do not have these fields.
        let span = Span::current();
        span.record("db.response.returned_rows", seen.returned);
        span.record("db.response.affected_rows", seen.affected);
    }
}

#[derive(Default)]
struct Seen {
    returned: u64,
    affected: u64,
}

impl Visit for Seen {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows_returned" => self.returned = value,
            "rows_affected" => self.affected = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
