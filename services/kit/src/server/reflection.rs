//! Reflection lists what a port serves: the services' own packages, and what their files import.

use std::collections::{BTreeMap, BTreeSet};

use communal_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost::encoding::{decode_varint, encode_varint};
use prost_types::FileDescriptorProto;
use tonic_reflection::server::Builder;

/// The tag of a file in a set of descriptors.
const FILE: u8 = 0x0a;

/// Begins the reflection of descriptors. Error details are registered as well, so that grpcurl can
/// print them.
pub(super) fn of(descriptors: &[u8]) -> Builder<'_> {
    Builder::configure()
        .register_encoded_file_descriptor_set(descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// The descriptors of services, by the services' full names. Files stay in the bytes they have: a round
/// trip through `prost-types` would lose our options.
pub(super) fn descriptors(services: &[&str]) -> Vec<u8> {
    let packages: BTreeSet<_> = services.iter().filter_map(|name| name.rsplit_once('.')).map(|(p, _)| p).collect();
    let files: BTreeMap<String, (FileDescriptorProto, &[u8])> =
        files(FILE_DESCRIPTOR_SET).map(|(file, bytes)| (file.name().to_owned(), (file, bytes))).collect();
    let mut wanted: Vec<_> =
        files.iter().filter(|(_, (file, _))| packages.contains(file.package())).map(|(name, _)| name).collect();
    let mut taken = BTreeSet::new();
    let mut set = Vec::new();
    while let Some(name) = wanted.pop() {
        let Some((file, bytes)) = files.get(name).filter(|_| taken.insert(name)) else { continue };
        wanted.extend(&file.dependency);
        set.push(FILE);
        encode_varint(bytes.len() as u64, &mut set);
        set.extend_from_slice(bytes);
    }
    set
}

/// The files of an encoded set, with their bytes.
fn files(mut set: &[u8]) -> impl Iterator<Item = (FileDescriptorProto, &[u8])> {
    std::iter::from_fn(move || {
        set = set.strip_prefix(&[FILE])?;
        let length = usize::try_from(decode_varint(&mut set).ok()?).ok()?;
        let (file, rest) = set.split_at_checked(length)?;
        set = rest;
        Some((FileDescriptorProto::decode(file).ok()?, file))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn a_service_describes_its_own_package_and_what_that_imports() {
        let set = descriptors(&["communal.billing.v1.PackageService", "grpc.health.v1.Health"]);
        let set = FileDescriptorSet::decode(set.as_slice()).unwrap();
        let services: Vec<_> = set.file.iter().flat_map(|f| &f.service).map(|s| s.name().to_owned()).collect();
        assert!(services.contains(&"PackageService".to_owned()), "{services:?}");
        let packages: BTreeSet<_> = set.file.iter().map(FileDescriptorProto::package).collect();
        assert!(packages.contains("communal.contract.v1") && !packages.contains("communal.community.v1"));
        assert!(!packages.contains("communal.identity.v1"), "{packages:?}");
        let all = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        assert_eq!(files(FILE_DESCRIPTOR_SET).count(), all.file.len());
    }
}
