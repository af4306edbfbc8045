//! The names that prost gives to messages, enums and their values.

use heck::{ToShoutySnakeCase as _, ToSnakeCase as _, ToUpperCamelCase as _};
use prost_reflect::{EnumDescriptor, FieldDescriptor, MessageDescriptor};

/// The path of a message or enum in this crate.
pub(crate) fn rust_path(package: &str, name: &str) -> String {
    format!("{}::{}", module_path(package), name.to_upper_camel_case())
}

/// The path of a package in this crate.
pub(crate) fn module_path(package: &str) -> String {
    format!("crate::{}", package.trim_start_matches("communal.").replace('.', "::"))
}

/// The variant of an enum value: prost cuts off the name of the enum.
pub(crate) fn variant(codes: &EnumDescriptor, value: &str) -> String {
    let full = value.to_upper_camel_case();
    let cut = full.strip_prefix(&codes.name().to_upper_camel_case()).unwrap_or(&full).to_owned();
    if cut.starts_with(|c: char| c.is_ascii_digit()) { full } else { cut }
}

/// The module that holds the names of a message's fields.
pub(crate) fn fields_module(message: &MessageDescriptor) -> String {
    message.name().to_snake_case()
}

/// The constant of a field's names.
pub(crate) fn field_constant(field: &FieldDescriptor) -> String {
    field.name().to_shouty_snake_case()
}

/// The path of the constant of a field's names in this crate.
pub(crate) fn field_path(field: &FieldDescriptor) -> String {
    let message = field.parent_message();
    let module = module_path(message.package_name());
    format!("{module}::fields::{}::{}", fields_module(message), field_constant(field))
}
