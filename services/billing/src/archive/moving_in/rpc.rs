//! The method of `ArchiveService`.

use std::sync::Arc;

use communal_kit::clock::Clock;
use communal_kit::pool::Pool;
use communal_kit::request::begin_stream;
use communal_kit::uploads::Uploads;
use communal_proto::billing::v1::archive_service_server::ArchiveService;
use communal_proto::billing::v1::{ImportArchiveRequest, ImportArchiveResponse};
use tonic::{Request, Response, Status, Streaming};

use super::import::{Terms, import};
use crate::vocabulary::personal::PersonalKeys;

/// Serves the archive as a whole.
#[derive(Clone, Debug)]
pub struct ArchiveRpc {
    pool: Pool,
    keys: PersonalKeys,
    clock: Clock,
    imports: Arc<Uploads>,
}

impl ArchiveRpc {
    /// Serves the archive of a database.
    #[must_use]
    pub fn new(pool: Pool, keys: PersonalKeys, clock: Clock, imports: Arc<Uploads>) -> Self {
        Self { pool, keys, clock, imports }
    }
}

#[tonic::async_trait]
impl ArchiveService for ArchiveRpc {
    async fn import_archive(
        &self,
        request: Request<Streaming<ImportArchiveRequest>>,
    ) -> Result<Response<ImportArchiveResponse>, Status> {
        let (call, stream) = begin_stream(request)?;
        let upload = self.imports.begin(&call)?;
        let terms = Terms { upload, today: self.clock.today() };
        Ok(Response::new(import(&self.pool, &call, &self.keys, terms, stream).await?))
    }
}
