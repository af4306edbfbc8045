//! The methods of `UserAccountService`.

use communal_kit::database::on_constraint;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{
    changed_user_account, create_user_account_request, new_user_account, update_user_account_request,
};
use communal_proto::billing::v1::user_account_service_server::UserAccountService;
use communal_proto::billing::v1::{
    CreateUserAccountRequest, CreateUserAccountResponse, Reason, UpdateUserAccountRequest, UpdateUserAccountResponse,
};
use communal_proto::{Fault, Reason as _};
use tonic::{Request, Response, Status};

use super::store;
use crate::archive::customers;

/// Serves the user accounts of a database.
#[derive(Clone, Debug)]
pub struct UserAccountRpc(pub Pool);

#[tonic::async_trait]
impl UserAccountService for UserAccountRpc {
    async fn create_user_account(
        &self,
        request: Request<CreateUserAccountRequest>,
    ) -> Result<Response<CreateUserAccountResponse>, Status> {
        let (call, message, new) = begin(request)?.accept_with(|message, _| message.account.clone())?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let field = |field| create_user_account_request::ACCOUNT.then(field);
            if !customers::store::exists(tx, &call, &new.customer_id).await? {
                let text = Reason::CustomerNotFound.text();
                let fault = Fault::rule(field(new_user_account::CUSTOMER_ID), "is no customer of the company", text);
                return Err(Refusal::of(Reason::CustomerNotFound).fault(fault));
            }
            let exists = || {
                let text = Reason::UserAccountExists.text();
                let english = "is a user account of the customer at this address already";
                let fault = Fault::rule(field(new_user_account::USER_NAME), english, text);
                Refusal::of(Reason::UserAccountExists).fault(fault)
            };
            let added = store::add(tx, &call, &new).await;
            Ok(CreateUserAccountResponse {
                user_account_id: added.map_err(on_constraint("user_account_place", exists))?,
            })
        });
        Ok(reply.await?)
    }

    async fn update_user_account(
        &self,
        request: Request<UpdateUserAccountRequest>,
    ) -> Result<Response<UpdateUserAccountResponse>, Status> {
        let (call, message, changed) = begin(request)?.accept_with(|message, _| message.account.clone())?;
        let reply = write(&self.0, &call, &message, async |tx| {
            if store::change(tx, &call, &changed).await? {
                return Ok(UpdateUserAccountResponse {});
            }
            let field = update_user_account_request::ACCOUNT.then(changed_user_account::USER_ACCOUNT_ID);
            let text = Reason::UserAccountNotFound.text();
            let fault = Fault::rule(field, "is no user account of the calling company", text);
            Err(Refusal::of(Reason::UserAccountNotFound).fault(fault))
        });
        Ok(reply.await?)
    }
}
