//! Message fields marked `encoded` become `bytes` in Rust. The wire form of a message field
//! and of a bytes field is the same, so rows that are stored encoded are never decoded.

use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

use crate::options::Options;

/// Turns the marked fields of `set` into `bytes` fields.
pub(crate) fn hold(set: &mut FileDescriptorSet, pool: &DescriptorPool, options: &Options) {
    for file in &mut set.file {
        let package = file.package().to_owned();
        for message in &mut file.message_type {
            let Some(descriptor) = pool.get_message_by_name(&format!("{package}.{}", message.name())) else { continue };
            for field in &mut message.field {
                let described = descriptor.get_field_by_name(field.name());
                if described.is_some_and(|d| options.rules(&d).encoded) {
                    field.set_type(Type::Bytes);
                    field.type_name = None;
                }
            }
        }
    }
}
