//! Reads the `communal.contract.v1` options off the descriptors.

use communal_proto::contract::v1::{CodeRules, FieldRules, ReasonRules, RouteRules};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumValueDescriptor, ExtensionDescriptor, FieldDescriptor, MethodDescriptor,
};

use super::ContractError;

/// The four options, looked up once.
#[derive(Debug)]
pub(crate) struct Options {
    field: ExtensionDescriptor,
    code: ExtensionDescriptor,
    route: ExtensionDescriptor,
    reason: ExtensionDescriptor,
}

impl Options {
    pub(crate) fn new(pool: &DescriptorPool) -> Result<Self, ContractError> {
        let find = |name: &'static str| pool.get_extension_by_name(name).ok_or(ContractError::Undefined(name));
        Ok(Self {
            field: find("communal.contract.v1.field")?,
            code: find("communal.contract.v1.code")?,
            route: find("communal.contract.v1.route")?,
            reason: find("communal.contract.v1.reason")?,
        })
    }

    /// The rules of a field; empty rules if it has none.
    pub(crate) fn field(&self, field: &FieldDescriptor) -> Result<FieldRules, ContractError> {
        Ok(read(field.full_name(), &field.options(), &self.field)?.unwrap_or_default())
    }

    /// The documented code of an enum value.
    pub(crate) fn code(&self, value: &EnumValueDescriptor) -> Result<Option<CodeRules>, ContractError> {
        read(value.full_name(), &value.options(), &self.code)
    }

    /// The route of a method.
    pub(crate) fn route(&self, method: &MethodDescriptor) -> Result<Option<RouteRules>, ContractError> {
        read(method.full_name(), &method.options(), &self.route)
    }

    /// The REST codes of a reason.
    pub(crate) fn reason(&self, value: &EnumValueDescriptor) -> Result<ReasonRules, ContractError> {
        Ok(read(value.full_name(), &value.options(), &self.reason)?.unwrap_or_default())
    }
}

fn read<M: prost::Message + Default>(
    element: &str,
    options: &DynamicMessage,
    extension: &ExtensionDescriptor,
) -> Result<Option<M>, ContractError> {
    if !options.has_extension(extension) {
        return Ok(None);
    }
    let value = options.get_extension(extension);
    let Some(message) = value.as_message() else {
        return Err(ContractError::shape(element, "has an option that is no message"));
    };
    let rules =
        message.transcode_to().map_err(|source| ContractError::Option { element: element.to_owned(), source })?;
    Ok(Some(rules))
}
