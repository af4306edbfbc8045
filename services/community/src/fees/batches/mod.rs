//! Batches (批次): what one call created, and how it is undone.

pub mod rules;
pub mod store;

use communal_kit::database::stored::Stored;
use communal_proto::community::v1::BatchState;

/// A locked batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// State.
    pub state: Stored<BatchState>,
    /// The operator who asked to undo it.
    pub applicant_id: Option<String>,
}
