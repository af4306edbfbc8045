//! What only the database driver knows: how many rows a statement answered or changed. It says
//! so in events of its own; these are read here and go no further, so that no statement has to
//! be wrapped for it.

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

const QUERY: &str = "sqlx::query";

/// Which events of the driver are read. They cost a copy of the statement's text, which is only
/// worth it where there is a span to put the rows into.
pub(super) fn read() -> Targets {
    Targets::new().with_target(QUERY, LevelFilter::DEBUG)
}

/// See the module.
#[derive(Debug)]
pub(super) struct DriverLayer;

impl<S: Subscriber> Layer<S> for DriverLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        // The span that `named` opened around the statement; others have no such field.
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
