//! Every example of the contract passes the rules of its own field. Examples stand in the OpenAPI
//! document, and the product's tests make their requests from them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use communal_proto::contract::v1::{self, FieldRules};
use communal_proto::{Checker, FILE_DESCRIPTOR_SET, FieldName, Format, Rule};
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind};

/// The rule that the build makes of these options.
fn rule(rules: &FieldRules) -> Rule {
    // The build writes rules as constants; a test may leak its few.
    let bound = |text: &str| (!text.is_empty()).then(|| &*text.to_owned().leak());
    Rule {
        field: FieldName { proto: "example", documented: "EXAMPLE", number: 1 },
        required: rules.required,
        length: rules.length,
        scale: rules.scale,
        minimum: bound(&rules.minimum),
        maximum: bound(&rules.maximum),
        format: match rules.format() {
            v1::Format::Unspecified => Format::Any,
            v1::Format::DateNumber => Format::DateNumber,
            v1::Format::MonthNumber => Format::MonthNumber,
            v1::Format::DateOrTime => Format::DateOrTime,
            v1::Format::Digits => Format::Digits,
            v1::Format::Identifier => Format::Identifier,
            v1::Format::Name => Format::Name,
            v1::Format::Region => Format::Region,
            v1::Format::Phone => Format::Phone,
        },
        ..Rule::ANY
    }
}

fn is_code(codes: &EnumDescriptor, text: &str) -> bool {
    let extension = codes.parent_pool().get_extension_by_name("communal.contract.v1.code").unwrap();
    codes.values().any(|value| {
        let options = value.options();
        let rules: v1::CodeRules = options.get_extension(&extension).as_message().unwrap().transcode_to().unwrap();
        rules.code == text || rules.alias.iter().any(|alias| alias == text)
    })
}

fn rules_of(field: &FieldDescriptor) -> FieldRules {
    let extension = field.parent_pool().get_extension_by_name("communal.contract.v1.field").unwrap();
    field.options().get_extension(&extension).as_message().unwrap().transcode_to().unwrap()
}

fn check(field: &FieldDescriptor, rules: &FieldRules) {
    let (rule, example) = (rule(rules), rules.example.as_str());
    let mut checker = Checker::default();
    match field.kind() {
        Kind::Enum(codes) => assert!(is_code(&codes, example), "{}: {example} is no code", field.full_name()),
        Kind::String if rules.scale.is_some() => checker.decimal(&rule, example),
        Kind::String => checker.text(&rule, example),
        Kind::Int32 | Kind::Int64 => checker.integer(&rule, example.parse().unwrap()),
        Kind::Message(filter) => {
            let shown = filter.get_field_by_name(example);
            let shown = shown.unwrap_or_else(|| panic!("{} has no field {example}", filter.full_name()));
            assert!(!rules_of(&shown).example.is_empty(), "{} has no example", shown.full_name());
        }
        other => panic!("{} is {other:?} and has an example", field.full_name()),
    }
    assert_eq!(checker.into_faults(), [], "{}: {example}", field.full_name());
}

#[test]
fn every_example_passes_the_rules_of_its_field() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut examples = 0;
    for field in pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
        let rules = rules_of(&field);
        if !rules.example.is_empty() {
            check(&field, &rules);
            examples += 1;
        }
    }
    assert!(examples > 0);
}
