//! The rules of fees: what a request for them must look like, and which rows a fee item admits.
//! Bill rules admit rows by the same rule.

use communal_kit::database::stored::Stored;
use communal_kit::refusal::Refusal;
use communal_proto::Checker;
use communal_proto::community::v1::fields::{create_fees_request, new_fee};
use communal_proto::community::v1::{CreateFeesRequest, PayerObjectType};

use super::AdmittedRows;
use crate::fee_items::{self, StoredItem};
use crate::payer_objects;
use crate::vocabulary::spans::{self, ChargedSpan, RequestedSpan, RowFields};

/// The fields of a fee in a request.
pub const FIELDS: RowFields = RowFields {
    rows: create_fees_request::FEES,
    payer_obj_id: new_fee::PAYER_OBJ_ID,
    start: new_fee::START_TIME,
    end: new_fee::DEADLINE_TIME,
};

/// Reads a request for fees; `None` if anything in it is at fault.
pub fn of_create(request: &CreateFeesRequest, checker: &mut Checker) -> Option<Vec<ChargedSpan>> {
    let rows = request.fees.iter().map(|fee| RequestedSpan {
        payer_obj_id: &fee.payer_obj_id,
        start: &fee.start_time,
        end: &fee.deadline_time,
    });
    spans::read(rows, FIELDS, checker)
}

/// Judges whether the rows of a request may be stored. `types` are those of the payer objects of
/// the rows, `None` for one that the community does not have.
///
/// # Errors
/// Returns `FEE_ITEM_NOT_FOUND` if there is no such item, `FEE_ITEM_STOPPED` if it is stopped, the
/// faults of rows that start after its end, and `PAYER_OBJECT_NOT_FOUND` if the community does not
/// have one of the payer objects.
pub fn admit(
    item: Option<StoredItem>,
    types: Vec<Option<Stored<PayerObjectType>>>,
    spans: &[ChargedSpan],
    fields: RowFields,
) -> Result<AdmittedRows, Refusal> {
    let item = fee_items::rules::chargeable(item, spans, fields)?;
    let types = payer_objects::rules::known(types, spans, fields)?;
    Ok(AdmittedRows {
        epoch: item.closures,
        payer_obj_ids: spans.iter().map(|span| span.payer_obj_id.clone()).collect(),
        types,
        starts: spans.iter().map(|span| span.start).collect(),
        ends: spans.iter().map(|span| span.end).collect(),
    })
}
