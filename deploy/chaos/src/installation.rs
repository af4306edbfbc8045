//! The programs and the folder of a run.

use std::path::PathBuf;

/// The programs that a run starts, and the folder in which it keeps its data.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Installation {
    /// Folder of the built binaries
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// Folder of PostgreSQL's programs
    #[arg(long)]
    pub(crate) postgres: PathBuf,
    /// System user that PostgreSQL runs as, if it is not the current one
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// An empty folder of that user with a short path, because it holds sockets
    #[arg(long)]
    pub(crate) folder: PathBuf,
}
