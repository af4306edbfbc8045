//! The rules of the transcoder. A second, slow implementation over reflection ([`expected`]) gives the expected answers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod input;
mod output;
mod text;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::plan::{Contract, MessageId};

/// A contract with every supported shape.
pub(super) fn fixture() -> &'static Contract {
    static FIXTURE: std::sync::OnceLock<Contract> = std::sync::OnceLock::new();
    FIXTURE.get_or_init(|| {
        Contract::compile(&crate::test_contract::compile(&["communal/billing/v9/shapes.proto"])).unwrap()
    })
}

/// The message plan of a message of a contract's route.
pub(super) fn shape(contract: &Contract) -> (MessageId, MessageDescriptor) {
    let descriptor = contract.pool().get_message_by_name("communal.billing.v9.Shape").unwrap();
    (contract.routes()[0].output, descriptor)
}

/// The contract's rules of a field.
fn rules(field: &FieldDescriptor) -> Option<DynamicMessage> {
    let extension = field.parent_pool().get_extension_by_name("communal.contract.v1.field").unwrap();
    let options = field.options();
    options.has_extension(&extension).then(|| options.get_extension(&extension).as_message().unwrap().clone())
}

fn scale(field: &FieldDescriptor) -> Option<usize> {
    let rules = rules(field)?;
    rules.has_field_by_name("scale").then(|| rules.get_field_by_name("scale").unwrap().as_u32().unwrap() as usize)
}

/// The documented JSON of a message, written by walking its descriptors.
pub(super) fn expected(message: &DynamicMessage) -> String {
    let mut parts = Vec::new();
    let descriptor = message.descriptor();
    for declared in &descriptor.descriptor_proto().field {
        let field = descriptor.get_field_by_name(declared.name()).unwrap();
        // No document has it, so REST does not answer it.
        if rules(&field).is_some_and(|rules| rules.get_field_by_name("grpc_only").unwrap().as_bool().unwrap()) {
            continue;
        }
        let presence = declared.proto3_optional();
        if presence && !message.has_field(&field) {
            continue;
        }
        let value = message.get_field(&field);
        let text = match value.as_ref() {
            Value::List(values) => {
                format!("[{}]", values.iter().map(|v| scalar(&field, v)).collect::<Vec<_>>().join(","))
            }
            value => scalar(&field, value),
        };
        parts.push(format!("{}:{text}", serde_json::to_string(field.json_name()).unwrap()));
    }
    format!("{{{}}}", parts.join(","))
}

fn scalar(field: &FieldDescriptor, value: &Value) -> String {
    match (value, field.kind(), scale(field)) {
        (Value::Message(message), _, _) => expected(message),
        (Value::String(text), _, Some(scale)) => {
            let text = if text.is_empty() { "0" } else { text.as_str() };
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let point = if scale == 0 { "" } else { "." };
            format!("{whole}{point}{fraction:0<scale$}")
        }
        (Value::String(text), _, None) => serde_json::to_string(text).unwrap(),
        (Value::EnumNumber(number), Kind::Enum(codes), _) => {
            let extension = codes.parent_pool().get_extension_by_name("communal.contract.v1.code").unwrap();
            let options = codes.get_value(*number).unwrap().options();
            let code =
                options.get_extension(&extension).as_message().unwrap().get_field_by_name("code").unwrap().into_owned();
            serde_json::to_string(code.as_str().unwrap()).unwrap()
        }
        (Value::I32(number), ..) => number.to_string(),
        (Value::I64(number), ..) => number.to_string(),
        other => panic!("no documented shape has {other:?}"),
    }
}
