//! Compiles the contracts of the tests, which are in `tests/contract`.

use std::path::Path;

/// The descriptor set of files below `tests/contract`, with options and comments.
pub(crate) fn compile(files: &[&str]) -> Vec<u8> {
    compile_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract"), files)
}

/// The descriptor set of files below another folder.
pub(crate) fn compile_below(folder: &Path, files: &[&str]) -> Vec<u8> {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut compiler = protox::Compiler::new([folder, &contract]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files).unwrap();
    compiler.encode_file_descriptor_set()
}
