//! The role that each method requires of the calling tenant.

use std::fmt::Write as _;

use heck::ToUpperCamelCase as _;
use prost_reflect::DescriptorPool;

use crate::Outcome;
use crate::options::Options;

/// Writes `required_role`.
pub(crate) fn write(out: &mut String, pool: &DescriptorPool, options: &Options) -> Outcome<()> {
    writeln!(
        out,
        "/// The role that a method, like `/communal.billing.v1.PackageService/AddSalePackage`, requires of"
    )?;
    writeln!(out, "/// the calling tenant; `Unspecified` for a method that any tenant may call.")?;
    writeln!(out, "#[must_use]\npub fn required_role(method: &str) -> crate::contract::v1::Role {{")?;
    writeln!(out, "    use crate::contract::v1::Role;\n    match method {{")?;
    for service in pool.services() {
        for method in service.methods() {
            if let Some(role) = options.role(&method) {
                let path = format!("/{}/{}", service.full_name(), method.name());
                writeln!(out, "        {path:?} => Role::{},", role.to_upper_camel_case())?;
            }
        }
    }
    writeln!(out, "        _ => Role::Unspecified,\n    }}\n}}")?;
    Ok(())
}
