//! `Coded` for each enum whose values have documented codes.

use std::fmt::Write as _;

use prost_reflect::EnumDescriptor;

use crate::Outcome;
use crate::names::{rust_path, variant};
use crate::options::Options;

/// Writes the implementation for one enum, if it has documented codes.
pub(crate) fn write(out: &mut String, codes: &EnumDescriptor, options: &Options) -> Outcome<()> {
    let values: Vec<_> =
        codes.values().filter_map(|v| options.code(&v).map(|code| (variant(codes, v.name()), code))).collect();
    if values.is_empty() {
        return Ok(());
    }
    writeln!(out, "impl crate::Coded for {} {{", rust_path(codes.package_name(), codes.name()))?;
    writeln!(out, "    const NAME: &'static str = {:?};", codes.name())?;
    writeln!(out, "    fn stored(self) -> Option<&'static str> {{ match self {{")?;
    for (name, value) in &values {
        writeln!(out, "        Self::{name} => Some({:?}),", value.code)?;
    }
    writeln!(out, "        _ => None, }} }}\n    fn title(self) -> &'static str {{ match self {{")?;
    for (name, value) in &values {
        writeln!(out, "        Self::{name} => {:?},", value.title)?;
    }
    writeln!(out, "        _ => \"\", }} }}\n    fn from_code(code: &str) -> Option<Self> {{ match code {{")?;
    for (name, value) in &values {
        let spellings: Vec<_> = std::iter::once(&value.code).chain(&value.alias).map(|s| format!("{s:?}")).collect();
        writeln!(out, "        {} => Some(Self::{name}),", spellings.join(" | "))?;
    }
    writeln!(out, "        _ => None, }} }}\n}}")?;
    Ok(())
}
