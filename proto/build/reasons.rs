//! `Reason` for the enums of reasons for refusal.

use std::fmt::Write as _;

use heck::ToUpperCamelCase as _;
use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

use crate::Outcome;
use crate::names::{rust_path, variant};
use crate::options::{Options, ReasonOptions};

/// The package whose reasons every service has; its domain is the product's own.
const COMMON: &str = "contract";

/// Returns the comment of a reason, in one line.
fn meaning(value: &EnumValueDescriptor) -> Outcome<String> {
    let file = value.parent_enum().parent_file();
    let locations = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
    let comment =
        locations.filter(|location| location.path == value.path()).map(|location| location.leading_comments());
    let words: Vec<_> = comment.flat_map(str::split_whitespace).collect();
    if words.is_empty() {
        return Err(format!("{} has no comment", value.full_name()).into());
    }
    Ok(words.join(" "))
}

/// Writes the implementation for one enum, if it lists reasons.
///
/// # Errors
/// A reason has no gRPC code or no text.
pub(crate) fn write(out: &mut String, reasons: &EnumDescriptor, options: &Options) -> Outcome<()> {
    if reasons.name() != "Reason" {
        return Ok(());
    }
    let mut values: Vec<(String, &str, ReasonOptions, String)> = Vec::new();
    let listed: Vec<_> = reasons.values().collect();
    for value in &listed {
        let reason = options.reason(value);
        if value.number() == 0 {
            // Never sent; a refusal for it is a mistake of ours.
            let internal = ReasonOptions { grpc: "INTERNAL".into(), text: String::new() };
            values.push((variant(reasons, value.name()), "UNSPECIFIED", internal, String::new()));
            continue;
        }
        if reason.grpc.is_empty() || reason.text.is_empty() {
            return Err(format!("{} needs a gRPC code and a text", value.full_name()).into());
        }
        let name = value.name().trim_start_matches("REASON_");
        values.push((variant(reasons, value.name()), name, reason, meaning(value)?));
    }
    let package = reasons.package_name().trim_start_matches("communal.").trim_end_matches(".v1");
    let domain = if package == COMMON { "communal".to_owned() } else { format!("{package}.communal") };
    writeln!(out, "impl crate::Reason for {} {{", rust_path(reasons.package_name(), reasons.name()))?;
    writeln!(out, "    fn name(self) -> &'static str {{ match self {{")?;
    for (variant, name, ..) in &values {
        writeln!(out, "        Self::{variant} => {name:?},")?;
    }
    writeln!(out, "    }} }}\n    fn domain(self) -> &'static str {{ {domain:?} }}")?;
    writeln!(out, "    fn grpc(self) -> tonic::Code {{ match self {{")?;
    for (variant, _, reason, _) in &values {
        writeln!(out, "        Self::{variant} => tonic::Code::{},", reason.grpc.to_upper_camel_case())?;
    }
    writeln!(out, "    }} }}\n    fn text(self) -> &'static str {{ match self {{")?;
    for (variant, _, reason, _) in &values {
        writeln!(out, "        Self::{variant} => {:?},", reason.text)?;
    }
    writeln!(out, "    }} }}\n    fn meaning(self) -> &'static str {{ match self {{")?;
    for (variant, .., meaning) in &values {
        writeln!(out, "        Self::{variant} => {meaning:?},")?;
    }
    writeln!(out, "    }} }}\n}}")?;
    Ok(())
}
