//! A constant for the names of each field, so that code names fields as the compiler knows
//! them and a renamed field does not compile.

use std::fmt::Write as _;

use prost_reflect::MessageDescriptor;

use crate::Outcome;
use crate::names::{field_constant, fields_module};

/// Writes the module of one message.
pub(crate) fn write(out: &mut String, message: &MessageDescriptor) -> Outcome<()> {
    if message.fields().len() == 0 {
        return Ok(());
    }
    writeln!(out, "/// The fields of `{}`.", message.name())?;
    writeln!(out, "pub mod {} {{", fields_module(message))?;
    writeln!(out, "    use crate::FieldName;")?;
    for field in message.fields() {
        let (proto, documented) = (field.name(), field.json_name());
        writeln!(out, "    /// `{documented}`")?;
        writeln!(
            out,
            "    pub const {}: FieldName = FieldName {{ proto: {proto:?}, documented: {documented:?}, number: {} }};",
            field_constant(&field),
            field.number()
        )?;
    }
    writeln!(out, "}}")?;
    Ok(())
}
