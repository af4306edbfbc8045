//! Receivable lines of the tests, and the calls that import and read them.

use chrono::NaiveDate;
use communal_billing::receivables::store::{OpenLine, Payment, lock_open_of, pay};
use communal_billing::vocabulary::dates::AccountMonth;
pub use communal_fixtures::receivables::{import as import_messages, line, paid};
use communal_kit::call::{Call, Tenant};
use communal_kit::database::look_up_by_keys;
use communal_kit::identity::TenantKind;
use communal_kit::write::announce;
use communal_proto::billing::v1::*;
use prost::Message as _;
use sqlx::{Postgres, Transaction};
use tonic::Status;

use super::{NETWORK, World, caller};

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

    /// A call of the network company itself.
    pub fn network_call(&self) -> Call {
        let tenant = Tenant { id: NETWORK.into(), kind: TenantKind::NetworkCompany };
        Call::internal(tenant, "test", self.clock.now())
    }

    /// A transaction of a payment or bill.
    pub async fn transaction(&self) -> Transaction<'static, Postgres> {
        let mut transaction = self.pool().begin().await.unwrap();
        announce(&mut transaction, &self.network_call()).await.unwrap();
        look_up_by_keys(&mut transaction).await.unwrap();
        transaction
    }

    /// Pays so much of the only open line of an account, on the third of February 2024 or a later day.
    pub async fn pay_line(&self, account: &str, amount: &str, payment_id: &str, day: u32) -> Result<u64, sqlx::Error> {
        let mut transaction = self.transaction().await;
        let lines = lock_open_of(&mut transaction, NETWORK, &[account]).await?;
        assert_eq!(lines.len(), 1, "{account}");
        let found = pay(&mut transaction, &[payment(&lines[0], amount, payment_id, day)]).await?;
        transaction.commit().await?;
        Ok(found)
    }
}

/// A payment on a day of February 2024.
pub fn payment<'p>(line: &'p OpenLine, amount: &str, payment_id: &'p str, day: u32) -> Payment<'p> {
    let paid_date = NaiveDate::from_ymd_opt(2024, 2, day).unwrap();
    Payment {
        line,
        amount: amount.parse().unwrap(),
        paid_date,
        payment_id,
        levy_date: line.levy_date.max(Some(paid_date)),
        settled_month: AccountMonth::of(paid_date),
    }
}
