//! The comments of the contract.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor,
};

/// Comments by file and path of the element inside it.
#[derive(Debug)]
pub(super) struct Comments {
    texts: HashMap<(String, Vec<i32>), String>,
}

impl Comments {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let mut texts = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            for location in info.into_iter().flat_map(|info| &info.location) {
                if let Some(text) = &location.leading_comments {
                    texts.insert((file.name().to_owned(), location.path.clone()), joined(text));
                }
            }
        }
        Self { texts }
    }

    pub(super) fn of_service(&self, service: &ServiceDescriptor) -> String {
        self.text(&service.parent_file(), service.path())
    }

    pub(super) fn of_method(&self, method: &MethodDescriptor) -> String {
        self.text(&method.parent_file(), method.path())
    }

    pub(super) fn of_message(&self, message: &MessageDescriptor) -> String {
        self.text(&message.parent_file(), message.path())
    }

    pub(super) fn of_field(&self, field: &FieldDescriptor) -> String {
        self.text(&field.parent_file(), field.path())
    }

    pub(super) fn of_value(&self, value: &EnumValueDescriptor) -> String {
        self.text(&value.parent_file(), value.path())
    }

    fn text(&self, file: &FileDescriptor, path: &[i32]) -> String {
        self.texts.get(&(file.name().to_owned(), path.to_vec())).cloned().unwrap_or_default()
    }
}

/// Joins the lines of each paragraph of a comment.
fn joined(text: &str) -> String {
    let paragraphs = text.trim().split("\n\n");
    let line = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    paragraphs.map(line).collect::<Vec<_>>().join("\n\n")
}
