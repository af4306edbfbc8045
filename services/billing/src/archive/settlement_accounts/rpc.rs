//! The methods of `SettlementAccountService`.

use std::collections::{BTreeSet, HashMap};

use communal_kit::database::errors::lost_race;
use communal_kit::database::on_constraint;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{
    business_application, changed_settlement_account as changed, sup_apply_business_request,
    update_settle_account_information_request, withdraw_application_request,
};
use communal_proto::billing::v1::settlement_account_service_server::SettlementAccountService;
use communal_proto::billing::v1::{
    PersonFilter, QuerySettleAccountsRequest, QuerySettleAccountsResponse, QueryUnverifiedUserAndSettlesRequest,
    QueryUnverifiedUserAndSettlesResponse, QueryVerifiedUserAndSettlesRequest, QueryVerifiedUserAndSettlesResponse,
    Reason, SupApplyBusinessRequest, SupApplyBusinessResponse, UpdateSettleAccountInformationRequest,
    UpdateSettleAccountInformationResponse, WithdrawApplicationRequest, WithdrawApplicationResponse,
};
use communal_proto::{Fault, FieldName, Reason as _};
use tonic::{Request, Response, Status};

use super::application::Applications;
use super::lifecycle::{AccountState, Outcome, Step, outcome, same_owner, unfit, unknown_account};
use super::shown;
use super::store::{self, Person};
use crate::archive::rows::at_rows;
use crate::archive::{customers, user_accounts};
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::personal::PersonalKeys;

/// Serves settlement accounts.
#[derive(Clone, Debug)]
pub struct SettlementAccountRpc {
    pool: Pool,
    keys: PersonalKeys,
}

impl SettlementAccountRpc {
    /// Serves the settlement accounts of a database.
    #[must_use]
    pub fn new(pool: Pool, keys: PersonalKeys) -> Self {
        Self { pool, keys }
    }

    /// Reads a filter of persons: the certificate becomes the hash by which it is found.
    fn person(&self, company_id: &str, filter: PersonFilter) -> Result<Person, Refusal> {
        let PersonFilter { identity_number, mobile_phone, certificate_number, customer_name, address } = filter;
        let numbers = [identity_number, certificate_number].into_iter().filter(|number| !number.is_empty());
        let hashes = numbers.map(|number| self.keys.certificate(company_id, &number));
        // The same number twice is one.
        let hashes = hashes.collect::<anyhow::Result<BTreeSet<_>>>().map_err(Refusal::internal)?;
        let certificates = hashes.into_iter().collect();
        Ok(Person { certificates, phone: mobile_phone, name: customer_name, address })
    }
}

#[tonic::async_trait]
impl SettlementAccountService for SettlementAccountRpc {
    async fn sup_apply_business(
        &self,
        request: Request<SupApplyBusinessRequest>,
    ) -> Result<Response<SupApplyBusinessResponse>, Status> {
        let (call, message, applications) =
            begin(request)?.accept_with(|message, checker| Some(Applications::read(&message.applications, checker)))?;
        let rows = sup_apply_business_request::APPLICATIONS;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let named: Vec<_> = applications.user_accounts().collect();
            let ids: Vec<_> = named.iter().map(|(_, id)| id.as_str()).collect();
            let owners = user_accounts::store::lock(tx, &call, &ids).await?;
            let unknown = named.iter().filter(|(_, id)| !owners.contains_key(id.as_str()));
            let unknown: Vec<_> = unknown.filter_map(|(row, _)| i64::try_from(*row).ok()).collect();
            let (field, english) = (business_application::USER_ACCOUNT_ID, "is no user account of the company");
            let mut objections = at_rows(Reason::UserAccountNotFound, &unknown, rows, field, english);

            let ids: Vec<_> = applications.processes.iter().map(|p| p.settlement_account_id.as_str()).collect();
            let accounts = store::lock(tx, &call, &ids).await?;
            let accounts: HashMap<_, _> = accounts.iter().map(|a| (a.settlement_account_id.as_str(), a)).collect();
            let mut waits = Vec::new();
            for process in &applications.processes {
                let field = rows.at(process.row).then(business_application::SETTLEMENT_ACCOUNT_ID);
                let Some(account) = accounts.get(process.settlement_account_id.as_str()) else {
                    objections.push(Reason::SettlementAccountNotFound, unknown_account(field));
                    continue;
                };
                let standing = account.standing();
                match outcome(standing, Step::Apply(process.kind)) {
                    Some(Outcome::Waits(state)) => waits.push(state),
                    _ => objections.push(Reason::AccountState, unfit(standing, field)),
                }
                let new_owner = process.new_user_account_id.as_ref().and_then(|id| owners.get(id.as_str()));
                let field = rows.at(process.row).then(business_application::USER_ACCOUNT_ID);
                if let Some(fault) = new_owner.and_then(|new| same_owner(&account.customer_id, new, field)) {
                    objections.push(Reason::AccountState, fault);
                }
            }
            let taken = store::taken(tx, &call, &applications.connections).await?;
            let place = |place: &i64| {
                let connection = applications.connections.get(usize::try_from(*place).ok()?)?;
                i64::try_from(connection.row).ok()
            };
            let taken: Vec<_> = taken.iter().filter_map(place).collect();
            let name = business_application::SETTLEMENT_ACCOUNT_NAME;
            objections.extend(at_rows(Reason::AccountNameTaken, &taken, rows, name, NAME_TAKEN));
            objections.sort_by_row();
            objections.into_result()?;

            let connected = store::connect(tx, &call, &applications.connections)
                .await
                .map_err(lost_race("settlement_account_name"))?;
            let opened = store::open(tx, &call, &applications.processes, &waits).await?;
            Ok(SupApplyBusinessResponse { processes: applications.in_order(connected, opened) })
        });
        Ok(reply.await?)
    }

    async fn withdraw_application(
        &self,
        request: Request<WithdrawApplicationRequest>,
    ) -> Result<Response<WithdrawApplicationResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let id = message.settlement_account_id.as_str();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let field = withdraw_application_request::SETTLEMENT_ACCOUNT_ID;
            // User accounts are locked before settlement accounts. The one of a new connection stays until that is complete.
            let user = store::user_account_of(tx, &call, id).await?;
            user_accounts::store::lock(tx, &call, &user.as_deref().into_iter().collect::<Vec<_>>()).await?;
            let accounts = store::lock(tx, &call, &[id]).await?;
            let Some(account) = accounts.first() else {
                return Err(Refusal::of(Reason::SettlementAccountNotFound).fault(unknown_account(field)));
            };
            match outcome(account.standing(), Step::Withdraw(message.business_kind())) {
                Some(Outcome::Withdrawn(state)) => store::withdraw(tx, &call, id, state).await?,
                _ => return Err(Refusal::of(Reason::AccountState).fault(unfit(account.standing(), field))),
            }
            Ok(WithdrawApplicationResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_unverified_user_and_settles(
        &self,
        request: Request<QueryUnverifiedUserAndSettlesRequest>,
    ) -> Result<Response<QueryUnverifiedUserAndSettlesResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let company_id = call.tenant.id.as_str();
        let page = AskedPage::read(message.page).page;
        let person = self.person(company_id, message.filter.unwrap_or_default())?;
        let users = store::users(&self.pool, company_id, &person, false, page).await.map_err(Refusal::from)?;
        let ids: Vec<_> = users.iter().map(|user| user.user_account_id.as_str()).collect();
        let accounts = store::unverified_of(&self.pool, company_id, &ids).await.map_err(Refusal::from)?;
        let points = accounts.iter().map(shown::unverified_meter_point).collect();
        Ok(Response::new(QueryUnverifiedUserAndSettlesResponse {
            user_accounts: users.into_iter().map(shown::unverified_user_account).collect(),
            settlement_accounts: accounts.into_iter().map(shown::unverified_account).collect(),
            meter_points: points,
        }))
    }

    async fn query_verified_user_and_settles(
        &self,
        request: Request<QueryVerifiedUserAndSettlesRequest>,
    ) -> Result<Response<QueryVerifiedUserAndSettlesResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let company_id = call.tenant.id.as_str();
        let page = AskedPage::read(message.page).page;
        let person = self.person(company_id, message.filter.unwrap_or_default())?;
        let users = store::users(&self.pool, company_id, &person, true, page).await.map_err(Refusal::from)?;
        let ids: Vec<_> = users.iter().map(|user| user.user_account_id.as_str()).collect();
        let (accounts, points) = store::verified_of(&self.pool, company_id, &ids).await.map_err(Refusal::from)?;
        let owed = shown::outstanding_by_user(&accounts);
        Ok(Response::new(QueryVerifiedUserAndSettlesResponse {
            user_accounts: users.into_iter().map(|user| shown::user_account(user, &owed)).collect(),
            settlement_accounts: accounts.into_iter().map(shown::account).collect(),
            meter_points: points.into_iter().map(shown::meter_point).collect(),
        }))
    }

    async fn query_settle_accounts(
        &self,
        request: Request<QuerySettleAccountsRequest>,
    ) -> Result<Response<QuerySettleAccountsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let company_id = call.tenant.id.as_str();
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let (user_account_id, utility) = (filter.user_account_id.clone(), filter.utility());
        let person = PersonFilter {
            identity_number: filter.identity_number,
            mobile_phone: filter.mobile_phone,
            certificate_number: filter.certificate_number,
            customer_name: filter.customer_name,
            address: filter.address,
        };
        let person = self.person(company_id, person)?;
        let (accounts, total) = store::list(&self.pool, company_id, &person, &user_account_id, utility, asked.page)
            .await
            .map_err(Refusal::from)?;
        let settlement_accounts = accounts.into_iter().map(shown::account).collect();
        Ok(Response::new(QuerySettleAccountsResponse { page: asked.reply(total), settlement_accounts }))
    }

    async fn update_settle_account_information(
        &self,
        request: Request<UpdateSettleAccountInformationRequest>,
    ) -> Result<Response<UpdateSettleAccountInformationResponse>, Status> {
        let (call, message, new) = begin(request)?.accept_with(|message, _| message.settlement_account.clone())?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            let field = |field: FieldName| update_settle_account_information_request::SETTLEMENT_ACCOUNT.then(field);
            let accounts = store::lock(tx, &call, &[new.settlement_account_id.as_str()]).await?;
            let Some(account) = accounts.first() else {
                let fault = unknown_account(field(changed::SETTLEMENT_ACCOUNT_ID));
                return Err(Refusal::of(Reason::SettlementAccountNotFound).fault(fault));
            };
            let standing = account.standing();
            if matches!(standing.state, AccountState::Closed | AccountState::Withdrawn) {
                let fault = unfit(standing, field(changed::SETTLEMENT_ACCOUNT_ID));
                return Err(Refusal::of(Reason::AccountState).fault(fault));
            }
            let mut objections = Objections::default();
            let english = "is not that of the account; a transfer changes it";
            if account.customer_id != new.customer_id {
                let fault = Fault::rule(field(changed::CUSTOMER_ID), english, "客户只能通过过户变更");
                objections.push(Reason::AccountState, fault);
            }
            if account.user_account_id != new.user_account_id {
                let fault = Fault::rule(field(changed::USER_ACCOUNT_ID), english, "用户账户只能通过过户变更");
                objections.push(Reason::AccountState, fault);
            }
            if !customers::store::exists(tx, &call, &new.using_customer_id).await? {
                let text = Reason::CustomerNotFound.text();
                let fault = Fault::rule(field(changed::USING_CUSTOMER_ID), "is no customer of the company", text);
                objections.push(Reason::CustomerNotFound, fault);
            }
            objections.into_result()?;
            let taken = || {
                let text = Reason::AccountNameTaken.text();
                let fault = Fault::rule(field(changed::SETTLEMENT_ACCOUNT_NAME), NAME_TAKEN, text);
                Refusal::of(Reason::AccountNameTaken).fault(fault)
            };
            store::change(tx, &call, &new).await.map_err(on_constraint("settlement_account_name", taken))?;
            Ok(UpdateSettleAccountInformationResponse {})
        });
        Ok(reply.await?)
    }
}

const NAME_TAKEN: &str = "is taken by another settlement account of the user account and utility";
