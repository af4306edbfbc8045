//! Answers: every documented key in documented order, independent of the order of the bytes.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};

use super::{expected, fixture, scale, shape};
use crate::json::{Defect, Output};
use crate::plan::{Contract, MessageId};

fn write(contract: &Contract, id: MessageId, wire: &[u8]) -> Result<String, Defect> {
    let mut output = Output::new(contract.plans(), Vec::new());
    output.object(id, wire)?;
    Ok(String::from_utf8(output.into_bytes()).unwrap())
}

/// A message filled from a stream of random numbers.
pub(super) fn random(descriptor: &MessageDescriptor, seed: &mut impl FnMut() -> u64) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if seed().is_multiple_of(3) {
            continue;
        }
        let decimals = scale(&field);
        let is_optional = field.containing_oneof().is_some();
        let mut value = || match field.kind() {
            Kind::String => Value::String(match decimals {
                Some(_) if seed().is_multiple_of(4) => String::new(),
                Some(0) => format!("{}", seed() % 1000),
                Some(scale) => {
                    let digits = seed() as usize % scale + 1;
                    format!("{}.{:0digits$}", seed() % 100_000, seed() % 10_u64.pow(digits as u32))
                }
                None => ["", "甲乙丙", "a\"b\\c\n", "plain text of some length", "\u{1f600}\u{7f}\u{0}"]
                    [seed() as usize % 5]
                    .to_owned(),
            }),
            Kind::Int32 => Value::I32(seed() as i32),
            Kind::Int64 => Value::I64(seed() as i64),
            Kind::Enum(codes) => {
                // JSON has no form for a code that is set to its default.
                let values: Vec<_> = codes.values().map(|v| v.number()).filter(|&n| n != 0 || !is_optional).collect();
                Value::EnumNumber(values[seed() as usize % values.len()])
            }
            Kind::Message(inner) => Value::Message(random(&inner, seed)),
            other => panic!("{other:?}"),
        };
        let value = if field.is_list() { Value::List((0..3).map(|_| value()).collect()) } else { value() };
        message.set_field(&field, value);
    }
    message
}

pub(super) fn stream(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.rotate_left(23)
    }
}

/// The fields of an encoded message in another order.
fn shuffled(wire: &[u8], seed: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut reader = crate::encoding::protobuf::WireReader::new(wire);
    let mut fields = Vec::new();
    while !reader.is_done() {
        let start = reader.position();
        let (_, wire_type) = reader.tag().unwrap();
        reader.skip(wire_type).unwrap();
        fields.push(&wire[start..reader.position()]);
    }
    for last in (1..fields.len()).rev() {
        fields.swap(last, seed() as usize % (last + 1));
    }
    fields.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_message_is_written_as_the_documents_want_it(seed: u64) {
        let contract = fixture();
        let (id, descriptor) = shape(contract);
        let mut seed = stream(seed);
        let message = random(&descriptor, &mut seed);
        prop_assert_eq!(write(contract, id, &message.encode_to_vec()).unwrap(), expected(&message));
    }

    /// Protobuf merges messages by concatenating their bytes; a stored row and the fields that changed since are such a
    /// pair.
    #[test]
    fn merged_and_shuffled_bytes_are_written_as_their_merge(seed: u64) {
        let contract = fixture();
        let (id, descriptor) = shape(contract);
        let mut seed = stream(seed);
        let mut wire = random(&descriptor, &mut seed).encode_to_vec();
        wire.extend(random(&descriptor, &mut seed).encode_to_vec());
        let wire = shuffled(&wire, &mut seed);
        let merged = DynamicMessage::decode(descriptor, wire.as_slice()).unwrap();
        prop_assert_eq!(write(contract, id, &wire).unwrap(), expected(&merged));
    }

    #[test]
    fn random_bytes_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
        let contract = fixture();
        let (id, _) = shape(contract);
        if let Ok(text) = write(contract, id, &wire) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}

#[test]
fn every_message_of_the_contract_is_written_in_full_when_nothing_is_set() {
    let contract = &Contract::load().unwrap();
    for route in contract.routes() {
        let method = contract.pool().services().flat_map(|s| s.methods().collect::<Vec<_>>());
        let method = method.into_iter().find(|m| m.full_name() == route.method).unwrap();
        let empty = DynamicMessage::new(method.output());
        assert_eq!(write(contract, route.output, &[]).unwrap(), expected(&empty), "{}", route.method);
    }
}

#[test]
fn an_arrears_line_with_its_changes_after_it_has_all_61_keys_in_order() {
    let contract = &Contract::load().unwrap();
    let descriptor = contract.pool().get_message_by_name("communal.billing.v1.QueryUserArrearagesResponse").unwrap();
    let route = contract.routes().iter().find(|route| route.name == "QueryUserArrearages").unwrap();
    let line = contract.pool().get_message_by_name("communal.billing.v1.ReceivableLine").unwrap();
    let mut seed = stream(7);
    let mut wire = Vec::new();
    for _ in 0..3 {
        let issued = random(&line, &mut seed).encode_to_vec();
        let changed = random(&line, &mut seed).encode_to_vec();
        let row = [issued, changed].concat();
        wire.push(0x0a);
        crate::encoding::protobuf::push_varint(&mut wire, row.len() as u64);
        wire.extend(row);
    }
    let merged = DynamicMessage::decode(descriptor, wire.as_slice()).unwrap();
    let text = write(contract, route.output, &wire).unwrap();
    assert_eq!(text, expected(&merged));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for row in value["ACC_VOLPRICE_OWE"].as_array().unwrap() {
        let keys: Vec<_> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 61);
        assert_eq!((keys[0].as_str(), keys[60].as_str()), ("NODE_AID", "THE_PAID_IN_SID"));
    }
}

#[test]
fn an_optional_field_is_left_out_when_unset_and_written_when_set_to_its_default() {
    let contract = fixture();
    let (id, _) = shape(contract);
    let unset = write(contract, id, &[]).unwrap();
    assert!(!unset.contains("OPTIONAL"), "{unset}");
    // optional_text = "", optional_large = 0, optional_colour = UNSPECIFIED
    let set = write(contract, id, &[0x0a, 0, 0x38, 0, 0x48, 0]).unwrap();
    for part in [r#""OPTIONAL_TEXT":"""#, r#""OPTIONAL_LARGE":0"#, r#""OPTIONAL_COLOUR":"""#] {
        assert!(set.contains(part), "{part} in {set}");
    }
}

#[test]
fn numbers_may_be_packed_or_not() {
    let contract = fixture();
    let (id, _) = shape(contract);
    let packed_then_single = [0x6a, 2, 1, 2, 0x68, 3];
    assert!(write(contract, id, &packed_then_single).unwrap().contains(r#""NUMBERS":[1,2,3]"#));
}

#[test]
fn unknown_fields_of_a_newer_service_are_ignored() {
    let contract = fixture();
    let (id, _) = shape(contract);
    // Field 200: a varint, a text, a fixed64 and a fixed32.
    let wire = [0xc0, 0x0c, 1, 0xc2, 0x0c, 1, b'x', 0xc1, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0xc5, 0x0c, 0, 0, 0, 0];
    assert_eq!(write(contract, id, &wire), write(contract, id, &[]));
}

#[test]
fn a_reply_that_breaks_the_contract_is_a_defect_and_not_broken_json() {
    let contract = fixture();
    let (id, _) = shape(contract);
    for (what, wire) in [
        ("a decimal with a word in it", [&[0x12, 3][..], b"abc"].concat()),
        ("a decimal with too many digits", [&[0x12, 5][..], b"2.505"].concat()),
        ("a text that is not UTF-8", vec![0x1a, 1, 0xff]),
        ("a code of no value", vec![0x40, 3]),
        ("a code below zero", [vec![0x40], vec![0xff; 9], vec![1]].concat()),
        ("a text where a number is due", vec![0x2a, 1, b'1']),
        ("a length beyond the end", vec![0x1a, 9, b'x']),
        ("a varint without end", vec![0x28, 0xff, 0xff]),
        ("a varint of eleven bytes", [vec![0x28], vec![0xff; 10], vec![1]].concat()),
        ("a group", vec![0x2b]),
    ] {
        assert!(write(contract, id, &wire).is_err(), "{what}");
    }
}

#[test]
fn an_inline_message_has_its_keys_in_the_object_around_it() {
    let contract = fixture();
    let framed = contract.routes().iter().find(|route| route.name == "Frame").unwrap().output;
    let row = |name: &str, price: &str| {
        let fields = [(1, name), (2, price)].map(|(number, text)| field(number, text.as_bytes()));
        fields.concat()
    };
    let (before, after) = (field(1, b"b"), field(3, b"a"));
    let whole = r#"{"BEFORE":"b","NAME":"n","PRICE":1.500000,"LEAVES":[],"AFTER":"a"}"#;
    let inner = field(2, &row("n", "1.5"));
    for wire in [
        [before.as_slice(), &inner, &after].concat(),
        // Out of order, and in two parts that are merged.
        [after.as_slice(), &inner, &before].concat(),
        [&field(2, &row("x", "1.5")), &before, &field(2, &field(1, b"n")), &after].map(Vec::as_slice).concat(),
    ] {
        assert_eq!(write(contract, framed, &wire).unwrap(), whole);
    }
    let empty = r#"{"BEFORE":"","NAME":"","PRICE":0.000000,"LEAVES":[],"AFTER":""}"#;
    assert_eq!(write(contract, framed, &[]).unwrap(), empty);
    assert_eq!(write(contract, framed, &field(2, &[])).unwrap(), empty);
}

/// A field of bytes on the wire; short enough for a length of one byte.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut wire = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
    wire.extend_from_slice(value);
    wire
}
