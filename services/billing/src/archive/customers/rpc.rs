//! The methods of `CustomerService`.

use std::sync::Arc;

use communal_kit::database::errors::lost_race;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::secret::Secret;
use communal_kit::write::{run_as, write};
use communal_proto::billing::v1::customer_service_server::CustomerService;
use communal_proto::billing::v1::fields::{new_customer, sup_create_customer_account_request};
use communal_proto::billing::v1::{
    AddedCustomer, AttestationType, IssueVerifyCodeRequest, IssueVerifyCodeResponse, NewCustomer, Reason,
    SupCreateCustomerAccountRequest, SupCreateCustomerAccountResponse,
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::certificates;
use super::store::{self, Numbers};
use super::verify_codes::{Brought, CODES, GOOD_FOR, digits};
use crate::archive::rows::at_rows;
use crate::vocabulary::personal::{PersonalKeys, password_hash};

/// Passwords that are hashed at once: each takes 19 MiB and a processor.
const HASHED_AT_ONCE: usize = 2;

/// What proves that a customer has the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proofs {
    /// The code that was issued for it.
    Codes,
    /// Any code.
    Any,
}

/// Serves customers.
#[derive(Clone, Debug)]
pub struct CustomerRpc {
    pool: Pool,
    keys: PersonalKeys,
    proofs: Proofs,
    hashing: Arc<Semaphore>,
}

impl CustomerRpc {
    /// Serves the customers of a database.
    #[must_use]
    pub fn new(pool: Pool, keys: PersonalKeys, proofs: Proofs) -> Self {
        Self { pool, keys, proofs, hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE)) }
    }

    /// Hashes the passwords of a request, off the threads that serve calls.
    async fn password_hashes(&self, customers: &[NewCustomer]) -> Result<Vec<String>, Refusal> {
        let mut hashes = Vec::with_capacity(customers.len());
        for customer in customers {
            let password = Secret::new(customer.account_password.clone());
            let _place = self.hashing.acquire().await.map_err(Refusal::internal)?;
            let hashed = tokio::task::spawn_blocking(move || password_hash(&password)).await;
            hashes.push(hashed.map_err(Refusal::internal)?.map_err(Refusal::internal)?);
        }
        Ok(hashes)
    }
}

#[tonic::async_trait]
impl CustomerService for CustomerRpc {
    async fn sup_create_customer_account(
        &self,
        request: Request<SupCreateCustomerAccountRequest>,
    ) -> Result<Response<SupCreateCustomerAccountResponse>, Status> {
        let rows = sup_create_customer_account_request::CUSTOMERS;
        let (call, message, ()) = begin(request)?.accept_with(|message, checker| {
            for (row, customer) in message.customers.iter().enumerate() {
                certificates::faults(customer, &rows.at(row)).into_iter().for_each(|fault| checker.push(fault));
            }
            Some(())
        })?;
        let (customers, company_id) = (&message.customers, call.tenant.id.as_str());
        let brought = Brought::read(&self.keys, company_id, customers).map_err(Refusal::internal)?;
        let issued = match self.proofs {
            Proofs::Codes => Some(store::take_tries(&self.pool, &call, &brought.phones()).await?),
            Proofs::Any => None,
        };
        let certificate = |c: &NewCustomer| self.keys.certificate(company_id, &c.certificate_number);
        let hashes = customers.iter().map(certificate).collect::<anyhow::Result<Vec<_>>>();
        let hashes = hashes.map_err(Refusal::internal)?;
        let passwords = self.password_hashes(customers).await?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            if let Some(issued) = &issued {
                brought.judge(issued).into_result()?;
                // Another call may have used one in the meantime.
                brought.judge(&store::use_codes(tx, &call, &brought.codes()).await?).into_result()?;
            }
            let taken = store::taken(tx, &call, customers, &hashes).await?;
            let english = "has a customer already";
            at_rows(Reason::CertificateTaken, &taken, rows, new_customer::CERTIFICATE_NUMBER, english).into_result()?;
            let ids = store::new_ids(tx, customers.len()).await?;
            let numbers = Numbers::seal(&self.keys, company_id, &ids, customers).map_err(Refusal::internal)?;
            store::add(tx, &call, &ids, customers, &hashes, &numbers, &passwords)
                .await
                .map_err(lost_race("customer_certificate"))?;
            let added = customers.iter().zip(ids).map(|(customer, customer_id)| AddedCustomer {
                customer_id,
                customer_attestation: AttestationType::Attested.into(),
                customer_name: customer.customer_name.clone(),
                customer_kind: customer.customer_kind,
            });
            Ok(SupCreateCustomerAccountResponse { customers: added.collect() })
        });
        Ok(reply.await?)
    }

    async fn issue_verify_code(
        &self,
        request: Request<IssueVerifyCodeRequest>,
    ) -> Result<Response<IssueVerifyCodeResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let code = digits(rand::random_range(0..CODES));
        let company_id = call.tenant.id.as_str();
        let phone_hash = self.keys.phone(company_id, &message.phone).map_err(Refusal::internal)?;
        let code_hash = self.keys.code(company_id, &message.phone, &code).map_err(Refusal::internal)?;
        // Not by `write`: a reply that is kept would keep the code, and another code is as good.
        run_as(&self.pool, &call, async |tx| Ok(store::issue(tx, &call, &phone_hash, &code_hash).await?)).await?;
        let valid_seconds = i32::try_from(GOOD_FOR.num_seconds()).unwrap_or(i32::MAX);
        Ok(Response::new(IssueVerifyCodeResponse { code, valid_seconds }))
    }
}
