//! Compiles the contract: messages and services by prost and tonic, the descriptor set with
//! our options and the comments, and everything that the options declare.
//!
//! `protox` replaces protoc, so that protoc need not be installed. There are two descriptor sets,
//! because prost-types drops unknown options: the embedded one keeps the bytes of the
//! compiler, and the one for code generation is adapted (see [`encoded`]).

#![allow(clippy::print_stdout)] // Cargo reads its instructions there.

mod checks;
mod codes;
mod complete;
mod dictionary;
mod encoded;
mod fields;
mod names;
mod options;
mod reasons;
mod roles;
mod wire;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost::Message as _;
use prost_reflect::{DescriptorPool, EnumDescriptor, MessageDescriptor};
use prost_types::FileDescriptorSet;

use crate::options::Options;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    println!("cargo::rerun-if-changed=communal");
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut files = Vec::new();
    find_proto_files(Path::new("communal"), &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files)?;
    let descriptors = complete::complete(&compiler.encode_file_descriptor_set())?;
    fs::write(out.join("contract.bin"), &descriptors)?;

    let pool = DescriptorPool::decode(descriptors.as_slice())?;
    let options = Options::new(&pool)?;

    let mut set = FileDescriptorSet::decode(descriptors.as_slice())?;
    encoded::hold(&mut set, &pool, &options);
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_transport(true)
        .compile_well_known_types(false)
        .compile_fds_with_config(set, config)?;

    for package in ["contract", "identity", "billing", "community"] {
        let mut names = String::new();
        for message in messages_of(&pool, package) {
            fields::write(&mut names, &message)?;
        }
        fs::write(out.join(format!("{package}_fields.rs")), names)?;
    }
    fs::write(out.join("generated.rs"), implementations(&pool, &options)?)?;
    Ok(())
}

/// The implementations of our traits for the generated types.
fn implementations(pool: &DescriptorPool, options: &Options) -> Outcome<String> {
    let mut code = String::new();
    for message in ["identity", "billing", "community"].iter().flat_map(|package| messages_of(pool, package)) {
        checks::write(&mut code, &message, options)?;
    }
    for codes in pool.all_enums().filter(is_ours) {
        codes::write(&mut code, &codes, options)?;
        reasons::write(&mut code, &codes, options)?;
    }
    roles::write(&mut code, pool, options)?;
    wire::write(&mut code, pool, options)?;
    writeln!(code)?;
    Ok(code)
}

fn messages_of(pool: &DescriptorPool, package: &str) -> Vec<MessageDescriptor> {
    let package = format!("communal.{package}.v1");
    pool.all_messages().filter(|m| m.package_name() == package).collect()
}

fn is_ours(codes: &EnumDescriptor) -> bool {
    codes.package_name().starts_with("communal.")
}

fn find_proto_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_proto_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
