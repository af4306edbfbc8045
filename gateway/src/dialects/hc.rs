//! HC: credentials in headers or URL parameters, answers with `code`, `msg` and `data` or the legacy list shape. `code` is
//! a string, and nearly every refusal is HTTP 200 with "404".

use std::borrow::Cow;

use bytes::Bytes;
use communal_kit::identity::signature;
use communal_kit::identity::vouching::SIGNATURE_STATES;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::{Answer, Forwarded, NotDispatched, Prepared};
use crate::encoding::json::push_json_text;
use crate::json::{Defect, Input, Output, Strictness};
use crate::plan::{Plans, Route};
use crate::refused_call::{Class, RefusedCall};

/// Most characters of an unknown code that the answer repeats.
const LONGEST_ECHO: usize = 200;

/// The cookie in which HC's web page keeps the operator's token.
const TOKEN_COOKIE: &str = "_java110_token_";

/// A header that may also be a URL parameter, with its metadata key.
struct Credential {
    header: &'static str,
    underscored: &'static str,
    metadata: &'static str,
    /// True if the documents require it in every call, independent of the app.
    required: bool,
}

const APP: Credential =
    Credential { header: "app-id", underscored: "app_id", metadata: "x-channel-id", required: false };
const REQUEST: Credential =
    Credential { header: "transaction-id", underscored: "transaction_id", metadata: "idempotency-key", required: true };
const TIME: Credential =
    Credential { header: "req-time", underscored: "req_time", metadata: "x-request-time", required: true };
const SIGN: Credential = Credential { header: "sign", underscored: "sign", metadata: "x-signature", required: false };
const CREDENTIALS: [&Credential; 4] = [&APP, &REQUEST, &TIME, &SIGN];

/// The documented path with and without `/app`, dotted and slashed, whichever of them is documented.
pub(super) fn paths(route: &Route) -> Vec<String> {
    let (slashed, dotted) = (route.name.replace('.', "/"), route.name.replace('/', "."));
    let mut paths = Vec::new();
    for name in [route.name.clone(), slashed, dotted] {
        for path in [format!("/app/{name}"), format!("/{name}")] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths
}

pub(super) fn prepare(plans: &Plans, route: &Route, head: &Parts, body: &Bytes) -> Result<Prepared, NotDispatched> {
    let query = head.uri.query().unwrap_or_default();
    let parameters = Parameters::read(query);
    let mut forwarded = Forwarded::default();
    for credential in CREDENTIALS {
        let value = credential.value(&head.headers, &parameters)?;
        // The documents require an id and a time, but the service does not require them of direct gRPC callers. A missing
        // one is therefore sent as an empty text, which the service refuses.
        if credential.required || !value.is_empty() {
            forwarded.text(credential.metadata, &value);
        }
    }
    match token_of_page(&head.headers)? {
        Some(token) => forwarded.token(&token),
        None => forwarded.header("authorization", &head.headers)?,
    }
    // The id that is signed decides what is carried out once; another one beside it would not be covered.
    let of = |credential: &Credential| credential.value(&head.headers, &parameters);
    let id = of(&REQUEST)?;
    if head.headers.get_all(REQUEST.metadata).iter().any(|other| other.as_bytes() != id.as_bytes()) {
        return Err(NotDispatched::RequestIdContradicts(REQUEST.metadata));
    }
    if !of(&SIGN)?.is_empty() {
        let (time, app) = (of(&TIME)?, of(&APP)?);
        for payload in payloads(route, query, body) {
            forwarded.bytes(SIGNATURE_STATES, &signature::state(&id, &time, &app, &payload));
        }
    }
    let mut input = Input::new(plans, Strictness::Lenient, body.len() / 2);
    if route.verb == Method::GET {
        input.parameters(route.input, parameters.own.into_iter());
    } else if !body.is_empty() {
        // A missing body is an empty message; the service reports the missing fields.
        input.body(route.input, body, None)?;
    }
    Prepared::new(input, forwarded)
}

impl Credential {
    fn is_named(&self, parameter: &str) -> bool {
        [self.header, self.underscored].iter().any(|name| name.eq_ignore_ascii_case(parameter))
    }

    /// Returns the one value that headers and parameters give, or an empty text.
    ///
    /// # Errors
    /// Returns `CredentialContradicts` if they give two. A proxy that reads the other one would see another caller than
    /// the service.
    fn value<'v>(&self, headers: &'v HeaderMap, parameters: &'v Parameters<'_>) -> Result<Cow<'v, str>, NotDispatched> {
        let headers = [self.header, self.underscored].into_iter().flat_map(|name| headers.get_all(name));
        let headers = headers.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let parameters = parameters.credentials.iter().filter(|(key, _)| self.is_named(key));
        let parameters = parameters.map(|(_, value)| Cow::Borrowed(value.as_ref()));
        let mut values = headers.chain(parameters).filter(|value| !value.is_empty());
        let Some(first) = values.next() else { return Ok(Cow::default()) };
        if values.all(|value| value == first) {
            Ok(first)
        } else {
            Err(NotDispatched::CredentialContradicts(self.header))
        }
    }
}

/// Returns the token of HC's web page, if the call has no other. A browser sends a cookie with requests of foreign pages
/// too, but none of them can set the headers that must come with it: an app and a request id in the URL do not count.
///
/// # Errors
/// Returns `CredentialContradicts` if there are two tokens.
fn token_of_page(headers: &HeaderMap) -> Result<Option<String>, NotDispatched> {
    let in_header = |credential: &Credential| {
        [credential.header, credential.underscored].iter().any(|name| headers.get(*name).is_some_and(|v| !v.is_empty()))
    };
    if headers.contains_key(AUTHORIZATION) || !in_header(&APP) || !in_header(&REQUEST) {
        return Ok(None);
    }
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(TOKEN_COOKIE)?.strip_prefix('='))
        .filter(|token| !token.is_empty());
    let first = tokens.next();
    if tokens.any(|other| Some(other) != first) {
        return Err(NotDispatched::CredentialContradicts(TOKEN_COOKIE));
    }
    Ok(first.map(str::to_owned))
}

type Parameter<'q> = (Cow<'q, str>, Cow<'q, str>);

/// URL parameters, split into credentials and payload.
struct Parameters<'q> {
    credentials: Vec<Parameter<'q>>,
    /// The parameters of the message.
    own: Vec<Parameter<'q>>,
}

impl<'q> Parameters<'q> {
    fn read(query: &'q str) -> Self {
        let all = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        });
        let (credentials, own) =
            all.partition(|(key, _)| CREDENTIALS.iter().any(|credential| credential.is_named(key)));
        Self { credentials, own }
    }
}

/// Percent-decodes a text; `+` is a space. Invalid UTF-8 becomes U+FFFD, which no documented value contains.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Returns the payloads over which a signature may have been made. The documents say the query string; their server
/// decodes it and puts `?` before it, their client does neither. A signature that is itself a parameter is not a part of
/// the payload.
fn payloads<'r>(route: &Route, query: &'r str, body: &'r Bytes) -> Vec<Cow<'r, [u8]>> {
    if route.verb != Method::GET {
        return vec![Cow::Borrowed(body)];
    }
    let is_sign = |pair: &&str| SIGN.is_named(pair.split('=').next().unwrap_or_default());
    let signed = if query.split('&').any(|pair| is_sign(&pair)) {
        Cow::Owned(query.split('&').filter(|pair| !is_sign(pair)).collect::<Vec<_>>().join("&"))
    } else {
        Cow::Borrowed(query)
    };
    let mut forms = vec![signed.to_string()];
    let plain = decoded(&signed).into_owned();
    if plain != forms[0] {
        forms.push(plain);
    }
    forms.into_iter().flat_map(|form| [format!("?{form}"), form]).map(|form| Cow::Owned(form.into_bytes())).collect()
}

pub(super) fn success(plans: &Plans, route: &Route, reply: &[u8]) -> Result<Answer, Defect> {
    let mut output = Output::new(plans, Vec::with_capacity(reply.len() * 2 + 64));
    output.raw(r#"{"code":"0","msg":"成功""#);
    if plans.message(route.output).fields.is_empty() {
        output.raw(r#","data":null"#);
    } else {
        output.fields(route.output, reply)?;
    }
    output.raw("}");
    Ok(Answer::new(StatusCode::OK, output.into_bytes(), "0"))
}

pub(super) fn refused(refusal: &RefusedCall) -> Answer {
    let status = match refusal.class {
        Class::Business => StatusCode::OK,
        Class::Unauthenticated => StatusCode::UNAUTHORIZED,
        Class::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    envelope(status, &refusal.codes.hc, &refusal.message)
}

pub(super) fn not_dispatched(not_dispatched: &NotDispatched) -> Answer {
    match not_dispatched {
        NotDispatched::Unknown(path) => {
            let code = path.strip_prefix("/app").unwrap_or(path).trim_start_matches('/');
            let code = code.chars().take(LONGEST_ECHO).collect::<String>();
            let message = format!("鉴权失败：AppId 没有权限访问 serviceCode = {code}");
            envelope(StatusCode::NOT_FOUND, "404", &message)
        }
        NotDispatched::WrongMethod { name, used, .. } => {
            let message = format!("服务【{name}】调用方式不对请检查,当前请求方式为：{used}");
            envelope(StatusCode::OK, "404", &message)
        }
        other => envelope(other.status(), other.status().as_str(), &other.message()),
    }
}

fn envelope(status: StatusCode, code: &str, message: &str) -> Answer {
    let mut body = br#"{"code":"#.to_vec();
    push_json_text(&mut body, code);
    body.extend_from_slice(br#","msg":"#);
    push_json_text(&mut body, message);
    body.extend_from_slice(br#","data":null}"#);
    Answer::new(status, body, code)
}
