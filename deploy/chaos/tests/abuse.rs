//! The attacks that take little time, on the programs that the tests of the whole workspace have built: what
//! `./dev chaos abuse --cheap` carries out.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn one_bad_caller_does_not_hurt_the_others() {
    let chaos = Path::new(env!("CARGO_BIN_EXE_communal-chaos"));
    let programs = chaos.parent().expect("a folder");
    for name in ["billing", "community", "gateway"] {
        assert!(programs.join(name).exists(), "{name} is built by the tests of its own package: ./dev test builds all");
    }
    let postgres = std::env::var_os("COMMUNAL_TEST_POSTGRES")
        .expect("COMMUNAL_TEST_POSTGRES must name the folder of PostgreSQL's programs; `./dev test` does");
    // A short path, since sockets lie in it.
    let folder = format!("/tmp/communal-chaos.{}", std::process::id());
    let mut command = Command::new(chaos);
    command.args(["abuse", "--cheap", "--folder", &folder]).arg("--programs").arg(programs);
    command.arg("--postgres").arg(postgres).stdin(Stdio::null());
    if let Ok(owner) = std::env::var("COMMUNAL_TEST_POSTGRES_OWNER") {
        command.args(["--owner", &owner]);
    }
    let output = command.output().expect("communal-chaos starts");
    // The data is of no use, and what is wrong is in the output.
    let _ = std::fs::remove_dir_all(&folder);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
