//! The rules of a request for bill rules. Which rows a fee item admits is judged as for fees:
//! [`crate::fees::rules::admit`].

use communal_proto::Checker;
use communal_proto::community::v1::CreateBillRulesRequest;
use communal_proto::community::v1::fields::{create_bill_rules_request, new_bill_rule};

use crate::vocabulary::spans::{self, ChargedSpan, RequestedSpan, RowFields};

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
