//! Runs the runbook's own commands, so that exactly these have been tried.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::deployment::{Databases, Kind, forget_settings};
use crate::installation::Installation;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// Returns the block of docs/runbook.md below the comment `<!-- chaos: NAME -->`.
fn block(name: &str, language: &str) -> anyhow::Result<&'static str> {
    let mark = format!("<!-- chaos: {name} -->\n```{language}\n");
    let after = RUNBOOK.split_once(&mark).with_context(|| format!("docs/runbook.md has no {language} «{name}»"))?.1;
    Ok(after.split_once("```").with_context(|| format!("the {language} «{name}» does not end"))?.0)
}

/// Runs shell commands in a folder, with the binaries and PostgreSQL's programs in PATH.
pub(crate) async fn run(
    name: &str,
    installation: &Installation,
    databases: &Databases,
    folder: &Path,
) -> anyhow::Result<()> {
    let mut command = Command::new("sh");
    command.args(["-euc", block(name, "sh")?]).current_dir(folder);
    forget_settings(&mut command);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{}:{path}", installation.postgres.display(), installation.programs.display()));
    command.envs([Kind::Billing, Kind::Community].into_iter().flat_map(|kind| databases.settings(kind)));
    command.env("SUPERUSER_URL", databases.url_as("postgres", "postgres"));
    finish(name, command, "").await
}

/// Runs statements in a service's database as the owner of its tables.
pub(crate) async fn execute(
    name: &str,
    installation: &Installation,
    databases: &Databases,
    kind: Kind,
) -> anyhow::Result<()> {
    let [(_, url), ..] = databases.settings(kind);
    let mut command = Command::new(installation.postgres.join("psql"));
    forget_settings(&mut command);
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", &url]);
    finish(name, command, block(name, "sql")?).await
}

async fn finish(name: &str, mut command: Command, input: &'static str) -> anyhow::Result<()> {
    let [input_end, output_end, error_end] = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
    let mut child = command.stdin(input_end).stdout(output_end).stderr(error_end).kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the command has ended already, its output below gives the reason.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "«{name}» of the runbook ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&text).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_is_in_the_runbook() {
        for (name, language) in
            [("dump", "sh"), ("restore", "sh"), ("check", "sh"), ("month detached", "sql"), ("month attached", "sql")]
        {
            assert!(!super::block(name, language).unwrap_or_default().trim().is_empty(), "{name}");
        }
    }
}
