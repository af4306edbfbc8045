//! A refused call as the dialects write it: the codes of its reason, words for people, and
//! the class that decides the HTTP status.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::plan::{ReasonCodes, Reasons};

/// The domain of what the gateway itself refuses.
const DOMAIN: &str = "gateway.communal";

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The service understood and said no.
    Business,
    /// The caller is not accepted.
    Unauthenticated,
    /// Too much at once.
    Overloaded,
    /// The service cannot be reached.
    Unavailable,
    /// It took too long.
    DeadlineExceeded,
    /// A fault of ours.
    Internal,
}

impl Class {
    /// The reason that stands for the class where a status names none.
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

    /// Words where the service sent none.
    fn words(self) -> &'static str {
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
        // A status that was made here, because the connection failed, has a source.
        let of_transport = status.source().is_some();
        match status.code() {
            // tonic says CANCELLED when its own clock ran out before ours.
            Code::DeadlineExceeded | Code::Cancelled => Self::DeadlineExceeded,
            Code::Unavailable => Self::Unavailable,
            // An older service that does not know the method yet.
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
pub(crate) struct Refusal {
    pub(crate) class: Class,
    pub(crate) codes: ReasonCodes,
    pub(crate) words: String,
    /// Seconds after which the call may be made again.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    /// What the gateway itself refuses.
    pub(crate) fn of(class: Class, reasons: &Reasons) -> Self {
        let codes = reasons.codes(DOMAIN, class.reason()).cloned().unwrap_or_default();
        let retry_after = matches!(class, Class::Overloaded | Class::Unavailable).then_some(1);
        Self { class, codes, words: class.words().to_owned(), retry_after }
    }

    /// What a service refused.
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
        let words = details.localized_message().map(|words| words.message.clone()).filter(|words| !words.is_empty());
        let delay = details.retry_info().and_then(|retry| retry.retry_delay);
        Self {
            class,
            codes: codes.clone(),
            words: words.unwrap_or_else(|| class.words().to_owned()),
            retry_after: delay.map(seconds).or_else(|| Self::of(class, reasons).retry_after),
        }
    }
}

/// Whole seconds, not fewer than asked for.
fn seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}
