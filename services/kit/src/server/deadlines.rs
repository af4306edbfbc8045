//! The deadlines of a call: the caller's, within the limits of the service.

use std::time::Duration;

use communal_proto::Fault;
use communal_proto::contract::v1::FaultKind;
use http::HeaderMap;

use super::limits::ServerLimits;
use super::methods::Method;
use crate::refusal::Refusal;

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// tonic's clients end a call themselves at its deadline and report CANCELLED. The server's answer is
/// earlier by a tenth of the time, and by no more than this.
const MOST_AHEAD: Duration = Duration::from_millis(100);

/// The time limits of a call.
pub(super) struct Deadlines {
    /// The time until it is answered, or until its stream of answers begins.
    pub(super) answer: Duration,
    /// The time until its stream of answers has ended.
    pub(super) stream: Duration,
}

impl Deadlines {
    /// Reads the caller's deadline. One that is not written as gRPC writes it is refused: its caller would
    /// wait longer than it believes.
    pub(super) fn of(headers: &HeaderMap, method: Method, limits: &ServerLimits) -> (Self, Option<Refusal>) {
        let text = headers.get(GRPC_TIMEOUT);
        let asked = text.and_then(|value| value.to_str().ok()).and_then(parse_timeout);
        let refusal = (text.is_some() && asked.is_none()).then(malformed);
        let asked = asked.map(|asked| asked.saturating_sub(MOST_AHEAD.min(asked / 10)));
        let longest =
            if method.shape.streams || method.shape.uploads { limits.longest_stream } else { limits.longest_call };
        let answer = asked.unwrap_or(limits.deadline).min(longest);
        (Self { answer, stream: asked.map_or(longest, |asked| asked.min(longest)) }, refusal)
    }
}

fn malformed() -> Refusal {
    let description = "is not one to eight digits with a unit (H, M, S, m, u, n)";
    let text = format!("请求头{GRPC_TIMEOUT}格式不正确，应为1至8位数字加单位");
    Refusal::for_faults(vec![Fault {
        field: GRPC_TIMEOUT.into(),
        kind: FaultKind::Format,
        description: description.into(),
        text,
    }])
}

/// Parses at most eight digits and a unit, the form of gRPC over HTTP/2.
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
    #![allow(clippy::unwrap_used)]
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_caller_may_ask_for_less_time_and_not_for_more() {
        let limits = ServerLimits::default();
        let given = |asked: &str, path: &str| {
            let mut headers = HeaderMap::new();
            if let Ok(asked) = asked.parse() {
                headers.insert(GRPC_TIMEOUT, asked);
            }
            let deadlines = Deadlines::of(&headers, Method::of(path), &limits).0;
            (deadlines.answer, deadlines.stream)
        };
        let unary = "/communal.billing.v1.ReceivableService/QueryUserArrearages";
        let stream = "/communal.billing.v1.ReceivableService/StreamUserArrearages";
        assert_eq!(given("1S", unary).0, Duration::from_millis(900));
        assert_eq!(given("99999999H", unary).0, limits.longest_call);
        assert_eq!(given("99999999H", stream), (limits.longest_stream, limits.longest_stream));
        assert_eq!(given("\u{1}", stream), (limits.deadline, limits.longest_stream));
        let headers = HeaderMap::from_iter([(HeaderName::from_static(GRPC_TIMEOUT), HeaderValue::from_static("1s"))]);
        let refused = Deadlines::of(&headers, Method::of(unary), &limits).1.unwrap();
        assert_eq!(refused.fields().map(ToString::to_string).collect::<Vec<_>>(), [GRPC_TIMEOUT]);
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        for bad in ["", "m", "123456789m", "-1m", "1s", "1秒"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
