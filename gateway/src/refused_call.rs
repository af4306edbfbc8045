//! A refused call as the dialects write it: the codes of its reason, its message, and the class that decides the HTTP
//! status.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::plan::{ReasonCodes, Reasons};

/// The reason domain of the gateway's own refusals.
const DOMAIN: &str = "gateway.communal";

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The service understood the call and refused it.
    Business,
    /// The credentials are refused.
    Unauthenticated,
    /// Too many calls.
    Overloaded,
    /// The service cannot be reached.
    Unavailable,
    /// The call took too long.
    DeadlineExceeded,
    /// An error of ours.
    Internal,
}

impl Class {
    /// The reason of a status that names none.
    fn reason(self) -> &'static str {
        match self {
            Self::Business => "METHOD_NOT_GRANTED",
            Self::Unauthenticated => "CREDENTIALS_REFUSED",
            Self::Overloaded => "OVERLOADED",
            Self::Unavailable => "UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The message of a status that has none.
    fn message(self) -> &'static str {
        match self {
            Self::Business => "无权访问",
            Self::Unauthenticated => "鉴权失败",
            Self::Overloaded => "系统繁忙，请稍后重试",
            Self::Unavailable => "服务暂时不可用，请稍后重试",
            Self::DeadlineExceeded => "请求处理超时",
            Self::Internal => "系统内部错误，请联系管理员",
        }
    }

    fn of_code(status: &Status) -> Self {
        // A status has a source if tonic made it here because the connection failed.
        let of_transport = status.source().is_some();
        match status.code() {
            // tonic reports CANCELLED if its own timer ends before ours.
            Code::DeadlineExceeded | Code::Cancelled => Self::DeadlineExceeded,
            Code::Unavailable => Self::Unavailable,
            // An older service does not know the method yet.
            Code::Unimplemented => Self::Unavailable,
            Code::Unknown | Code::Internal if of_transport => Self::Unavailable,
            Code::ResourceExhausted => Self::Overloaded,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => Self::Business,
            _ => Self::Internal,
        }
    }
}

/// A refused call.
#[derive(Debug)]
pub(crate) struct RefusedCall {
    pub(crate) class: Class,
    /// The stable name of the reason.
    pub(crate) reason: String,
    pub(crate) codes: ReasonCodes,
    pub(crate) message: String,
    /// Seconds after which the call may be repeated.
    pub(crate) retry_after: Option<u64>,
}

impl RefusedCall {
    /// A refusal by the gateway itself.
    pub(crate) fn of(class: Class, reasons: &Reasons) -> Self {
        let codes = reasons.codes(DOMAIN, class.reason()).cloned().unwrap_or_default();
        let retry_after = matches!(class, Class::Overloaded | Class::Unavailable).then_some(1);
        let (reason, message) = (class.reason().to_owned(), class.message().to_owned());
        Self { class, reason, codes, message, retry_after }
    }

    /// A refusal by a service.
    pub(crate) fn from_status(status: &Status, reasons: &Reasons) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let named = info.and_then(|info| Some((info.reason.as_str(), reasons.codes(&info.domain, &info.reason)?)));
        let Some((reason, codes)) = named else {
            return Self::of(Class::of_code(status), reasons);
        };
        let by_reason = [Class::Overloaded, Class::Unavailable, Class::DeadlineExceeded, Class::Internal]
            .into_iter()
            .find(|class| class.reason() == reason);
        let class = match (by_reason, status.code()) {
            (Some(class), _) => class,
            (None, Code::Unauthenticated) => Class::Unauthenticated,
            (None, _) => Class::Business,
        };
        let message = details.localized_message().map(|text| text.message.clone()).filter(|text| !text.is_empty());
        let delay = details.retry_info().and_then(|retry| retry.retry_delay);
        Self {
            class,
            reason: reason.to_owned(),
            codes: codes.clone(),
            message: message.unwrap_or_else(|| class.message().to_owned()),
            retry_after: delay.map(seconds).or_else(|| Self::of(class, reasons).retry_after),
        }
    }
}

/// The delay in whole seconds, rounded up.
fn seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}
