//! Receivable lines of the tests, and the calls that import and read them.

pub use communal_fixtures::receivables::{import as import_messages, line, paid};
use communal_proto::billing::v1::*;
use prost::Message as _;
use tonic::Status;

use super::{World, caller};

impl World {
    pub async fn import_as(
        &self,
        tenant: &'static str,
        batch_id: &str,
        lines: &[ReceivableLine],
    ) -> Result<ImportReceivableLinesResponse, Status> {
        let messages = futures::stream::iter(import_messages(batch_id, lines, 1000));
        self.receivables(caller(tenant)).import_receivable_lines(messages).await.map(tonic::Response::into_inner)
    }

    /// The arrears that a caller sees, decoded.
    pub async fn arrears(&self, tenant: &'static str, filter: ArrearsFilter) -> Result<Vec<ReceivableLine>, Status> {
        let request = QueryUserArrearagesRequest { filter: Some(filter) };
        let reply = self.receivables(caller(tenant)).query_user_arrearages(request).await?.into_inner();
        Ok(reply.lines.into_iter().map(|line| ReceivableLine::decode(line).unwrap()).collect())
    }

    /// The same from the stream.
    pub async fn streamed(&self, tenant: &'static str, filter: ArrearsFilter) -> Result<Vec<ReceivableLine>, Status> {
        let request = StreamUserArrearagesRequest { filter: Some(filter) };
        let mut stream = self.receivables(caller(tenant)).stream_user_arrearages(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(portion) = stream.message().await? {
            assert!(portion.lines.len() <= 500);
            lines.extend(portion.lines.into_iter().map(|line| ReceivableLine::decode(line).unwrap()));
        }
        Ok(lines)
    }
}
