//! `Checked` for each message: one check a field, in documented order, and the form of its names.

use std::fmt::Write as _;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::Outcome;
use crate::names::{field_path, rust_path};
use crate::options::{Options, Rules};

/// Writes the implementation for one message.
pub(crate) fn write(out: &mut String, message: &MessageDescriptor, options: &Options) -> Outcome<()> {
    let mut body = String::new();
    for field in message.fields() {
        let rules = options.rules(&field);
        if rules.title.is_empty() || rules.encoded {
            continue;
        }
        write_field(&mut body, &field, &rules, options)?;
    }
    let checker = if body.is_empty() { "_" } else { "checker" };
    writeln!(out, "impl crate::Checked for {} {{", rust_path(message.package_name(), message.name()))?;
    writeln!(out, "    fn check(&self, {checker}: &mut crate::Checker) {{\n{body}    }}")?;
    if has_names(message, options) {
        writeln!(out, "    fn tidy_names(&mut self) {{")?;
        for field in message.fields().filter(|field| is_name(field, options) || holds_names(field, options)) {
            tidy_field(out, &field)?;
        }
        writeln!(out, "    }}")?;
    }
    writeln!(out, "}}")?;
    Ok(())
}

/// Returns true if a message, or one inside it, has a name.
fn has_names(message: &MessageDescriptor, options: &Options) -> bool {
    message.fields().any(|field| is_name(&field, options) || holds_names(&field, options))
}

fn is_name(field: &FieldDescriptor, options: &Options) -> bool {
    options.rules(field).format == "Name"
}

/// Returns true for a message that is checked field by field and has a name.
fn holds_names(field: &FieldDescriptor, options: &Options) -> bool {
    let rules = options.rules(field);
    let Kind::Message(inner) = field.kind() else { return false };
    !rules.title.is_empty() && !rules.encoded && has_names(&inner, options)
}

fn tidy_field(out: &mut String, field: &FieldDescriptor) -> Outcome<()> {
    let name = field.name();
    let act = if matches!(field.kind(), Kind::Message(_)) { "crate::Checked::tidy_names" } else { "crate::tidy_name" };
    match field.is_list() || field.supports_presence() {
        true => writeln!(out, "        self.{name}.iter_mut().for_each({act});")?,
        false => writeln!(out, "        {act}(&mut self.{name});")?,
    }
    Ok(())
}

fn write_field(out: &mut String, field: &FieldDescriptor, rules: &Rules, options: &Options) -> Outcome<()> {
    let Some(call) = call(field, rules)? else { return Ok(()) };
    write!(out, "        {{ const RULE: crate::Rule = ")?;
    write_rule(out, field, rules)?;
    write!(out, "; {call}; ")?;
    if !rules.unique.is_empty() {
        let key = key_of(field, &rules.unique)?;
        let (rows, name, path, title) = (field.name(), key.name(), field_path(&key), options.rules(&key).title);
        write!(out, "checker.unique(&RULE, {path}, {title:?}, self.{rows}.iter().map(|row| &row.{name})); ")?;
    }
    writeln!(out, "}}")?;
    Ok(())
}

/// Only what differs from the rule that allows everything.
pub(crate) fn write_rule(out: &mut String, field: &FieldDescriptor, rules: &Rules) -> Outcome<()> {
    write!(out, "crate::Rule {{ field: {}, title: {:?}", field_path(field), rules.title)?;
    if rules.required {
        write!(out, ", required: true")?;
    }
    if rules.length > 0 {
        write!(out, ", length: {}", rules.length)?;
    }
    if let Some(scale) = rules.scale {
        write!(out, ", scale: Some({scale})")?;
    }
    for (name, bound) in [("minimum", &rules.minimum), ("maximum", &rules.maximum)] {
        if !bound.is_empty() {
            write!(out, ", {name}: Some({bound:?})")?;
        }
    }
    if rules.max_rows > 0 {
        write!(out, ", max_rows: {}", rules.max_rows)?;
    }
    if !matches!(rules.format.as_str(), "" | "Any") {
        write!(out, ", format: crate::Format::{}", rules.format)?;
    }
    if !rules.missing_text.is_empty() {
        write!(out, ", missing_text: {:?}", rules.missing_text)?;
    }
    write!(out, ", ..crate::Rule::ANY }}")?;
    Ok(())
}

/// The call of the checker; `None` for a field that can hold no wrong value.
fn call(field: &FieldDescriptor, rules: &Rules) -> Outcome<Option<String>> {
    let name = field.name();
    Ok(Some(match (field.kind(), field.is_list(), field.supports_presence()) {
        (Kind::Message(_), true, _) => format!("checker.rows(&RULE, &self.{name})"),
        (Kind::Message(_), false, _) => format!("checker.message(&RULE, self.{name}.as_ref())"),
        (Kind::String, true, _) => format!("checker.texts(&RULE, &self.{name})"),
        (Kind::String, false, _) if rules.scale.is_some() => format!("checker.decimal(&RULE, &self.{name})"),
        (Kind::String, false, true) => format!("checker.text(&RULE, self.{name}.as_deref().unwrap_or_default())"),
        (Kind::String, false, false) => format!("checker.text(&RULE, &self.{name})"),
        (Kind::Int32, false, false) => format!("checker.integer(&RULE, i64::from(self.{name}))"),
        (Kind::Int64, false, false) => format!("checker.integer(&RULE, self.{name})"),
        (Kind::Int32, false, true) => format!("checker.number(&RULE, self.{name}.map(i64::from))"),
        (Kind::Int64, false, true) => format!("checker.number(&RULE, self.{name})"),
        (Kind::Enum(codes), false, false) => {
            let path = rust_path(codes.package_name(), codes.name());
            format!("checker.code(&RULE, self.{name}, {path}::try_from(self.{name}).is_ok())")
        }
        (Kind::Bool, false, false) => return Ok(None),
        other => return Err(format!("no check for {}: {other:?}", field.full_name()).into()),
    }))
}

/// The field of a row that no two rows of a request may share.
fn key_of(rows: &FieldDescriptor, key: &str) -> Outcome<FieldDescriptor> {
    let Kind::Message(row) = rows.kind() else {
        return Err(format!("unique at {}, which has no rows", rows.full_name()).into());
    };
    let field = row.get_field_by_name(key).filter(|_| rows.is_list());
    Ok(field.ok_or_else(|| format!("unique at {}: a row has no field {key}", rows.full_name()))?)
}
