//! The runbook's own commands, so that what it says is what was tried.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::Place;
use crate::stage::{Databases, Kind, forget_settings};

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// What stands in docs/runbook.md below the comment `<!-- chaos: NAME -->`.
fn block(name: &str, language: &str) -> anyhow::Result<&'static str> {
    let mark = format!("<!-- chaos: {name} -->\n```{language}\n");
    let after = RUNBOOK.split_once(&mark).with_context(|| format!("docs/runbook.md has no {language} «{name}»"))?.1;
    Ok(after.split_once("```").with_context(|| format!("the {language} «{name}» does not end"))?.0)
}

/// Carries shell commands out in a folder, as somebody would who has the binaries and
/// PostgreSQL's programs at hand.
pub(crate) async fn carry_out(name: &str, place: &Place, databases: &Databases, folder: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("sh");
    command.args(["-euc", block(name, "sh")?]).current_dir(folder);
    forget_settings(&mut command);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{}:{path}", place.postgres.display(), place.programs.display()));
    command.envs([Kind::Billing, Kind::Community].into_iter().flat_map(|kind| databases.settings(kind)));
    command.env("SUPERUSER_URL", databases.url_as("postgres", "postgres"));
    finish(name, command, "").await
}

/// Carries statements out in a service's database, as the owner of its tables.
pub(crate) async fn execute(name: &str, place: &Place, databases: &Databases, kind: Kind) -> anyhow::Result<()> {
    let [(_, url), ..] = databases.settings(kind);
    let mut command = Command::new(place.postgres.join("psql"));
    forget_settings(&mut command);
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", &url]);
    finish(name, command, block(name, "sql")?).await
}

async fn finish(name: &str, mut command: Command, input: &'static str) -> anyhow::Result<()> {
    let [input_end, output_end, error_end] = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
    let mut child = command.stdin(input_end).stdout(output_end).stderr(error_end).kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why below.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "«{name}» of the runbook ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&said).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_carried_out_is_there() {
        for (name, language) in
            [("dump", "sh"), ("restore", "sh"), ("check", "sh"), ("split prepared", "sql"), ("split", "sql")]
        {
            assert!(!super::block(name, language).unwrap_or_default().trim().is_empty(), "{name}");
        }
    }
}
