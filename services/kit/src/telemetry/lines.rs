//! The format of log lines: time, level, message, fields, and the call they belong to.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::boundary::Boundary;
use crate::sandbox::Sandbox;

/// Text lines for people: time, level, call, message and fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pretty;

/// One JSON object a line: the fields stand beside the message, the call stands under `span`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        SystemTime.format_time(&mut out)?;
        if out.has_ansi_escapes() {
            let colour = match level {
                Level::ERROR => 31,
                Level::WARN => 33,
                Level::INFO => 32,
                Level::DEBUG => 34,
                _ => 35,
            };
            write!(out, " \u{1b}[{colour}m{level:>5}\u{1b}[0m ")?;
        } else {
            write!(out, " {level:>5} ")?;
        }
        if let Some(time) = sandbox_time() {
            write!(out, "[sandbox {time}] ")?;
        }
        if let Some(call) = Boundary::current() {
            let mut fields = Vec::new();
            call.fields(|name, value| fields.push(format!("{name}={value}")));
            write!(out, "{{{}}} ", fields.join(" "))?;
        }
        context.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Fields(Map::new());
        line.0.insert("timestamp".to_owned(), time.into());
        line.0.insert("level".to_owned(), event.metadata().level().as_str().into());
        if let Some(time) = sandbox_time() {
            line.0.insert("sandbox.time".to_owned(), time.into());
        }
        event.record(&mut line);
        line.0.insert("target".to_owned(), event.metadata().target().into());
        if let Some(call) = Boundary::current() {
            let mut span = Map::new();
            call.fields(|name, value| drop(span.insert(name.to_owned(), value.into())));
            line.0.insert("span".to_owned(), span.into());
        }
        writeln!(out, "{}", Value::Object(line.0))
    }
}

/// Returns the business time of a process with a sandbox clock: no line of it is mistaken for one of real business.
fn sandbox_time() -> Option<String> {
    Sandbox::of_process()?.local()
}

/// The fields of an event by name.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::boundary::Operation;
    use crate::telemetry::trace::TraceContext;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Kept {
        type Writer = Self;

        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    fn written<L>(layer: impl FnOnce(Kept) -> L, work: impl FnOnce()) -> String
    where
        L: tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync,
    {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(kept.clone())), work);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn call() -> Boundary {
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        Boundary { service: "billing", operation: Operation::Rpc("/a.B/C"), trace, edge_id: None, lanes: None }
    }

    #[test]
    fn a_json_line_has_its_fields_and_the_call_it_belongs_to() {
        let json = |kept| tracing_subscriber::fmt::layer().event_format(Json).with_writer(kept);
        let text = written(json, || {
            call().during(|| tracing::warn!(rows = 3, late = true, cause = ?Some("x"), "slow \"one\""));
            tracing::info!("outside");
        });
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["message"], "slow \"one\"");
        assert_eq!((&lines[0]["rows"], &lines[0]["late"]), (&3.into(), &true.into()));
        assert_eq!(lines[0]["cause"], "Some(\"x\")");
        assert_eq!(lines[0]["span"]["trace.id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(lines[0]["span"]["rpc.method"], "/a.B/C");
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[1].get("span"), None, "a line outside of any call names none");
    }

    #[test]
    fn a_line_for_people_has_the_same() {
        let pretty = |kept| tracing_subscriber::fmt::layer().event_format(Pretty).with_writer(kept).with_ansi(false);
        let text = written(pretty, || call().during(|| tracing::error!(rows = 3, "slow")));
        let expected =
            "ERROR {service=billing rpc.method=/a.B/C trace.id=0af7651916cd43dd8448eb211c80319c} slow rows=3\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
