//! The rules of payer objects: what a registration must look like, and which of them may be charged.

use std::collections::HashMap;

use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::payer_object as fields;
use communal_proto::community::v1::fields::register_payer_objects_request::PAYER_OBJECTS;
use communal_proto::community::v1::{PayerObject, PayerObjectType, Reason, RegisterPayerObjectsRequest};
use communal_proto::{Checker, Fault, FieldName};

use super::store::Known;
use crate::vocabulary::spans::{ChargedSpan, RowFields};

/// The owners that a registration names, with the name and the phone of each.
#[derive(Debug, Default)]
pub struct Owners<'a>(HashMap<&'a str, (&'a str, &'a str)>);

/// Reads a registration: what [`faults_of`] finds goes to the checker.
pub fn of_register(request: &RegisterPayerObjectsRequest, checker: &mut Checker) -> Option<()> {
    let mut owners = Owners::default();
    for (row, object) in request.payer_objects.iter().enumerate() {
        for fault in faults_of(object, &mut owners) {
            checker.push(Fault { field: PAYER_OBJECTS.at(row).then(fault.field), ..fault });
        }
    }
    checker.is_clean().then_some(())
}

/// Finds what is wrong with a payer object beyond its field rules, among them an owner whose name or
/// phone differs from those that another object gave.
pub fn faults_of<'a>(object: &'a PayerObject, owners: &mut Owners<'a>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut push = |field: FieldName, english: &str, chinese: &str| faults.push(Fault::rule(field, english, chinese));
    if object.owner_id.is_empty() != object.owner_name.is_empty() {
        push(fields::OWNER_NAME, "does not go together with ownerId", "业主ID和业主必须同时填写");
    } else if object.owner_id.is_empty() && !object.owner_tel.is_empty() {
        push(fields::OWNER_TEL, "has no owner", "业主电话没有对应的业主");
    } else if !object.owner_id.is_empty() {
        let given = (object.owner_name.as_str(), object.owner_tel.as_str());
        if *owners.0.entry(&object.owner_id).or_insert(given) != given {
            push(fields::OWNER_NAME, "differs from another row of the same owner", "同一业主的姓名或电话不一致");
        }
    }
    if !object.room_ids.is_empty() && object.payer_obj_type() != PayerObjectType::Contract {
        push(fields::ROOM_IDS, "is for contracts only", "只有合同才有合同房屋");
    }
    let mut rooms = object.room_ids.clone();
    rooms.sort_unstable();
    rooms.dedup();
    if rooms.len() != object.room_ids.len() {
        push(fields::ROOM_IDS, "names a room twice", "合同房屋重复");
    }
    faults
}

/// Judges whether the rooms of registered contracts exist. `unknown` are the contracts with a room
/// that the community does not have, and that room.
///
/// # Errors
/// Returns `PAYER_OBJECT_NOT_FOUND` if there are any.
pub fn rooms_exist(unknown: &[(String, String)]) -> Result<(), Refusal> {
    let Some((contract, room)) = unknown.first() else { return Ok(()) };
    Err(Refusal::new(Reason::PayerObjectNotFound, format!("合同{contract}的房屋{room}不存在")))
}

/// Returns the payer objects of charged spans, in their order.
///
/// # Errors
/// Returns `PAYER_OBJECT_NOT_FOUND` if the community does not have one of them. Each row with
/// such an object is named.
pub fn known(objects: Vec<Option<Known>>, spans: &[ChargedSpan], fields: RowFields) -> Result<Vec<Known>, Refusal> {
    let mut unknown = Vec::new();
    for (index, (_, span)) in objects.iter().zip(spans).enumerate().filter(|(_, (object, _))| object.is_none()) {
        let text = format!("付费对象{}不存在", span.payer_obj_id);
        let field = fields.at(index, fields.payer_obj_id);
        unknown.push(Fault::rule(field, "is no payer object of the community", text));
    }
    match unknown.first() {
        None => Ok(objects.into_iter().flatten().collect()),
        Some(first) => Err(Refusal::new(Reason::PayerObjectNotFound, first.text.clone()).faults(unknown)),
    }
}
