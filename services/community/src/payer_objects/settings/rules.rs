//! The rules of settings: their keys and values. An unknown key is an error, never ignored.

use communal_proto::community::v1::fields::community_setting as fields;
use communal_proto::community::v1::fields::put_community_settings_request::SETTINGS;
use communal_proto::community::v1::{CommunitySetting, PutCommunitySettingsRequest};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault, FieldName};

use super::Settings;

const PAY_FEE_MONTH: &str = "PAY_FEE_MONTH";
const PAY_FEE_MONTH_CYCLE: &str = "PAY_FEE_MONTH_CYCLE";
const ALLOW_DUPLICATE_FEE: &str = "ALLOW_DUPLICATE_FEE";
const BATCH_SELF_APPROVAL: &str = "BATCH_SELF_APPROVAL";
/// Most calendar months of a bill.
const LONGEST_BILL: i16 = 120;

/// The settings that a request changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    PayFeeMonth(bool),
    PayFeeMonthCycle(i16),
    AllowDuplicateFee(bool),
    BatchSelfApproval(bool),
}

impl Changes {
    /// Applies the changes.
    #[must_use]
    pub fn applied_to(&self, settings: Settings) -> Settings {
        self.0.iter().fold(settings, |settings, change| match *change {
            Change::PayFeeMonth(pay_fee_month) => Settings { pay_fee_month, ..settings },
            Change::PayFeeMonthCycle(pay_fee_month_cycle) => Settings { pay_fee_month_cycle, ..settings },
            Change::AllowDuplicateFee(allow_duplicate_fee) => Settings { allow_duplicate_fee, ..settings },
            Change::BatchSelfApproval(batch_self_approval) => Settings { batch_self_approval, ..settings },
        })
    }
}

/// Reads the changes of a request; `None` if anything is at fault.
pub fn of_put(request: &PutCommunitySettingsRequest, checker: &mut Checker) -> Option<Changes> {
    let mut changes = Vec::with_capacity(request.settings.len());
    for (row, setting) in request.settings.iter().enumerate() {
        // An empty key is reported by the field rules.
        if setting.key.is_empty() {
            continue;
        }
        match change(setting) {
            Ok(change) => changes.push(change),
            Err((field, english, chinese)) => checker.push(Fault {
                field: SETTINGS.at(row).then(field),
                kind: FaultKind::Code,
                description: english.to_owned(),
                text: chinese,
            }),
        }
    }
    checker.is_clean().then_some(Changes(changes))
}

fn change(setting: &CommunitySetting) -> Result<Change, (FieldName, &'static str, String)> {
    let CommunitySetting { key, value } = setting;
    let bad_value = |may: &str| (fields::VALUE, "is no value of this setting", format!("{key}只能是{may}"));
    let switch = || match value.as_str() {
        "ON" => Ok(true),
        "OFF" | "" => Ok(false),
        _ => Err(bad_value("ON或OFF")),
    };
    match key.as_str() {
        PAY_FEE_MONTH => switch().map(Change::PayFeeMonth),
        ALLOW_DUPLICATE_FEE => switch().map(Change::AllowDuplicateFee),
        BATCH_SELF_APPROVAL => switch().map(Change::BatchSelfApproval),
        PAY_FEE_MONTH_CYCLE => match value.as_str() {
            "" => Ok(Change::PayFeeMonthCycle(Settings::default().pay_fee_month_cycle)),
            months => {
                let digits = months.bytes().all(|digit| digit.is_ascii_digit());
                let months = months.parse().ok().filter(|months| digits && (1..=LONGEST_BILL).contains(months));
                months.map(Change::PayFeeMonthCycle).ok_or_else(|| bad_value(&format!("1到{LONGEST_BILL}的整数")))
            }
        },
        _ => Err((fields::KEY, "is no known setting", format!("不认识的设置项{key}"))),
    }
}

/// The settings as they are listed.
#[must_use]
pub fn listed(settings: Settings) -> Vec<CommunitySetting> {
    let Settings { pay_fee_month, pay_fee_month_cycle, allow_duplicate_fee, batch_self_approval } = settings;
    let switch = |on: bool| if on { "ON" } else { "OFF" }.to_owned();
    [
        (ALLOW_DUPLICATE_FEE, switch(allow_duplicate_fee)),
        (BATCH_SELF_APPROVAL, switch(batch_self_approval)),
        (PAY_FEE_MONTH, switch(pay_fee_month)),
        (PAY_FEE_MONTH_CYCLE, pay_fee_month_cycle.to_string()),
    ]
    .map(|(key, value)| CommunitySetting { key: key.to_owned(), value })
    .into()
}
