//! EPEIS: credentials in the block `SYS_HEAD` of the body, answers with `CODE`, `MESSAGE` and `DATA`. A refusal by the
//! service is HTTP 200 with its CODE; an invalid request and a failed call have an HTTP status of their own.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use super::{Answer, Forwarded, NotDispatched, Prepared};
use crate::encoding::json::push_json_text;
use crate::json::{Block, Defect, Input, Output, Strictness};
use crate::plan::{Plans, Route};
use crate::refused_call::{Class, RefusedCall};

/// The block of credentials.
pub(crate) const HEAD: &str = "SYS_HEAD";
/// Its fields with their documented lengths.
pub(crate) const HEAD_FIELDS: &[(&str, usize)] =
    &[("CHANNEL_DID", 16), ("DYNAMIC_KEY", 64), ("REGISTER_DID", 16), ("ACCOUNT_DID", 16)];
/// The metadata keys of these fields.
const METADATA: [&str; 4] = ["x-channel-id", "x-channel-key", "x-operator-id", "x-tenant-id"];

/// Undocumented headers that are passed to the service unchanged: the request id, and the greatest age of the answer.
const REQUEST_ID: &str = "idempotency-key";
const GREATEST_AGE: &str = "x-max-staleness-ms";

pub(super) fn paths(route: &Route) -> Vec<String> {
    vec![route.path.trim_end_matches('/').to_owned()]
}

pub(super) fn prepare(plans: &Plans, route: &Route, head: &Parts, body: &Bytes) -> Result<Prepared, NotDispatched> {
    let mut block = Block::new(HEAD, HEAD_FIELDS);
    let mut input = Input::new(plans, Strictness::Strict, body.len() / 2);
    input.body(route.input, body, Some(&mut block))?;
    let mut forwarded = Forwarded::default();
    for (key, value) in METADATA.into_iter().zip(block.into_values()) {
        if let Some(value) = value {
            forwarded.text(key, &value);
        }
    }
    forwarded.header(REQUEST_ID, &head.headers).map_err(|_| NotDispatched::RequestIdContradicts(REQUEST_ID))?;
    forwarded.header(GREATEST_AGE, &head.headers)?;
    Prepared::new(input, forwarded)
}

pub(super) fn success(plans: &Plans, route: &Route, reply: &[u8]) -> Result<Answer, Defect> {
    let mut output = Output::new(plans, Vec::with_capacity(reply.len() * 2 + 64));
    output.raw(r#"{"CODE":0,"MESSAGE":"成功","DATA":"#);
    output.object(route.output, reply)?;
    output.raw("}");
    Ok(Answer::new(StatusCode::OK, output.into_bytes(), "0"))
}

pub(super) fn refused(refusal: &RefusedCall) -> Answer {
    let status = match refusal.class {
        Class::Business | Class::Unauthenticated => StatusCode::OK,
        Class::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    envelope(status, refusal.codes.epeis, &refusal.message)
}

pub(super) fn not_dispatched(not_dispatched: &NotDispatched) -> Answer {
    let status = not_dispatched.status();
    envelope(status, i32::from(status.as_u16()), &not_dispatched.message())
}

fn envelope(status: StatusCode, code: i32, message: &str) -> Answer {
    let code = code.to_string();
    let mut body = format!(r#"{{"CODE":{code},"MESSAGE":"#).into_bytes();
    push_json_text(&mut body, message);
    body.extend_from_slice(br#","DATA":{}}"#);
    Answer::new(status, body, code)
}
