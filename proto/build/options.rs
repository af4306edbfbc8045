//! Our options of the descriptors, read into plain values.

use heck::ToUpperCamelCase as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumValueDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MethodDescriptor,
    ReflectMessage, Value,
};

use crate::Outcome;

/// The extensions of the contract.
pub(crate) struct Options {
    field: ExtensionDescriptor,
    code: ExtensionDescriptor,
    reason: ExtensionDescriptor,
    role: ExtensionDescriptor,
}

/// `FieldRules` of a field.
#[derive(Default)]
pub(crate) struct Rules {
    pub(crate) title: String,
    pub(crate) required: bool,
    pub(crate) length: u64,
    pub(crate) scale: Option<u64>,
    pub(crate) minimum: String,
    pub(crate) maximum: String,
    pub(crate) max_rows: u64,
    /// The variant of `Format`.
    pub(crate) format: String,
    pub(crate) missing_text: String,
    pub(crate) encoded: bool,
    pub(crate) unique: String,
}

/// `CodeRules` of an enum value.
pub(crate) struct CodeOptions {
    pub(crate) code: String,
    pub(crate) alias: Vec<String>,
    pub(crate) title: String,
}

/// The parts of `ReasonRules` that the implementation of `Reason` needs.
#[derive(Default)]
pub(crate) struct ReasonOptions {
    /// The gRPC code without its prefix, like `NOT_FOUND`; empty if there is none.
    pub(crate) grpc: String,
    pub(crate) text: String,
}

impl Options {
    pub(crate) fn new(pool: &DescriptorPool) -> Outcome<Self> {
        let find = |name: &str| {
            pool.get_extension_by_name(&format!("communal.contract.v1.{name}")).ok_or(format!("no extension {name}"))
        };
        Ok(Self { field: find("field")?, code: find("code")?, reason: find("reason")?, role: find("role")? })
    }

    pub(crate) fn rules(&self, field: &FieldDescriptor) -> Rules {
        let Some(rules) = extension(&field.options(), &self.field) else { return Rules::default() };
        Rules {
            title: text(&rules, "title"),
            required: flag(&rules, "required"),
            length: number(&rules, "length"),
            scale: rules.has_field_by_name("scale").then(|| number(&rules, "scale")),
            minimum: text(&rules, "minimum"),
            maximum: text(&rules, "maximum"),
            max_rows: number(&rules, "max_rows"),
            format: choice(&rules, "format", "FORMAT_").map_or_else(|| "Any".into(), |f| f.to_upper_camel_case()),
            missing_text: text(&rules, "missing_text"),
            encoded: flag(&rules, "encoded"),
            unique: text(&rules, "unique"),
        }
    }

    pub(crate) fn code(&self, value: &EnumValueDescriptor) -> Option<CodeOptions> {
        let rules = extension(&value.options(), &self.code)?;
        let alias = rules.get_field_by_name("alias")?;
        let alias = alias.as_list()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(CodeOptions { code: text(&rules, "code"), alias, title: text(&rules, "title") })
    }

    pub(crate) fn reason(&self, value: &EnumValueDescriptor) -> ReasonOptions {
        let Some(rules) = extension(&value.options(), &self.reason) else { return ReasonOptions::default() };
        ReasonOptions { grpc: choice(&rules, "grpc", "GRPC_").unwrap_or_default(), text: text(&rules, "text") }
    }

    /// The role that a method requires, without its prefix.
    pub(crate) fn role(&self, method: &MethodDescriptor) -> Option<String> {
        let options = method.options();
        let number = options.get_extension(&self.role).as_enum_number()?;
        value_name(&self.role.kind(), number, "ROLE_")
    }
}

fn extension(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
    if !options.has_extension(extension) {
        return None;
    }
    options.get_extension(extension).as_message().cloned()
}

fn text(message: &DynamicMessage, name: &str) -> String {
    message.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name(name).and_then(|v| v.as_bool()).unwrap_or_default()
}

fn number(message: &DynamicMessage, name: &str) -> u64 {
    message.get_field_by_name(name).and_then(|v| v.as_u32()).unwrap_or_default().into()
}

/// The name of an enum value without its prefix; `None` for the unspecified value.
fn choice(message: &DynamicMessage, name: &str, prefix: &str) -> Option<String> {
    let number = message.get_field_by_name(name)?.as_enum_number()?;
    value_name(&message.descriptor().get_field_by_name(name)?.kind(), number, prefix)
}

fn value_name(kind: &Kind, number: i32, prefix: &str) -> Option<String> {
    let value = kind.as_enum()?.get_value(number)?;
    (number != 0).then(|| value.name().trim_start_matches(prefix).to_owned())
}
