//! The rules of a request for bill rules. Which rows a fee item admits is judged as for fees:
//! [`crate::fees::rules::admit`].

use communal_proto::Checker;
use communal_proto::community::v1::fields::{create_bill_rules_request, new_bill_rule};
use communal_proto::community::v1::{CreateBillRulesRequest, ListPayFeeRuleBillRequest, ListPayFeeRuleRequest};

use super::store::RuleFilter;
use crate::fees::{BillsOf, FeeFilter};
use crate::vocabulary::codes::given;
use crate::vocabulary::spans::{self, ChargedSpan, RequestedSpan, RowFields};
use crate::vocabulary::times;

/// The fields of a bill rule in a request.
pub const FIELDS: RowFields = RowFields {
    rows: Some(create_bill_rules_request::RULES),
    payer_obj_id: new_bill_rule::PAYER_OBJ_ID,
    start: new_bill_rule::START_TIME,
    end: new_bill_rule::MAX_TIME,
};

/// Reads a request for bill rules; `None` if anything in it is at fault.
pub fn of_create(request: &CreateBillRulesRequest, checker: &mut Checker) -> Option<Vec<ChargedSpan>> {
    let rows = request.rules.iter().map(|rule| RequestedSpan {
        payer_obj_id: &rule.payer_obj_id,
        start: &rule.start_time,
        end: &rule.max_time,
    });
    spans::read(rows, FIELDS, checker)
}

/// The filter of a list of rules.
#[must_use]
pub fn of_list(request: &ListPayFeeRuleRequest) -> RuleFilter {
    RuleFilter {
        rule_id: text(&request.rule_id),
        config_id: text(&request.config_id),
        payer_obj_id: text(&request.payer_obj_id),
        payer_obj_type: given(request.payer_obj_type()),
        state: given(request.state()),
        fee_type: given(request.fee_type_cd()),
        fee_flag: given(request.fee_flag()),
        batch_id: text(&request.batch_id),
        fee_id: text(&request.fee_id),
    }
}

/// The filter of a list of bills.
#[must_use]
pub fn of_bills(request: &ListPayFeeRuleBillRequest) -> FeeFilter {
    FeeFilter {
        fee_id: text(&request.bill_id),
        config_ids: text(&request.config_id).into_iter().collect(),
        bills_of: Some(BillsOf {
            rule_id: text(&request.rule_id),
            fee_id: text(&request.fee_id),
            from: times::start(&request.cur_year_month).map(|time| time.date()),
            name_part: text(&request.bill_name),
        }),
        ..FeeFilter::default()
    }
}

/// A text that was given.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
