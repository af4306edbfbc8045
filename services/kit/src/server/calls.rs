//! Around every call: its place in the trace, its deadline, its share of the machine, and
//! what is counted of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use communal_proto::contract::v1::Reason as Common;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, info_span};

use crate::refusal::Refusal;
use crate::trace::TraceContext;

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// tonic itself ends a call at its deadline, on both sides, and says CANCELLED. Ours comes
/// first by a tenth of the time, and by no more than this.
const MOST_AHEAD: Duration = Duration::from_millis(25);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct CallLayer {
    permits: Arc<Semaphore>,
    default_deadline: Duration,
}

impl CallLayer {
    pub(super) fn new(concurrent_calls: usize, default_deadline: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrent_calls.min(Semaphore::MAX_PERMITS))), default_deadline }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls { inner, layer: self.clone() }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let CallLayer { permits, default_deadline } = self.layer.clone();
        Box::pin(async move {
            let trace = TraceContext::of(request.headers());
            let method = request.uri().path().to_owned();
            let span = info_span!("call", rpc.method = method, trace.id = trace.trace_id());
            trace.adopt(&span);
            request.extensions_mut().insert(trace);
            let deadline = deadline(request.headers(), default_deadline);
            let began = Instant::now();
            let answer = async {
                // Probes must be answered truthfully by a busy server, so health needs no permit.
                let permit = if method.starts_with("/grpc.health.") {
                    None
                } else {
                    let Ok(permit) = permits.try_acquire_owned() else {
                        return Status::from(overloaded()).into_http();
                    };
                    Some(permit)
                };
                metrics::gauge!("communal_calls_in_flight").increment(1.0);
                let outcome = tokio::time::timeout(deadline, inner.call(request)).await;
                metrics::gauge!("communal_calls_in_flight").decrement(1.0);
                drop(permit);
                match outcome {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => Status::from(Refusal::new(Common::DeadlineExceeded, "请求处理超时")).into_http(),
                }
            }
            .instrument(span.clone())
            .await;
            count(&method, code_of(answer.headers()), began.elapsed());
            Ok(answer)
        })
    }
}

fn overloaded() -> Refusal {
    Refusal::new(Common::Overloaded, "系统繁忙，请稍后重试").retry_after(Duration::from_secs(1))
}

/// A refusal has its code in the headers; a reply has it in trailers that are still to come.
fn code_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

fn count(method: &str, code: Code, took: Duration) {
    // Paths are the caller's to choose; only those that exist become labels.
    let method = if code == Code::Unimplemented { "unknown".to_owned() } else { method.to_owned() };
    metrics::counter!("communal_calls_total", "method" => method.clone(), "code" => format!("{code:?}")).increment(1);
    metrics::histogram!("communal_call_seconds", "method" => method).record(took);
}

fn deadline(headers: &HeaderMap, default: Duration) -> Duration {
    let asked = headers.get(GRPC_TIMEOUT).and_then(|v| v.to_str().ok()).and_then(parse_timeout);
    asked.map_or(default, |asked| asked.saturating_sub(MOST_AHEAD.min(asked / 10)))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 writes it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        for bad in ["", "m", "123456789m", "-1m", "1s", "1秒"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
