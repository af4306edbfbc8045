//! The field checks that the generated code calls: one [`Checker`] walks a request in
//! documented order and gathers every fault with the path of its field. [`forms`] says of a
//! single value whether it keeps its rule.

mod forms;

use std::collections::HashMap;
use std::hash::Hash;

pub use forms::parse_decimal;
use forms::{decimal_fault, number_fault, text_fault};

use crate::contract::v1::{FaultKind, TranscodingFaults};
use crate::path::{FieldName, FieldPath};

/// A message whose fields have rules.
pub trait Checked {
    /// Reports every fault of the message to `checker`, in documented order.
    fn check(&self, checker: &mut Checker);

    /// Brings every name in the message into its one form.
    fn tidy_names(&mut self) {}
}

/// An enum whose values have documented codes.
pub trait Coded: Sized + Copy {
    /// The name of the enum.
    const NAME: &'static str;
    /// The documented code, as it is stored; `None` for the unspecified value.
    fn stored(self) -> Option<&'static str>;
    /// The documented code; empty for the unspecified value.
    fn code(self) -> &'static str {
        self.stored().unwrap_or_default()
    }
    /// The document's name of the code, in Chinese; empty for the unspecified value.
    fn title(self) -> &'static str;
    /// The value of a code or one of its aliases.
    fn from_code(code: &str) -> Option<Self>;
}

/// The form of a value beyond its type, as `contract.v1.Format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Any.
    Any,
    /// yyyyMMdd as a number, a day that exists.
    DateNumber,
    /// yyyyMM as a number.
    MonthNumber,
    /// yyyy-MM-dd, or yyyy-MM-dd HH:mm:ss.
    DateOrTime,
    /// Digits only.
    Digits,
    /// Visible ASCII without spaces.
    Identifier,
    /// On one line, without invisible characters, and not blank.
    Name,
    /// Twelve digits: a code of the national list of administrative divisions.
    Region,
    /// Digits, perhaps after a plus sign: a number that a code can be sent to.
    Phone,
}

/// The rules of one field, generated from its `communal.contract.v1.field` option.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The names of the field.
    pub field: FieldName,
    /// The document's Chinese name.
    pub title: &'static str,
    /// True if the value must be given.
    pub required: bool,
    /// Longest text in characters or most digits; 0 for no limit.
    pub length: u32,
    /// Digits after the point of a decimal.
    pub scale: Option<u32>,
    /// Smallest value.
    pub minimum: Option<&'static str>,
    /// Largest value.
    pub maximum: Option<&'static str>,
    /// Most rows; 0 for no limit.
    pub max_rows: u32,
    /// The form.
    pub format: Format,
    /// The documented message for a missing value; empty if there is none.
    pub missing_text: &'static str,
}

impl Rule {
    /// Allows everything; a generated rule sets what differs.
    pub const ANY: Self = Self {
        field: FieldName { proto: "", documented: "", number: 0 },
        title: "",
        required: false,
        length: 0,
        scale: None,
        minimum: None,
        maximum: None,
        max_rows: 0,
        format: Format::Any,
        missing_text: "",
    };
}

/// A fault: one field that breaks a rule of the contract or of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path of the field.
    pub field: FieldPath,
    /// The kind of fault.
    pub kind: FaultKind,
    /// The description for developers, in English.
    pub description: String,
    /// The message for people, in Chinese: the documented one if there is one, without the path.
    pub text: String,
}

impl Fault {
    /// A fault of a rule of the domain.
    #[must_use]
    pub fn rule(field: impl Into<FieldPath>, description: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), kind: FaultKind::Rule, description: description.into(), text: text.into() }
    }
}

/// Gathers the faults of one request.
#[derive(Debug, Default)]
pub struct Checker {
    /// Path of the message being checked.
    path: FieldPath,
    /// The faults that the gateway found, by path; each is removed when the walk reaches it.
    transcoding: HashMap<String, FaultKind>,
    /// The number of faults that the gateway found and did not name.
    left_out: usize,
    faults: Vec<Fault>,
}

/// Most faults that are gathered: a person reads no more, and a hostile request must not
/// cause a large answer. If there are so many, there may be more: their number is no total.
pub const MOST_FAULTS: usize = 500;

impl Checker {
    /// A checker with the faults that the gateway found while transcoding.
    #[must_use]
    pub fn with_transcoding_faults(faults: TranscodingFaults) -> Self {
        let left_out = usize::try_from(faults.left_out).unwrap_or(usize::MAX);
        let transcoding: HashMap<_, _> =
            faults.faults.into_iter().take(MOST_FAULTS).map(|f| (f.field.clone(), f.kind())).collect();
        let left_out = if transcoding.is_empty() { 0 } else { left_out };
        Self { transcoding, left_out, ..Self::default() }
    }

    /// Returns the number of faults that the gateway found beside those gathered. If there are any, a value that is not in
    /// the message may be one of them: nothing is said to be missing, and no rule of the domain is judged, so that there may
    /// be more.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The faults in documented order; those at no known field come last.
    #[must_use]
    pub fn into_faults(mut self) -> Vec<Fault> {
        let mut rest: Vec<_> = std::mem::take(&mut self.transcoding).into_iter().collect();
        rest.sort();
        for (field, kind) in rest {
            let (description, text) = words(kind, &field, "", None);
            self.add(Fault { field: field.into(), kind, description, text });
        }
        self.faults
    }

    /// Adds a fault of a rule of the domain. A field whose value cannot be read, or is missing, has no rule of the domain to
    /// break besides: it is told once.
    pub fn push(&mut self, fault: Fault) {
        if self.left_out > 0 {
            return;
        }
        let is_told = |told: &Fault| told.kind != FaultKind::Rule && told.field == fault.field;
        if !self.faults.iter().any(is_told) {
            self.add(fault);
        }
    }

    fn add(&mut self, fault: Fault) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Returns true if nothing was found so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() && self.transcoding.is_empty()
    }

    /// Returns true if a value that is missing here may be one that the gateway left out without a name.
    fn is_unsure(&self, kind: FaultKind) -> bool {
        self.left_out > 0 && kind == FaultKind::Missing
    }

    fn fault(&mut self, rule: &Rule, kind: FaultKind) {
        if !self.is_unsure(kind) {
            self.tell(rule, kind);
        }
    }

    fn tell(&mut self, rule: &Rule, kind: FaultKind) {
        let (description, mut text) = words(kind, rule.field.documented, rule.title, Some(rule));
        if kind == FaultKind::Missing && !rule.missing_text.is_empty() {
            rule.missing_text.clone_into(&mut text);
        }
        self.add(Fault { field: self.path.clone().then(rule.field), kind, description, text });
    }

    fn fault_at_row(&mut self, rule: &Rule, row: usize, kind: FaultKind) {
        let name = rule.field.at(row);
        let (description, text) = words(kind, &name.to_string(), rule.title, Some(rule));
        self.add(Fault { field: self.path.clone().then(name), kind, description, text });
    }

    /// Reports the fault that the gateway found at this field. The message has no value of
    /// it, so the other checks of the field do not apply.
    fn met_in_transcoding(&mut self, rule: &Rule) -> bool {
        if self.transcoding.is_empty() {
            return false;
        }
        match self.transcoding.remove(&self.path.clone().then(rule.field).to_string()) {
            // The gateway says that the number does not fit, and not on which side of a bound it is.
            Some(FaultKind::Range) if rule.minimum.is_none() || rule.maximum.is_none() => {
                self.tell(&Rule { minimum: None, maximum: None, ..*rule }, FaultKind::Range);
                true
            }
            Some(kind) => {
                // Also one that is said to be missing: a named fault refuses the call.
                self.tell(rule, kind);
                true
            }
            None => false,
        }
    }

    /// The same for a whole row: an empty row stands in its place, and its missing fields are
    /// not reported as well.
    fn row_met_in_transcoding(&mut self, rule: &Rule, index: usize) -> bool {
        if self.transcoding.is_empty() {
            return false;
        }
        let path = self.path.clone().then(rule.field.at(index));
        let Some(kind) = self.transcoding.remove(&path.to_string()) else { return false };
        self.fault_at_row(rule, index, kind);
        true
    }

    /// Checks a text.
    pub fn text(&mut self, rule: &Rule, value: &str) {
        if self.met_in_transcoding(rule) {
            return;
        }
        if value.is_empty() {
            if rule.required {
                self.fault(rule, FaultKind::Missing);
            }
        } else if rule.required && value.trim().is_empty() {
            // White space says nothing, and no one could tell two blank names apart.
            self.fault(rule, FaultKind::Missing);
        } else if let Some(kind) = text_fault(rule, value) {
            self.fault(rule, kind);
        }
    }

    /// Checks each text of a repeated field.
    pub fn texts(&mut self, rule: &Rule, values: &[String]) {
        if self.met_in_transcoding(rule) {
            return;
        }
        if self.count(rule, values.len()) {
            for (index, value) in values.iter().enumerate() {
                let fault = if value.is_empty() { Some(FaultKind::Missing) } else { text_fault(rule, value) };
                if let Some(kind) = fault.filter(|kind| !self.is_unsure(*kind)) {
                    self.fault_at_row(rule, index, kind);
                }
            }
        }
    }

    /// Checks a decimal in its text form.
    pub fn decimal(&mut self, rule: &Rule, value: &str) {
        if self.met_in_transcoding(rule) {
            return;
        }
        if value.is_empty() {
            if rule.required {
                self.fault(rule, FaultKind::Missing);
            }
        } else if let Some(kind) = decimal_fault(rule, value) {
            self.fault(rule, kind);
        }
    }

    /// Checks a whole number. Zero is "not given" unless it is required and 0 is its minimum.
    pub fn integer(&mut self, rule: &Rule, value: i64) {
        let may_be_zero = rule.required && rule.minimum == Some("0");
        self.number(rule, (value != 0 || may_be_zero).then_some(value));
    }

    /// Checks a whole number of which zero is a value: it is "not given" only if it is absent.
    pub fn number(&mut self, rule: &Rule, value: Option<i64>) {
        if self.met_in_transcoding(rule) {
            return;
        }
        let Some(value) = value else {
            if rule.required {
                self.fault(rule, FaultKind::Missing);
            }
            return;
        };
        if let Some(kind) = number_fault(rule, value) {
            self.fault(rule, kind);
        }
    }

    /// Checks an enum; `known` is true if the number is one of its values.
    pub fn code(&mut self, rule: &Rule, value: i32, known: bool) {
        if self.met_in_transcoding(rule) {
            return;
        }
        if !known {
            self.fault(rule, FaultKind::Code);
        } else if value == 0 && rule.required {
            self.fault(rule, FaultKind::Missing);
        }
    }

    /// Checks a message field and the fields inside it.
    pub fn message<M: Checked>(&mut self, rule: &Rule, value: Option<&M>) {
        if self.met_in_transcoding(rule) {
            return;
        }
        match value {
            Some(message) => self.inside(rule, None, message),
            None if rule.required => self.fault(rule, FaultKind::Missing),
            None => {}
        }
    }

    /// Checks a repeated message and each of its rows.
    pub fn rows<M: Checked>(&mut self, rule: &Rule, rows: &[M]) {
        if self.met_in_transcoding(rule) {
            return;
        }
        if self.count(rule, rows.len()) {
            for (index, row) in rows.iter().enumerate() {
                if self.row_met_in_transcoding(rule, index) {
                    continue;
                }
                self.inside(rule, Some(index), row);
                if self.faults.len() >= MOST_FAULTS {
                    return;
                }
            }
        }
    }

    /// Checks that no two rows share a value of their field `key`. A row without a value is
    /// not compared.
    pub fn unique<'a, K: Default + Eq + Hash + 'a>(
        &mut self,
        rule: &Rule,
        key: FieldName,
        title: &str,
        values: impl Iterator<Item = &'a K>,
    ) {
        let mut first_rows = HashMap::new();
        for (row, value) in values.enumerate().filter(|(_, value)| **value != K::default()) {
            let first = *first_rows.entry(value).or_insert(row);
            if first != row {
                self.push(Fault::rule(
                    self.path.clone().then(rule.field.at(row)).then(key),
                    format!("is the same as in row {first}"),
                    format!("{title}与{}重复", self.path.clone().then(rule.field.at(first))),
                ));
            }
        }
    }

    fn count(&mut self, rule: &Rule, rows: usize) -> bool {
        if rows == 0 && rule.required {
            self.fault(rule, FaultKind::Missing);
            return false;
        }
        if rule.max_rows > 0 && rows > rule.max_rows as usize {
            self.fault(rule, FaultKind::Rows);
            return false;
        }
        true
    }

    fn inside<M: Checked>(&mut self, rule: &Rule, row: Option<usize>, message: &M) {
        self.path.enter(rule.field, row);
        message.check(self);
        self.path.leave();
    }
}

/// A violation that is seen before the message is decoded, in the words of the check after it.
pub(crate) fn wire_fault(rule: &Rule, kind: FaultKind) -> Fault {
    let (description, text) = words(kind, rule.field.documented, rule.title, Some(rule));
    Fault { field: rule.field.into(), kind, description, text }
}

/// The English description and the Chinese message of a fault. The message begins with the
/// field's documented Chinese name.
fn words(kind: FaultKind, name: &str, title: &str, rule: Option<&Rule>) -> (String, String) {
    let length = rule.map(|r| r.length).unwrap_or_default();
    let scale = rule.and_then(|r| r.scale).unwrap_or_default();
    let title = if title.is_empty() { name } else { title };
    let is_decimal = rule.is_some_and(|r| r.scale.is_some());
    match kind {
        FaultKind::Missing => ("is required".into(), format!("{title}不能为空")),
        FaultKind::Type => ("has the wrong type".into(), format!("{title}类型不正确")),
        FaultKind::Length if is_decimal => (
            format!("has more than {} digits before the point", length.saturating_sub(scale)),
            format!("{title}整数部分不能超过{}位", length.saturating_sub(scale)),
        ),
        FaultKind::Length => {
            (format!("is longer than {length} characters or digits"), format!("{title}长度不能超过{length}"))
        }
        FaultKind::Scale => {
            (format!("has more than {scale} digits after the point"), format!("{title}小数不能超过{scale}位"))
        }
        FaultKind::Code => ("is not one of the documented codes".into(), format!("{title}不在规定的代码范围内")),
        FaultKind::Range => match rule.map(|r| (r.minimum, r.maximum)) {
            Some((Some(least), Some(most))) => {
                (format!("is not between {least} and {most}"), format!("{title}必须在{least}到{most}之间"))
            }
            Some((Some(least), None)) => (format!("is less than {least}"), format!("{title}不能小于{least}")),
            Some((None, Some(most))) => (format!("is more than {most}"), format!("{title}不能大于{most}")),
            _ => ("is out of range".into(), format!("{title}超出取值范围")),
        },
        FaultKind::Format => ("is not in the documented form".into(), format!("{title}格式不正确")),
        FaultKind::Rows => {
            let most = rule.map(|r| r.max_rows).unwrap_or_default();
            (format!("has more than {most} rows"), format!("{title}不能超过{most}行"))
        }
        FaultKind::Repeated => ("is given more than once".into(), format!("{title}重复出现")),
        FaultKind::Rule | FaultKind::Unspecified => ("is not allowed".into(), format!("{title}不符合规定")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(super) const PRICE: Rule = Rule {
        field: FieldName { proto: "price", documented: "CAT_ITEM_PRICE", number: 5 },
        title: "分类项目单价",
        required: true,
        length: 14,
        scale: Some(6),
        minimum: Some("0"),
        ..Rule::ANY
    };

    pub(super) fn kind_of(check: impl FnOnce(&mut Checker)) -> Option<FaultKind> {
        let mut checker = Checker::default();
        check(&mut checker);
        checker.into_faults().first().map(|f| f.kind)
    }

    #[test]
    fn a_field_that_cannot_be_read_is_told_once() {
        let rule =
            Rule { field: FieldName { proto: "kind", documented: "KIND", number: 1 }, required: true, ..Rule::ANY };
        let mut checker = Checker::default();
        checker.text(&rule, "");
        checker.push(Fault::rule(rule.field, "is required of a meter", "必传"));
        checker.push(Fault::rule("OTHER", "is required of a meter", "必传"));
        let told: Vec<_> = checker.into_faults().into_iter().map(|f| (f.field.to_string(), f.kind)).collect();
        assert_eq!(told, [("KIND".to_owned(), FaultKind::Missing), ("OTHER".to_owned(), FaultKind::Rule)]);
    }

    #[test]
    fn zero_is_given_where_the_field_is_optional_or_zero_is_its_minimum() {
        let rule = Rule { required: true, ..Rule::ANY };
        assert_eq!(kind_of(|c| c.integer(&rule, 0)), Some(FaultKind::Missing));
        assert_eq!(kind_of(|c| c.integer(&Rule { minimum: Some("0"), ..rule }, 0)), None);
        assert_eq!(kind_of(|c| c.number(&rule, Some(0))), None);
        assert_eq!(kind_of(|c| c.number(&rule, None)), Some(FaultKind::Missing));
        assert_eq!(kind_of(|c| c.number(&Rule { minimum: Some("1"), ..rule }, Some(0))), Some(FaultKind::Range));
    }

    #[test]
    fn a_value_that_comes_again_is_reported_at_each_later_row() {
        const ROWS: Rule = Rule { field: FieldName { proto: "rows", documented: "ROWS", number: 1 }, ..Rule::ANY };
        let values = ["a", "b", "a", "", "", "b", "a"].map(str::to_owned);
        let mut checker = Checker::default();
        checker.unique(&ROWS, FieldName { proto: "id", documented: "ID", number: 1 }, "编号", values.iter());
        let faults: Vec<_> = checker.into_faults().into_iter().map(|f| (f.field.to_string(), f.text)).collect();
        let at = |row, first| (format!("ROWS[{row}].ID"), format!("编号与ROWS[{first}]重复"));
        assert_eq!(faults, [at(2, 0), at(5, 1), at(6, 0)]);
    }

    #[test]
    fn a_field_the_gateway_could_not_carry_is_reported_once_and_in_place() {
        let met = TranscodingFaults {
            faults: vec![crate::contract::v1::TranscodingFault {
                field: "CAT_ITEM_PRICE".into(),
                kind: FaultKind::Type.into(),
            }],
            left_out: 0,
        };
        let mut checker = Checker::with_transcoding_faults(met);
        checker.decimal(&PRICE, "");
        let faults = checker.into_faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults.first().map(|f| f.kind), Some(FaultKind::Type));
    }

    #[test]
    fn nothing_is_said_to_be_missing_if_the_gateway_did_not_name_all_that_it_left_out() {
        let met = crate::contract::v1::TranscodingFault { field: "N".into(), kind: FaultKind::Type.into() };
        let mut checker =
            Checker::with_transcoding_faults(TranscodingFaults { faults: vec![met.clone()], left_out: 3 });
        checker.decimal(&PRICE, "");
        checker.decimal(&PRICE, "-1");
        checker.push(Fault::rule("M", "is required of a meter", "必传"));
        assert_eq!(checker.left_out(), 3);
        let told: Vec<_> = checker.into_faults().into_iter().map(|f| (f.field.to_string(), f.kind)).collect();
        assert_eq!(told, [("CAT_ITEM_PRICE".to_owned(), FaultKind::Range), ("N".to_owned(), FaultKind::Type)]);
        // A caller cannot talk a fault away.
        let mut missing = met;
        missing.field = "CAT_ITEM_PRICE".into();
        missing.kind = FaultKind::Missing.into();
        let mut checker = Checker::with_transcoding_faults(TranscodingFaults { faults: vec![missing], left_out: 3 });
        checker.decimal(&PRICE, "");
        assert_eq!(checker.into_faults().len(), 1);
        let none = Checker::with_transcoding_faults(TranscodingFaults { faults: Vec::new(), left_out: 3 });
        assert!(none.is_clean() && none.left_out() == 0);
    }

    #[test]
    fn a_number_that_does_not_fit_is_not_said_to_be_too_small() {
        let met = crate::contract::v1::TranscodingFault { field: "N".into(), kind: FaultKind::Range.into() };
        let mut checker = Checker::with_transcoding_faults(TranscodingFaults { faults: vec![met], left_out: 0 });
        let field = FieldName { proto: "n", documented: "N", number: 1 };
        checker.integer(&Rule { field, title: "数量", minimum: Some("0"), ..Rule::ANY }, 0);
        assert_eq!(checker.into_faults()[0].text, "数量超出取值范围");
    }
}
