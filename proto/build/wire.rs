//! The tables by which requests are checked before they are decoded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::Outcome;
use crate::checks::write_rule;
use crate::names::rust_path;
use crate::options::{Options, Rules};

/// Messages of other packages have no rows and are not looked into.
const OURS: &str = "communal.";
/// Most bytes of a text whose length the contract does not limit.
const TEXT: u64 = 1_024;
/// Most bytes of a tag and of a length in front of a value.
const OVERHEAD: u64 = 2 + 5;
const VARINT: u64 = 2 + 10;
/// Room for a request with faults.
const ROOM: u64 = 64 * 1_024;
/// No request may be larger, whatever follows from its rows.
const MOST: u64 = 16 * 1_024 * 1_024;

/// What is known of a message whose table was written.
#[derive(Clone, Copy)]
struct Written {
    counters: usize,
    size: u64,
}

/// Writes the table of each request, and the requests by the paths of their methods.
///
/// # Errors
/// A repeated field of a request has no limit of rows, or is of a kind that no request has.
pub(crate) fn write(out: &mut String, pool: &DescriptorPool, options: &Options) -> Outcome<()> {
    let mut tables = Tables { out, options, written: BTreeMap::new(), open: Vec::new() };
    let mut requests = String::new();
    for service in pool.services().filter(|s| s.package_name().starts_with(OURS)) {
        for method in service.methods() {
            let input = method.input();
            let Written { size, .. } = tables.message(&input)?;
            let largest = (size + ROOM).next_multiple_of(1_024).min(MOST);
            writeln!(
                requests,
                "    (\"/{}/{}\", crate::wire::Request {{ message: &{}, largest: {largest} }}),",
                service.full_name(),
                method.name(),
                table(&input)
            )?;
        }
    }
    writeln!(out, "/// The requests by the paths of their methods, as they may be on the wire.")?;
    writeln!(out, "pub static REQUESTS: &[(&str, crate::wire::Request)] = &[\n{requests}];")?;
    out.push_str(LOOKUP);
    Ok(())
}

/// The lookup by method.
const LOOKUP: &str = "
/// Returns the request of a method, like `/communal.billing.v1.PackageService/AddSalePackage`, as it is on
/// the wire; `None` for a method that is not in the contract.
#[must_use]
pub fn request_of(method: &str) -> Option<&'static crate::wire::Request> {
    use std::collections::HashMap;
    static BY_METHOD: std::sync::LazyLock<HashMap<&str, &crate::wire::Request>> =
        std::sync::LazyLock::new(|| REQUESTS.iter().map(|(method, request)| (*method, request)).collect());
    BY_METHOD.get(method).copied()
}
";

/// The name of a message's table.
fn table(message: &MessageDescriptor) -> String {
    format!("WIRE_{}", message.full_name().replace('.', "_").to_uppercase())
}

struct Tables<'o> {
    out: &'o mut String,
    options: &'o Options,
    written: BTreeMap<String, Written>,
    open: Vec<String>,
}

impl Tables<'_> {
    fn message(&mut self, message: &MessageDescriptor) -> Outcome<Written> {
        let name = message.full_name().to_owned();
        if let Some(written) = self.written.get(&name) {
            return Ok(*written);
        }
        if self.open.contains(&name) {
            return Err(format!("{name} contains itself: requests have a bounded depth").into());
        }
        self.open.push(name.clone());
        let mut fields = String::new();
        let mut whole = Written { counters: 0, size: 0 };
        for declared in &message.descriptor_proto().field {
            let field = message.get_field_by_name(declared.name()).ok_or("a field without a descriptor")?;
            self.field(&mut fields, &field, &mut whole)?;
        }
        self.open.pop();
        writeln!(
            self.out,
            "static {}: crate::wire::Message = crate::wire::Message {{ counters: {}, fields: &[\n{fields}] }};",
            table(message),
            whole.counters
        )?;
        self.written.insert(name, whole);
        Ok(whole)
    }

    fn field(&mut self, out: &mut String, field: &FieldDescriptor, whole: &mut Written) -> Outcome<()> {
        let rules = self.options.rules(field);
        let repeated = field.is_list();
        if repeated && rules.max_rows == 0 {
            return Err(format!("{} is repeated in a request and has no max_rows", field.full_name()).into());
        }
        let counter = whole.counters;
        let (kind, row, size) = match field.kind() {
            Kind::Message(inner) if !rules.encoded && inner.package_name().starts_with(OURS) => {
                let written = self.message(&inner)?;
                whole.counters += if repeated { 1 } else { written.counters };
                let row = rust_path(inner.package_name(), inner.name());
                (format!("Message(&{})", table(&inner)), row, OVERHEAD + written.size)
            }
            Kind::Message(_) | Kind::Bytes => {
                whole.counters += usize::from(repeated);
                ("Bytes".to_owned(), "::prost::bytes::Bytes".to_owned(), OVERHEAD + text_size(&rules))
            }
            Kind::String => {
                whole.counters += usize::from(repeated);
                ("Text".to_owned(), "::prost::alloc::string::String".to_owned(), OVERHEAD + text_size(&rules))
            }
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) if !repeated => {
                ("Varint".to_owned(), String::new(), VARINT)
            }
            other => return Err(format!("{} is of a kind that no request has: {other:?}", field.full_name()).into()),
        };
        whole.size += if repeated { size * rules.max_rows } else { size };
        write!(out, "    crate::wire::Field {{ rule: ")?;
        write_rule(out, field, &rules)?;
        let row = if repeated { format!("Some(::std::mem::size_of::<{row}>())") } else { "None".to_owned() };
        writeln!(out, ", kind: crate::wire::Kind::{kind}, row: {row}, counter: {counter} }},")?;
        Ok(())
    }
}

/// Most bytes of a text: a character has up to four; sign and point of a decimal are not counted by
/// its length.
fn text_size(rules: &Rules) -> u64 {
    match (rules.length, rules.scale) {
        (0, _) => TEXT,
        (length, Some(_)) => length + 2,
        (length, None) => length * 4,
    }
}
