//! Receivable lines of the tests, and the calls that import and read them.

use communal_proto::billing::v1::*;
use prost::Message as _;
use tonic::Status;

use super::{NETWORK, RETAIL, STORE, World, caller};

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

/// A bill line of an account in a month: 300 kWh that cost 157.49, unpaid, of the first retail
/// company in the first network company's book 1.
pub fn line(account: u32, account_month: i32) -> ReceivableLine {
    ReceivableLine {
        network_company_id: NETWORK.into(),
        retail_company_id: RETAIL.into(),
        retail_store_id: STORE.into(),
        package_id: "P000000000000001".into(),
        book_id: "B000000000000001".into(),
        utility: NetworkType::Electricity.into(),
        settlement_account_id: format!("A{account:015}"),
        run_kind: NormalRetroType::Normal.into(),
        customer_id: format!("K{account:015}"),
        account_item: "101001".into(),
        category_item: 1,
        account_month,
        quantity: "300".into(),
        unit_price: "0.5".into(),
        fee: "157.49".into(),
        package_kind: ChargePackType::Market.into(),
        charge_off_date: account_month * 100 + 28,
        charge_off_id: format!("Q{account_month}{account:09}"),
        penalty_from: account_month * 100 + 28,
        ..Default::default()
    }
}

/// The messages of an import: the batch, then the lines in portions.
pub fn import_messages(batch_id: &str, lines: &[ReceivableLine], portion: usize) -> Vec<ImportReceivableLinesRequest> {
    let mut batch = Some(ImportBatch { batch_id: batch_id.into() });
    lines
        .chunks(portion)
        .map(|lines| ImportReceivableLinesRequest { batch: batch.take(), lines: lines.to_vec() })
        .collect()
}
