//! Refusals: one type with the reason, the message for people, the faults of fields and the cause. It
//! is converted into a gRPC status with `google.rpc` details.
//!
//! The cause is logged once, when the refusal is converted into a status; it is never sent to the
//! client.

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use communal_proto::Reason;
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Fault, FieldPath};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::telemetry;

/// The most faults listed in the details, which are sent in HTTP trailers, and proxies limit their
/// size. The message has the number of the remaining ones.
const MOST_LISTED_FAULTS: usize = 100;

/// A refused call.
#[derive(Debug)]
pub struct Refusal {
    code: Code,
    reason: &'static str,
    domain: &'static str,
    text: String,
    faults: Vec<Fault>,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// Creates a refusal with a reason and the reason's own message.
    #[must_use]
    pub fn of(reason: impl Reason) -> Self {
        Self::new(reason, reason.text())
    }

    /// Creates a refusal with a reason and a more exact message for people, in Chinese.
    pub fn new(reason: impl Reason, text: impl Into<String>) -> Self {
        Self::with(reason.grpc(), reason.name(), reason.domain(), text)
    }

    pub(crate) fn with(code: Code, reason: &'static str, domain: &'static str, text: impl Into<String>) -> Self {
        Self { code, reason, domain, text: text.into(), faults: Vec::new(), retry_after: None, cause: None }
    }

    /// Creates a refusal for faults of fields. The first one, in documented order, gives the reason and
    /// the message; the details list all of them.
    #[must_use]
    pub fn for_faults(faults: Vec<Fault>) -> Self {
        let kind = faults.first().map_or(FaultKind::Unspecified, |f| f.kind);
        let reason = match kind {
            FaultKind::Missing => Common::FieldMissing,
            FaultKind::Code => Common::FieldCodeUnknown,
            FaultKind::Range if faults.first().is_some_and(|f| is_page(&f.field)) => Common::PageInvalid,
            _ => Common::FieldMalformed,
        };
        let text = faults.first().map(|f| f.text.clone()).unwrap_or_default();
        Self { faults, ..Self::new(reason, text) }
    }

    /// Creates a refusal for an internal error.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Common::Internal, "系统内部错误，请联系管理员").cause(cause)
    }

    /// Adds a fault of a field.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Adds faults of fields.
    #[must_use]
    pub fn faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// Adds the cause, which is logged.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds the time after which the caller may try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Returns whether the same call may succeed if it is repeated at once, because the database
    /// resolved a conflict by rolling it back.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.reason == Common::Conflict.name()
    }

    /// Returns whether the caller's credentials are refused.
    #[must_use]
    pub fn is_of_credentials(&self) -> bool {
        matches!(self.code, Code::Unauthenticated | Code::PermissionDenied)
    }

    /// Returns the stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Returns the message for people.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the fields at fault.
    pub fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.faults.iter().map(|fault| &fault.field)
    }

    fn log(&self) {
        let causes = self.cause.as_deref().map(chain).unwrap_or_default();
        match self.code {
            Code::Internal | Code::Unavailable | Code::DataLoss | Code::Unknown => {
                tracing::error!(refusal.reason = self.reason, refusal.cause = causes, "call failed");
            }
            _ if !telemetry::refusal_is_a_line() => {}
            _ => tracing::info!(refusal.reason = self.reason, refusal.cause = causes, "call refused"),
        }
    }
}

fn is_page(field: &FieldPath) -> bool {
    matches!(field.first_name(), "SYS_PAGE" | "page" | "row")
}

/// Returns an error and its sources in one line.
#[must_use]
pub fn chain(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.text)
    }
}

impl Error for Refusal {}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.log();
        let mut details = ErrorDetails::new();
        details.set_error_info(refusal.reason, refusal.domain, std::collections::HashMap::new());
        for fault in refusal.faults.iter().take(MOST_LISTED_FAULTS) {
            details.add_bad_request_violation(fault.field.to_string(), fault.description.clone());
        }
        details.set_localized_message("zh-CN", words(&refusal));
        if let Some(delay) = refusal.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(refusal.code, message(&refusal), details)
    }
}

/// Returns the English message for developers: the reason and the fields at fault.
fn message(refusal: &Refusal) -> String {
    let mut text = refusal.reason.to_owned();
    for (index, fault) in refusal.faults.iter().take(5).enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(&fault.field.to_string());
        text.push(' ');
        text.push_str(&fault.description);
    }
    if refusal.faults.len() > 5 {
        text.push_str(&format!("; and {} more", refusal.faults.len() - 5));
    }
    text
}

/// Returns the Chinese message for people. Documents whose fields are in upper case expect every fault
/// with its field and row in the message; those with a documented text for each field expect that text
/// alone.
fn words(refusal: &Refusal) -> String {
    let named: Vec<_> = refusal.faults.iter().filter(|f| names_its_block(&f.field)).collect();
    if named.is_empty() {
        return refusal.text.clone();
    }
    const LISTED: usize = 20;
    let mut text = String::new();
    for fault in named.iter().take(LISTED) {
        if !text.is_empty() {
            text.push('；');
        }
        text.push_str(&fault.field.to_string());
        text.push(' ');
        text.push_str(&fault.text);
    }
    if named.len() > LISTED {
        text.push_str(&format!("；等共{}处错误", named.len()));
    }
    text
}

fn names_its_block(field: &FieldPath) -> bool {
    field.first_name().starts_with(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(field: &str, kind: FaultKind, text: &str) -> Fault {
        Fault { field: field.into(), kind, description: "is wrong".into(), text: text.into() }
    }

    #[test]
    fn the_first_fault_gives_the_reason_and_all_are_listed() {
        let status: Status = Refusal::for_faults(vec![
            fault("COM_SALES_PRICE[0].NETWORK_TYPE", FaultKind::Code, "服务类型不在规定的代码范围内"),
            fault("COM_SALES_PRICE[7].CAT_ITEM_PRICE", FaultKind::Missing, "分类项目单价不能为空"),
        ])
        .into();
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(details.error_info().map(|i| i.reason.as_str()), Some("FIELD_CODE_UNKNOWN"));
        assert_eq!(details.bad_request().map(|b| b.field_violations.len()), Some(2));
        let words = details.localized_message().map(|m| m.message.clone()).unwrap_or_default();
        assert!(words.contains("COM_SALES_PRICE[7].CAT_ITEM_PRICE 分类项目单价不能为空"), "{words}");
    }

    #[test]
    fn a_documented_text_stands_alone() {
        let status: Status =
            Refusal::for_faults(vec![fault("feeName", FaultKind::Missing, "必填，请填写收费项目")]).into();
        let words = status.get_error_details().localized_message().map(|m| m.message.clone());
        assert_eq!(words.as_deref(), Some("必填，请填写收费项目"));
    }

    #[test]
    fn the_cause_stays_inside() {
        let status: Status = Refusal::internal("relation \"secret_table\" does not exist").into();
        assert!(!format!("{status:?}").contains("secret_table"));
    }
}
