//! The two families of REST shapes. Their differences are written here by hand: the place of credentials, the envelope,
//! and the form of a refusal. The shapes themselves come from the plans.

mod epeis;
mod hc;
mod metadata;

use bytes::Bytes;
use communal_proto::contract::v1::Dialect;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tonic::metadata::MetadataMap;

pub(crate) use epeis::{HEAD as EPEIS_HEAD, HEAD_FIELDS as EPEIS_HEAD_FIELDS};
use metadata::Forwarded;

use crate::json::{Defect, Input, Malformed, UnknownKeys};
use crate::plan::{Plans, Route};
use crate::refused_call::RefusedCall;

/// A request, ready to be sent to its service.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) metadata: MetadataMap,
    pub(crate) message: Bytes,
    /// The number of fields that could not be carried over.
    pub(crate) faults: usize,
    /// The keys that were ignored.
    pub(crate) unknown: UnknownKeys,
}

impl Prepared {
    fn new(input: Input<'_>, forwarded: Forwarded) -> Result<Self, NotDispatched> {
        let (message, faults, unknown) = input.finish();
        let count = faults.count();
        let metadata = forwarded.finish(faults)?;
        Ok(Self { metadata, message: message.into(), faults: count, unknown })
    }
}

/// The reason why a request does not become a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotDispatched {
    /// No interface has this path.
    Unknown(String),
    /// The interface exists and is called with another HTTP method.
    WrongMethod {
        /// The name of the interface.
        name: String,
        /// The method that was used.
        used: Method,
        /// The method that is documented.
        allowed: Method,
    },
    /// The body is not a JSON object.
    Malformed(Malformed),
    /// The body is larger than this limit in bytes.
    TooLarge(usize),
    /// The body did not arrive in time.
    TooSlow,
    /// The connection broke while the body was read.
    Broken,
    /// Keys that the interface does not have, where they are refused.
    UnknownKeys(UnknownKeys),
    /// This header names another request id than that of the call.
    RequestIdContradicts(&'static str),
    /// The body is encoded in this way, which is not taken.
    Encoded(String),
    /// The body says that it is compressed by gzip and is not.
    NoGzip,
    /// This header is not a number of milliseconds.
    NoMilliseconds(&'static str),
    /// The credentials are too large to be real.
    CredentialsTooLarge,
    /// This credential has two different values.
    CredentialContradicts(&'static str),
}

/// The one table of stable names and HTTP statuses.
macro_rules! told {
    ($($reasons:pat => $name:literal, $status:ident;)*) => {
        /// The stable names of all reasons, with their HTTP statuses.
        pub(crate) const TOLD: &[(&str, StatusCode)] = &[$(($name, StatusCode::$status)),*];

        fn told(&self) -> (&'static str, StatusCode) {
            match self {
                $($reasons => ($name, StatusCode::$status),)*
            }
        }
    };
}

impl NotDispatched {
    told! {
        Self::Unknown(_) => "INTERFACE_UNKNOWN", NOT_FOUND;
        Self::WrongMethod { .. } => "HTTP_METHOD_WRONG", METHOD_NOT_ALLOWED;
        Self::Malformed(_) | Self::NoGzip => "BODY_MALFORMED", BAD_REQUEST;
        Self::TooLarge(_) => "BODY_TOO_LARGE", PAYLOAD_TOO_LARGE;
        Self::TooSlow => "BODY_TOO_SLOW", REQUEST_TIMEOUT;
        Self::Broken => "BODY_BROKEN", BAD_REQUEST;
        Self::Encoded(_) => "BODY_ENCODED", UNSUPPORTED_MEDIA_TYPE;
        Self::UnknownKeys(_) => "KEYS_UNKNOWN", BAD_REQUEST;
        Self::RequestIdContradicts(_) => "REQUEST_ID_INVALID", BAD_REQUEST;
        Self::NoMilliseconds(_) => "TIMEOUT_MALFORMED", BAD_REQUEST;
        Self::CredentialsTooLarge => "CREDENTIALS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::CredentialContradicts(_) => "CREDENTIAL_CONTRADICTS", UNAUTHORIZED;
    }

    fn status(&self) -> StatusCode {
        self.told().1
    }

    /// The stable name of the reason, as a header tells it.
    fn reason(&self) -> &'static str {
        self.told().0
    }

    fn message(&self) -> String {
        match self {
            Self::Unknown(path) => format!("接口不存在：{path}"),
            Self::WrongMethod { used, allowed, .. } => format!("请求方式{used}不正确，请使用{allowed}"),
            Self::Malformed(Malformed::Syntax { offset }) => {
                format!("请求报文不是有效的JSON，错误位于第{offset}字节")
            }
            Self::Malformed(Malformed::TooDeep) => "请求报文嵌套层数过多".to_owned(),
            Self::Malformed(Malformed::NotAnObject) => "请求报文必须是JSON对象".to_owned(),
            Self::TooLarge(limit) => format!("请求报文不能超过{limit}字节"),
            Self::TooSlow => "接收请求报文超时".to_owned(),
            Self::Broken => "请求报文不完整".to_owned(),
            Self::UnknownKeys(unknown) => {
                let first = unknown.first.join("、");
                let more = if unknown.count > unknown.first.len() as u64 {
                    format!("等共{}处", unknown.count)
                } else {
                    String::new()
                };
                format!("请求中有接口未定义的字段：{first}{more}")
            }
            Self::RequestIdContradicts(name) => format!("请求头{name}与请求流水号不一致"),
            Self::Encoded(encoding) => {
                format!("不支持请求报文的编码（content-encoding：{encoding}），请发送未压缩或以gzip压缩的JSON")
            }
            Self::NoGzip => "请求报文不是有效的gzip数据".to_owned(),
            Self::NoMilliseconds(name) => format!("请求头{name}应为不小于1的整数，单位毫秒"),
            Self::CredentialsTooLarge => "请求头过大".to_owned(),
            Self::CredentialContradicts(name) => format!("鉴权失败：{name} 出现多次且取值不同"),
        }
    }
}

impl From<Malformed> for NotDispatched {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// An answer: its HTTP status, its body, and the code in its envelope.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    pub(crate) code: String,
    /// The headers that say about it what no envelope has a place for.
    pub(crate) headers: HeaderMap,
}

/// The header of a refusal that has its stable reason.
const REASON: HeaderName = HeaderName::from_static("x-reason");

impl Answer {
    fn new(status: StatusCode, body: Vec<u8>, code: impl Into<String>) -> Self {
        Self { status, body, code: code.into(), headers: HeaderMap::new() }
    }

    fn because(mut self, reason: &str) -> Self {
        if let Ok(reason) = HeaderValue::from_str(reason) {
            self.headers.insert(REASON, reason);
        }
        self
    }
}

/// Turns a request into a message and its metadata.
pub(crate) fn prepare(plans: &Plans, route: &Route, head: &Parts, body: &Bytes) -> Result<Prepared, NotDispatched> {
    match route.dialect {
        Dialect::Hc => hc::prepare(plans, route, head, body),
        Dialect::Epeis | Dialect::Unspecified => epeis::prepare(plans, route, head, body),
    }
}

/// Wraps the reply of a service.
pub(crate) fn success(plans: &Plans, route: &Route, reply: &[u8]) -> Result<Answer, Defect> {
    match route.dialect {
        Dialect::Hc => hc::success(plans, route, reply),
        Dialect::Epeis | Dialect::Unspecified => epeis::success(plans, route, reply),
    }
}

/// Wraps a refusal.
pub(crate) fn refused(dialect: Dialect, refusal: &RefusedCall) -> Answer {
    let answer = match dialect {
        Dialect::Hc => hc::refused(refusal),
        Dialect::Epeis | Dialect::Unspecified => epeis::refused(refusal),
    };
    answer.because(&refusal.reason)
}

/// Answers a request that does not become a call.
pub(crate) fn not_dispatched(dialect: Dialect, not_dispatched: &NotDispatched) -> Answer {
    let answer = match dialect {
        Dialect::Hc => hc::not_dispatched(not_dispatched),
        Dialect::Epeis | Dialect::Unspecified => epeis::not_dispatched(not_dispatched),
    };
    answer.because(not_dispatched.reason())
}

/// The paths under which a route is served, without a slash at the end.
pub(crate) fn paths(route: &Route) -> Vec<String> {
    match route.dialect {
        Dialect::Hc => hc::paths(route),
        Dialect::Epeis | Dialect::Unspecified => epeis::paths(route),
    }
}

/// The dialect of the answer for an unknown path.
pub(crate) fn of_unknown_path(path: &str) -> Dialect {
    if path == "/Service" || path.starts_with("/Service/") { Dialect::Epeis } else { Dialect::Hc }
}
