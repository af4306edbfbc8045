//! The methods of `VerificationService`.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::on_constraint;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::{
    installed_meter, served_settlement_account, settle_device_verify_request, user_settle_verify_request,
    verified_meter_point, verified_settlement_account,
};
use communal_proto::billing::v1::verification_service_server::VerificationService;
use communal_proto::billing::v1::{
    BusCategType, InstalledMeter, MeterReadChanType, Reason, SettleDeviceVerifyRequest, SettleDeviceVerifyResponse,
    UserSettleVerifyRequest, UserSettleVerifyResponse, VerifiedMeterPoint,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault, FieldName, FieldPath, Reason as _};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::parameters::{self, Facts};
use super::registers::{self, Needs, Readings, TakenOff, close, judge_opening, judge_return, judge_swap};
use super::store;
use crate::archive::meters::rules::counts;
use crate::archive::meters::store::{self as meters, MeterRow};
use crate::archive::settlement_accounts;
use crate::archive::settlement_accounts::lifecycle::{
    AccountState, Outcome, Step, outcome, same_owner, unfit, unknown_account,
};
use crate::archive::settlement_accounts::store::LockedAccount;
use crate::suppliers;
use crate::vocabulary::tariff::{Utility, YesNo};

/// Serves verification.
#[derive(Clone, Debug)]
pub struct VerificationRpc {
    pool: Pool,
    clock: Clock,
}

impl VerificationRpc {
    /// Serves verification on a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl VerificationService for VerificationRpc {
    async fn user_settle_verify(
        &self,
        request: Request<UserSettleVerifyRequest>,
    ) -> Result<Response<UserSettleVerifyResponse>, Status> {
        let (call, message, (given, point)) = begin(request)?.accept_with(|message, checker| {
            parameters::check(message, checker);
            Some((message.settlement_account.clone()?, message.meter_point.clone()?))
        })?;
        let today = self.clock.today();
        let account_field = |field: FieldName| user_settle_verify_request::SETTLEMENT_ACCOUNT.then(field);
        let point_field = |field: FieldName| user_settle_verify_request::METER_POINT.then(field);
        let id = given.settlement_account_id.as_str();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let metered = point.metered() == YesNo::Yes;
            let step = Step::SetParameters { kind: given.business_kind(), metered };
            let id_field = account_field(verified_settlement_account::SETTLEMENT_ACCOUNT_ID);
            let (account, leads_to) = taken(store::lock(tx, &call, id).await?, step, id_field.clone())?;
            let new_owner = account.new_customer_id.as_deref();
            if let Some(fault) = new_owner.and_then(|new| same_owner(&account.customer_id, new, id_field)) {
                return Err(Refusal::of(Reason::AccountState).fault(fault));
            }

            let (main, temporary) = packages(tx, &call, &point).await?;
            let network = main.as_ref().map(|main| main.network_company_id.clone()).unwrap_or_default();
            let network_store = point.network_store_id.as_str().into();
            let facts = Facts {
                utility: account.utility.0,
                book: store::book(tx, &call, &point.book_id).await?,
                store: suppliers::store::has_network_store(tx, &network.as_str().into(), &network_store).await?,
                node: suppliers::store::has_node(tx, &network, &point.node_id).await?,
                main,
                temporary,
                today,
            };
            parameters::judge(&point, &facts).into_result()?;
            let Facts { main: Some(main), temporary, .. } = facts else {
                return Err(Refusal::internal("parameters without a main package were accepted"));
            };
            if account.meter_id.is_some() {
                let packages = std::iter::once(&main).chain(&temporary);
                let packages = packages.map(|package| (package.time_of_use, package.basic_fee_kind));
                let needs = parameters::needs(point.power_factor_standard(), packages);
                let there = store::installed(tx, &call, id).await?.into_iter().map(|installed| installed.register);
                if let Some(missing) = needs.missing(there) {
                    let english = format!("needs registers {missing}, which the meter has not; swap it first");
                    let text = format!("现有计量表缺少示数{missing}，请先换表");
                    let fault = Fault::rule(point_field(verified_meter_point::MAIN_PACKAGE_ID), english, text);
                    return Err(Refusal::of(Reason::MeterUnfit).fault(fault));
                }
            }
            let name_taken = || {
                let field = account_field(verified_settlement_account::SETTLEMENT_ACCOUNT_NAME);
                let english = "is taken by another settlement account of the user account and utility";
                let fault = Fault::rule(field, english, Reason::AccountNameTaken.text());
                Refusal::of(Reason::AccountNameTaken).fault(fault)
            };
            store::set_parameters(tx, &call, &given, &point, &main, temporary.as_ref())
                .await
                .map_err(on_constraint("settlement_account_name", name_taken))?;
            move_on(tx, &call, id, given.business_kind(), leads_to, today).await?;
            Ok(UserSettleVerifyResponse {})
        });
        Ok(reply.await?)
    }

    async fn settle_device_verify(
        &self,
        request: Request<SettleDeviceVerifyRequest>,
    ) -> Result<Response<SettleDeviceVerifyResponse>, Status> {
        let (call, message, (given, readings)) = begin(request)?.accept_with(|message, checker| {
            let given = message.settlement_account.clone()?;
            check_meter(given.business_kind(), message.meters.first(), checker);
            Some((given, registers::read(&message.readings, checker)))
        })?;
        let today = self.clock.today();
        let id = given.settlement_account_id.as_str();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let field =
                settle_device_verify_request::SETTLEMENT_ACCOUNT.then(served_settlement_account::SETTLEMENT_ACCOUNT_ID);
            let step = Step::ServeMeter(given.business_kind());
            let (account, leads_to) = taken(store::lock(tx, &call, id).await?, step, field)?;
            let new = message.meters.first();
            let ids: Vec<_> = account.meter_id.as_deref().into_iter().chain(new.map(|m| m.meter_id.as_str())).collect();
            let locked = meters::lock(tx, &call, &ids).await?;
            let find = |id: &str| locked.iter().find(|meter| meter.meter_id == id);
            let old = account.meter_id.as_deref().and_then(find);
            let new = match new {
                Some(new) => Some((new, fitting(find(&new.meter_id), new, account.utility.0)?)),
                None => None,
            };
            each_meter_is_known(&readings, old, new.map(|(_, meter)| meter))?;

            let none = BTreeMap::new();
            let of = |meter: &MeterRow| readings.get(&meter.meter_id).unwrap_or(&none);
            let mut closed = Vec::new();
            if let Some(old) = old {
                let installed = store::installed(tx, &call, id).await?;
                let field = FieldPath::from(settle_device_verify_request::READINGS);
                let last_demand = match new {
                    Some(_) => None,
                    None => Some(store::demand_multiplier(tx, &call, id).await?.unwrap_or(old.multiplier)),
                };
                let (digits, multiplier) = (old.digits.unwrap_or_default(), old.multiplier);
                let outcome = close(&installed, of(old), &TakenOff { digits, multiplier, last_demand }, &field);
                closed = outcome.or_else(|objections| objections.into_result().map(|()| Vec::new()))?;
            }
            let meter_field = settle_device_verify_request::METERS.at(0).then(installed_meter::METER_ID);
            if let Some((_, meter)) = new {
                let needs = store::needs(tx, &call, id).await?;
                let needs = needs.unwrap_or_else(Needs::default);
                let digits = meter.digits.unwrap_or_default();
                let mut objections = judge_opening(of(meter), digits, &needs, meter_field.clone());
                let shown = meters::shown_last(tx, &call, &meter.meter_id).await?;
                objections.extend(judge_return(of(meter), &shown));
                objections.extend(judge_swap(&closed, of(meter), &meter_field));
                objections.into_result()?;
            }
            if let Some(old) = old {
                store::take_off(tx, &call, &account, &old.meter_id, &closed, today).await?;
            }
            if let Some((given, meter)) = new {
                store::install(tx, &call, &account, given, of(meter), today).await?;
            }
            store::set_connection(tx, &call, &given).await?;
            move_on(tx, &call, id, given.business_kind(), leads_to, today).await?;
            Ok(SettleDeviceVerifyResponse {})
        });
        Ok(reply.await?)
    }
}

/// Returns the locked account and what the step leads to, if the account exists and takes it.
fn taken(account: Option<LockedAccount>, step: Step, field: FieldPath) -> Result<(LockedAccount, Outcome), Refusal> {
    let Some(account) = account else {
        return Err(Refusal::of(Reason::SettlementAccountNotFound).fault(unknown_account(field)));
    };
    match outcome(account.standing(), step) {
        Some(outcome) => Ok((account, outcome)),
        None => Err(Refusal::of(Reason::AccountState).fault(unfit(account.standing(), field))),
    }
}

/// Moves the process on to what the step led to.
async fn move_on(
    tx: &mut PgConnection,
    call: &Call,
    id: &str,
    kind: BusCategType,
    leads_to: Outcome,
    today: NaiveDate,
) -> Result<(), sqlx::Error> {
    match leads_to {
        Outcome::Waits(state) => store::wait(tx, call, id, state).await,
        Outcome::Archived => store::complete(tx, call, id, kind, AccountState::Archived, today).await,
        Outcome::Closed => store::complete(tx, call, id, kind, AccountState::Closed, today).await,
        Outcome::Withdrawn(state) => settlement_accounts::store::withdraw(tx, call, id, state).await,
    }
}

/// Reads the packages that a request names, as far as the company may bill by them.
async fn packages(
    tx: &mut PgConnection,
    call: &Call,
    point: &VerifiedMeterPoint,
) -> Result<(Option<parameters::Package>, Option<parameters::Package>), sqlx::Error> {
    let VerifiedMeterPoint { main_package_id: main, temporary_package_id: temporary, network_store_id, .. } = point;
    let main = store::package(tx, call, main, network_store_id).await?;
    let temporary =
        if temporary.is_empty() { None } else { store::package(tx, call, temporary, network_store_id).await? };
    Ok((main, temporary))
}

/// Judges whether a request has the meter that its kind of process needs, with all that a meter needs.
fn check_meter(kind: BusCategType, meter: Option<&InstalledMeter>, checker: &mut Checker) {
    let rows = settle_device_verify_request::METERS;
    let mut missing = |field: FieldPath, title: &str| {
        let text = format!("新装、换表时{title}必传");
        checker.push(Fault { field, kind: FaultKind::Missing, description: "is required".into(), text });
    };
    match (kind, meter) {
        (BusCategType::New | BusCategType::MeterSwap, None) => missing(rows.into(), "计量仪表"),
        (BusCategType::New | BusCategType::MeterSwap, Some(meter)) => {
            let needed = [
                (meter.meter_id.is_empty(), installed_meter::METER_ID, "装置ID"),
                (meter.meter_kind == 0, installed_meter::METER_KIND, "装置类型"),
                (meter.meter_location.is_empty(), installed_meter::METER_LOCATION, "表具安装位置"),
                (
                    meter.reading_channel() == MeterReadChanType::Unspecified,
                    installed_meter::READING_CHANNEL,
                    "抄表渠道",
                ),
                (meter.remote_reading() == YesNo::Unspecified, installed_meter::REMOTE_READING, "是否远抄"),
            ];
            for (_, field, title) in needed.into_iter().filter(|(is_missing, ..)| *is_missing) {
                missing(rows.at(0).then(field), title);
            }
        }
        (BusCategType::Close, Some(_)) => {
            checker.push(Fault::rule(rows, "is not for a close", "销户时不传计量仪表"));
        }
        _ => {}
    }
}

/// Returns the meter to install if it exists, is free and fits the account.
fn fitting<'m>(meter: Option<&'m MeterRow>, given: &InstalledMeter, utility: Utility) -> Result<&'m MeterRow, Refusal> {
    let field = |field: FieldName| settle_device_verify_request::METERS.at(0).then(field);
    let refuse = |reason: Reason, name: FieldName, english: &str, chinese: &str| {
        Err(Refusal::of(reason).fault(Fault::rule(field(name), english, chinese)))
    };
    let Some(meter) = meter else {
        let text = Reason::MeterNotFound.text();
        return refuse(Reason::MeterNotFound, installed_meter::METER_ID, "is no meter of the company", text);
    };
    if meter.is_installed() {
        return refuse(Reason::MeterInUse, installed_meter::METER_ID, "is on an account", "装置已安装");
    }
    if meter.kind.0 != given.meter_kind() || !counts(meter.kind.0) {
        let english = "is not the kind of the meter, or none that counts";
        return refuse(Reason::MeterUnfit, installed_meter::METER_KIND, english, "装置类型与档案不符或不是计量表");
    }
    if meter.utility.0 != utility {
        let english = "is for another utility than the account";
        return refuse(Reason::MeterUnfit, installed_meter::METER_ID, english, "装置的管网类型与结算户不一致");
    }
    Ok(meter)
}

/// Refuses readings of a meter that is neither taken off nor installed.
fn each_meter_is_known(readings: &Readings, old: Option<&MeterRow>, new: Option<&MeterRow>) -> Result<(), Refusal> {
    let mut objections = Objections::default();
    let known: Vec<_> = old.into_iter().chain(new).map(|meter| meter.meter_id.as_str()).collect();
    for (meter_id, of_meter) in readings {
        if known.contains(&meter_id.as_str()) {
            continue;
        }
        for given in of_meter.values() {
            let field = settle_device_verify_request::READINGS.at(given.row);
            let field = field.then(communal_proto::billing::v1::fields::boundary_reading::METER_ID);
            let fault = Fault::rule(field, "is neither taken off nor installed", "装置不在本次装拆之列");
            objections.push(Reason::MeterUnfit, fault);
        }
    }
    objections.into_result()
}
