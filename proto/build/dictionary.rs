//! The dictionary of a package: a message `Dictionary` that declares each documented name once,
//! with its type, rules and comment. A field elsewhere with the same `json_name` says only what
//! is its own.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind};

use crate::Outcome;
use crate::complete::overlay;

/// The file of a dictionary; it is compiled into nothing.
pub(crate) const FILE: &str = "/dictionary.proto";
const MESSAGE: &str = "Dictionary";
/// The type of an entry that names a block, a message of any type.
const BLOCK: &str = "Block";
/// The rules that an entry decides for every field of its name.
const DECIDED: [&str; 3] = ["length", "scale", "format"];

/// All dictionaries of the contract.
pub(crate) struct Dictionary {
    /// The extension with the rules of a field.
    pub(crate) field: ExtensionDescriptor,
    /// By package and documented name.
    entries: HashMap<(String, String), Entry>,
}

/// The entry of a documented name.
pub(crate) struct Entry {
    kind: Kind,
    rules: DynamicMessage,
    pub(crate) comment: String,
}

impl Dictionary {
    pub(crate) fn read(pool: &DescriptorPool, field: &ExtensionDescriptor) -> Self {
        let mut entries = HashMap::new();
        for message in pool.all_messages().filter(|message| message.name() == MESSAGE) {
            for described in message.fields() {
                let options = described.options();
                let rules = options.get_extension(field);
                let Some(rules) = rules.as_message().cloned() else { continue };
                let key = (message.package_name().to_owned(), described.json_name().to_owned());
                entries.insert(key, Entry { kind: described.kind(), rules, comment: comment_of(&described) });
            }
        }
        Self { field: field.clone(), entries }
    }

    /// The entry of a field.
    ///
    /// # Errors
    /// A documented name is not in the dictionary, and the field has no title of its own.
    pub(crate) fn entry(&self, field: &FieldDescriptor) -> Outcome<Option<&Entry>> {
        let package = field.parent_file().package_name().to_owned();
        let entry = self.entries.get(&(package, field.json_name().to_owned()));
        let options = field.options();
        let rules = options.get_extension(&self.field);
        let titled = rules.as_message().is_some_and(|rules| rules.has_field_by_name("title"));
        if entry.is_none() && !titled && is_documented(field.json_name()) {
            let (name, documented) = (field.full_name(), field.json_name());
            return Err(format!("{name}: {documented} is not in the dictionary, and the field has no title").into());
        }
        Ok(entry)
    }
}

impl Entry {
    /// The rules of the entry, and on top of them those of the field itself.
    ///
    /// # Errors
    /// The field has another type, decides what the entry decides, or repeats it.
    pub(crate) fn merged(&self, field: &FieldDescriptor, own: &DynamicMessage) -> Outcome<DynamicMessage> {
        let name = field.full_name();
        let documented = field.json_name();
        if !self.fits(&field.kind()) {
            let (here, there) = (field.kind(), &self.kind);
            return Err(format!("{name} is {here:?}, but the dictionary has {documented} as {there:?}").into());
        }
        for (rule, value) in own.fields() {
            let rule_name = rule.name();
            if self.rules.has_field(&rule) && *self.rules.get_field(&rule) == *value {
                return Err(format!("{name} repeats the {rule_name} that the dictionary gives {documented}").into());
            }
            if DECIDED.contains(&rule_name) {
                return Err(format!("{name}: the {rule_name} of {documented} belongs into the dictionary").into());
            }
        }
        let mut merged = self.rules.clone();
        overlay(&mut merged, own);
        Ok(merged)
    }

    fn fits(&self, kind: &Kind) -> bool {
        match (&self.kind, kind) {
            (Kind::Message(entry), Kind::Message(_)) if entry.name() == BLOCK => true,
            (entry, kind) => entry == kind,
        }
    }
}

/// EPEIS writes its names in capitals.
fn is_documented(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn comment_of(field: &FieldDescriptor) -> String {
    let file = field.parent_file();
    let locations = file.file_descriptor_proto().source_code_info.as_ref().map(|info| info.location.as_slice());
    let here = locations.unwrap_or_default().iter().find(|location| location.path == field.path());
    here.map(|location| location.leading_comments().trim().to_owned()).unwrap_or_default()
}
