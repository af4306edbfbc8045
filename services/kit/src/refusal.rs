//! Refusals: one type with the reason, the message for people, the faults of fields and the cause. It
//! is converted into a gRPC status with `google.rpc` details.
//!
//! The cause is logged once, when the refusal is converted into a status; it is never sent to the
//! client.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use communal_proto::Reason;
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Fault, FieldPath, MOST_FAULTS};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::telemetry;

/// The most bytes of a status, message and details together, as they are sent. They are HTTP trailers, of which clients and
/// proxies take 8 KB or less: a refusal that is larger arrives as another error. What is left out is counted.
const MOST_BYTES: usize = 4 * 1024;
/// The most bytes of the message as it is sent, and the most faults in it.
const MOST_MESSAGE: usize = 500;
const MOST_NAMED_FAULTS: usize = 3;
/// The most bytes of the message for people that names fields.
const MOST_WORDS: usize = 1_000;
/// The bytes of the details beside faults and message: types, reason, domain, counts, time to wait.
const DETAILS_BESIDE_FAULTS: usize = 400;
/// The bytes that a fault takes in the details beside its texts.
const FRAME: usize = 10;

/// What a reason says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grounds {
    pub(crate) name: &'static str,
    domain: &'static str,
    code: Code,
    /// In English.
    meaning: &'static str,
    /// In Chinese.
    pub(crate) text: &'static str,
}

impl Grounds {
    pub(crate) fn of(reason: impl Reason) -> Self {
        let (name, domain, code) = (reason.name(), reason.domain(), reason.grpc());
        Self { name, domain, code, meaning: reason.meaning(), text: reason.text() }
    }
}

/// A fault of a field, with the name of the reason for which it alone would be refused.
#[derive(Debug)]
struct Reasoned {
    reason: &'static str,
    fault: Fault,
}

/// A refused call.
#[derive(Debug)]
pub struct Refusal {
    // Boxed, because a refusal is a part of nearly every result and should be small.
    grounds: Box<Grounds>,
    text: String,
    faults: Vec<Reasoned>,
    /// The number of faults that were found and are not among `faults`.
    left_out: usize,
    /// Rows that were not judged.
    dependent_rows: usize,
    /// True if the message for people names a row that is at fault as a whole.
    names_rows: bool,
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
        Self::on(Grounds::of(reason), text)
    }

    pub(crate) fn on(grounds: Grounds, text: impl Into<String>) -> Self {
        Self {
            grounds: Box::new(grounds),
            text: text.into(),
            faults: Vec::new(),
            left_out: 0,
            dependent_rows: 0,
            names_rows: false,
            retry_after: None,
            cause: None,
        }
    }

    /// Creates a refusal for faults of fields. The first one, in documented order, gives the reason and
    /// the message; the details list all of them.
    #[must_use]
    pub fn for_faults(faults: Vec<Fault>) -> Self {
        let reason = faults.first().map_or(Common::FieldMalformed, reason_of_field);
        let text = faults.first().map(|f| f.text.clone()).unwrap_or_default();
        let reasoned = |fault: Fault| Reasoned { reason: reason_of_field(&fault).name(), fault };
        Self { faults: faults.into_iter().map(reasoned).collect(), ..Self::new(reason, text) }
    }

    /// Creates a refusal for an internal error.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Common::Internal, "系统内部错误，请联系管理员").cause(cause)
    }

    /// Adds a fault of a field, which is refused for the reason of all.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        let reason = self.grounds.name;
        self.fault_of(reason, fault)
    }

    /// Adds faults of fields, which are refused for the reason of all.
    #[must_use]
    pub fn faults(self, faults: Vec<Fault>) -> Self {
        faults.into_iter().fold(self, Self::fault)
    }

    /// Adds a fault of a field that is refused for a reason of its own.
    #[must_use]
    pub(crate) fn fault_of(mut self, reason: &'static str, fault: Fault) -> Self {
        self.faults.push(Reasoned { reason, fault });
        self
    }

    /// Adds the number of faults that were found and cannot be named.
    #[must_use]
    pub fn left_out(mut self, count: usize) -> Self {
        self.left_out = count;
        self
    }

    /// Names rows that are at fault as a whole in the message for people: those of an import are messages, and not values of a list
    /// that a document describes.
    #[must_use]
    pub fn naming_rows(mut self) -> Self {
        self.names_rows = true;
        self
    }

    /// Adds the number of rows that were not judged, because rows that they refer to are at fault.
    #[must_use]
    pub fn dependent_rows(mut self, rows: usize) -> Self {
        self.dependent_rows = rows;
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
        self.grounds.name == Common::Conflict.name()
    }

    /// Returns whether the caller's credentials are refused.
    #[must_use]
    pub fn is_of_credentials(&self) -> bool {
        matches!(self.grounds.code, Code::Unauthenticated | Code::PermissionDenied)
    }

    /// Returns the stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.grounds.name
    }

    /// Returns the message for people.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the message for an operator of the process, in English, with the cause, which no client is told.
    #[must_use]
    pub fn english(&self) -> String {
        let cause = self.cause.as_deref().map(|cause| format!(": {}", chain(cause)));
        format!("{}{}", message(self), cause.unwrap_or_default())
    }

    /// Returns the fields at fault.
    pub fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.faults.iter().map(|reasoned| &reasoned.fault.field)
    }

    /// The number of faults, named or not.
    fn fault_count(&self) -> usize {
        self.faults.len().saturating_add(self.left_out)
    }

    /// Returns true if there may be more faults than were found, so that their number is no total.
    fn counting_stopped(&self) -> bool {
        self.left_out > 0 || self.faults.len() >= MOST_FAULTS
    }

    fn log(&self) {
        let causes = self.cause.as_deref().map(chain).unwrap_or_default();
        match self.grounds.code {
            Code::Internal | Code::Unavailable | Code::DataLoss | Code::Unknown => {
                tracing::error!(refusal.reason = self.grounds.name, refusal.cause = causes, "call failed");
            }
            _ if !telemetry::refusal_is_a_line() => {}
            _ => tracing::info!(refusal.reason = self.grounds.name, refusal.cause = causes, "call refused"),
        }
    }
}

/// Returns the reason of a fault of a field.
#[must_use]
pub fn reason_of(kind: FaultKind) -> Common {
    match kind {
        FaultKind::Missing => Common::FieldMissing,
        FaultKind::Code => Common::FieldCodeUnknown,
        _ => Common::FieldMalformed,
    }
}

/// Returns the reason of a fault of a field, in which a page may be out of bounds.
fn reason_of_field(fault: &Fault) -> Common {
    match fault.kind {
        FaultKind::Range if is_page(&fault.field) => Common::PageInvalid,
        kind => reason_of(kind),
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
        write!(f, "{}: {}", self.grounds.name, self.text)
    }
}

impl Error for Refusal {}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.log();
        let message = message(&refusal);
        let mut details = ErrorDetails::new();
        let mut counts = HashMap::new();
        let words = words(&refusal);
        if let Some(delay) = refusal.retry_after {
            details.set_retry_info(Some(delay));
        }
        // The details are sent as base64, four characters for three bytes, and have the message as well.
        let room = MOST_BYTES.saturating_sub(as_header(&message)) * 3 / 4;
        let mut room = room.saturating_sub(DETAILS_BESIDE_FAULTS + message.len() + words.len());
        details.set_localized_message("zh-CN", words);
        let mut violations = Vec::with_capacity(refusal.faults.len());
        for Reasoned { reason, fault } in &refusal.faults {
            let violation = FieldViolation {
                reason: (*reason).to_owned(),
                ..FieldViolation::new(fault.field.proto_path(), fault.description.clone())
            };
            let bytes = violation.field.len() + violation.description.len() + reason.len() + FRAME;
            let Some(left) = room.checked_sub(bytes) else { break };
            room = left;
            violations.push(violation);
        }
        let listed = violations.len();
        if listed > 0 {
            details.set_bad_request(violations);
        }
        if listed < refusal.fault_count() {
            let told = [("faults", refusal.fault_count()), ("listed", listed)];
            counts.extend(told.map(|(name, count)| (name.to_owned(), count.to_string())));
        }
        if refusal.dependent_rows > 0 {
            counts.insert("dependent_rows".to_owned(), refusal.dependent_rows.to_string());
        }
        details.set_error_info(refusal.grounds.name, refusal.grounds.domain, counts);
        Status::with_error_details(refusal.grounds.code, message, details)
    }
}

/// Returns the bytes that a text takes as `grpc-message`, in which most characters are percent-encoded.
fn as_header(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() || b"-_.:;,[]()".contains(&byte) { 1 } else { 3 }).sum()
}

/// Returns the English message for developers: the reason, what it means, and the first fields at fault.
fn message(refusal: &Refusal) -> String {
    let mut text = format!("{}: ", refusal.grounds.name);
    if refusal.faults.is_empty() {
        text.push_str(refusal.grounds.meaning);
    }
    let fits = |listed: usize, text: &str, next: &str| {
        listed < MOST_NAMED_FAULTS && as_header(text) + as_header(next) <= MOST_MESSAGE
    };
    let faults = refusal.faults.iter().map(|reasoned| &reasoned.fault);
    let listed = list(&mut text, faults, "; ", |fault| (fault.field.proto_path(), &fault.description), fits);
    let at_least = if refusal.counting_stopped() { "at least " } else { "" };
    match refusal.fault_count() - listed {
        0 => {}
        more if listed == 0 => text.push_str(&format!("{at_least}{more} fields are wrong")),
        more => text.push_str(&format!("; and {at_least}{more} more")),
    }
    if refusal.dependent_rows > 0 {
        text.push_str(&format!("; not judged: {} rows that refer to refused ones", refusal.dependent_rows));
    }
    if let Some(delay) = refusal.retry_after {
        text.push_str(&format!(" Wait for {} ms.", delay.as_millis()));
    }
    text
}

/// Appends faults, each with its field and its words, for as long as they fit. Returns their number. `fits` gets the number
/// of those before, the text so far and the next part of it.
fn list<'f>(
    text: &mut String,
    faults: impl Iterator<Item = &'f Fault>,
    separator: &str,
    words: impl Fn(&'f Fault) -> (String, &'f str),
    fits: impl Fn(usize, &str, &str) -> bool,
) -> usize {
    let mut listed = 0;
    for fault in faults {
        let (field, words) = words(fault);
        let next = format!("{}{field} {words}", if listed == 0 { "" } else { separator });
        if !fits(listed, text, &next) {
            break;
        }
        text.push_str(&next);
        listed += 1;
    }
    listed
}

/// Returns the Chinese message for people. Documents whose fields are in upper case expect every fault
/// with its field and row in the message; those with a documented text for each field expect that text
/// alone, and have no rows but values of a list. A field in a row that no document knows is named as the details name it.
fn words(refusal: &Refusal) -> String {
    let mut text = words_of_faults(refusal);
    if refusal.dependent_rows > 0 {
        text.push_str(&format!("；另有{}行引用了有错误的行，未检查", refusal.dependent_rows));
    }
    text
}

fn words_of_faults(refusal: &Refusal) -> String {
    let names = |field: &FieldPath| {
        is_documented(field) || field.row().is_some() && (refusal.names_rows || !field.is_whole_row())
    };
    if !refusal.faults.iter().any(|reasoned| names(&reasoned.fault.field)) {
        return refusal.text.clone();
    }
    let mut text = String::new();
    let fits = |listed: usize, text: &str, next: &str| {
        listed == 0 || text.len() + next.len() <= MOST_WORDS - "；等至少4294967295处错误".len()
    };
    let faults = refusal.faults.iter().map(|reasoned| &reasoned.fault);
    let listed = list(&mut text, faults, "；", |fault| (shown(&fault.field), &fault.text), fits);
    let count = refusal.fault_count();
    if count > listed {
        let all = if refusal.counting_stopped() { "至少" } else { "共" };
        text.push_str(&format!("；等{all}{count}处错误"));
    }
    text
}

/// Returns true if a document has the field in upper case.
fn is_documented(field: &FieldPath) -> bool {
    field.first_name().starts_with(|c: char| c.is_ascii_uppercase())
}

/// Returns a field as the message for people names it.
fn shown(field: &FieldPath) -> String {
    if is_documented(field) { field.to_string() } else { field.proto_path() }
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
    fn developers_are_told_protobuf_names_and_people_documented_ones() {
        use communal_proto::billing::v1::fields::{sale_package_price_row, update_sale_package_price_request};
        let field = update_sale_package_price_request::ROWS.at(3).then(sale_package_price_row::PRICE);
        let status: Status = Refusal::for_faults(vec![Fault::rule(field, "is negative", "单价不能为负数")]).into();
        let details = status.get_error_details();
        assert_eq!(status.message(), "FIELD_MALFORMED: rows[3].price is negative");
        assert_eq!(
            details.bad_request().map(|b| b.field_violations[0].field.clone()).as_deref(),
            Some("rows[3].price")
        );
        let words = details.localized_message().map(|m| m.message.clone());
        assert_eq!(words.as_deref(), Some("COM_SALES_PRICE[3].CAT_ITEM_PRICE 单价不能为负数"));
    }

    #[test]
    fn a_documented_text_stands_alone() {
        let status: Status =
            Refusal::for_faults(vec![fault("feeName", FaultKind::Missing, "必填，请填写收费项目")]).into();
        let words = status.get_error_details().localized_message().map(|m| m.message.clone());
        assert_eq!(words.as_deref(), Some("必填，请填写收费项目"));
    }

    #[test]
    fn a_refusal_is_small_enough_for_every_client_and_counts_what_it_leaves_out() {
        for count in [1, 2, 12, 100, 500] {
            let long = |row| Fault {
                description: "is one of two fields of which one alone may be given".into(),
                ..fault(&format!("COM_SALES_PRICE[{row}].CAT_ITEM_PRICE"), FaultKind::Rule, &"单价过长".repeat(8))
            };
            let status: Status =
                Refusal::for_faults((0..count).map(long).collect()).retry_after(Duration::from_secs(1)).into();
            let bytes = as_header(status.message()) + status.details().len().div_ceil(3) * 4;
            assert!(bytes <= MOST_BYTES, "{count}: {bytes}");
            let details = status.get_error_details();
            let listed = details.bad_request().map_or(0, |request| request.field_violations.len());
            assert!(listed == count || listed >= 8, "{count}: {listed}");
            let told = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
            let expected = (listed < count).then(|| (count.to_string(), listed.to_string()));
            assert_eq!(told.get("faults").cloned().zip(told.get("listed").cloned()), expected);
            assert!(details.localized_message().is_some_and(|words| words.message.len() <= MOST_WORDS));
        }
    }

    #[test]
    fn a_number_of_faults_that_is_no_total_is_told_as_the_least() {
        let told = |count: usize| {
            let blank = |row| fault(&format!("COM_CLASS[{row}].CAT_ITEM_NAME"), FaultKind::Missing, "名称不能为空");
            let status: Status = Refusal::for_faults((0..count).map(blank).collect()).into();
            let words = status.get_error_details().localized_message().map(|m| m.message.clone()).unwrap_or_default();
            let english = status.message().rsplit("; ").next().unwrap_or_default().to_owned();
            (english, words.rsplit('；').next().unwrap_or_default().to_owned())
        };
        assert_eq!(told(MOST_FAULTS - 1), ("and 496 more".into(), "等共499处错误".into()));
        assert_eq!(told(MOST_FAULTS), ("and at least 497 more".into(), "等至少500处错误".into()));
    }

    #[test]
    fn faults_that_the_gateway_did_not_name_are_counted() {
        let of = |field, kind, text| fault(field, kind, text);
        let faults = vec![of("COM_CLASS[0].CAT_ITEM_NAME", FaultKind::Type, "名称类型不正确")];
        let status: Status = Refusal::for_faults(faults).left_out(4_800).into();
        let details = status.get_error_details();
        assert!(status.message().ends_with("is wrong; and at least 4800 more"), "{}", status.message());
        let words = details.localized_message().map(|m| m.message.clone()).unwrap_or_default();
        assert!(words.ends_with("；等至少4801处错误"), "{words}");
        let told = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
        let told = ["faults", "listed"].map(|name| told.get(name).map(String::as_str));
        assert_eq!(told, [Some("4801"), Some("1")]);
    }

    #[test]
    fn rows_that_depend_on_refused_ones_are_counted_and_not_listed() {
        let refused = vec![fault("customers[0].certificate_number", FaultKind::Missing, "证件号码不能为空")];
        let status: Status = Refusal::for_faults(refused).dependent_rows(3).into();
        let details = status.get_error_details();
        assert_eq!(details.bad_request().map(|b| b.field_violations.len()), Some(1));
        let counted = details.error_info().and_then(|info| info.metadata.get("dependent_rows").cloned());
        assert_eq!(counted.as_deref(), Some("3"));
        let words = details.localized_message().map(|m| m.message.clone()).unwrap_or_default();
        assert_eq!(words, "customers[0].certificate_number 证件号码不能为空；另有3行引用了有错误的行，未检查");
        assert!(status.message().ends_with("not judged: 3 rows that refer to refused ones"), "{}", status.message());
    }

    #[test]
    fn a_refusal_says_in_english_what_its_reason_means() {
        let status: Status = Refusal::of(Common::ChannelMissing).into();
        assert_eq!(status.message(), "CHANNEL_MISSING: The call has no channel: send the metadata x-channel-id.");
        let status: Status = Refusal::of(Common::Overloaded).retry_after(Duration::from_secs(1)).into();
        assert!(status.message().ends_with("try again later. Wait for 1000 ms."), "{}", status.message());
    }

    #[test]
    fn a_value_of_a_documented_list_is_not_named_and_a_row_of_an_import_is() {
        let refusal = || Refusal::for_faults(vec![fault("roomIds[3]", FaultKind::Length, "房屋ID过长")]);
        let told = |refusal: Refusal| {
            let details = Status::from(refusal).get_error_details();
            details.localized_message().map(|words| words.message.clone()).unwrap_or_default()
        };
        assert_eq!(told(refusal()), "房屋ID过长");
        assert_eq!(told(refusal().naming_rows()), "roomIds[3] 房屋ID过长");
    }

    #[test]
    fn the_cause_stays_inside() {
        let status: Status = Refusal::internal("relation \"secret_table\" does not exist").into();
        assert!(!format!("{status:?}").contains("secret_table"));
    }
}
