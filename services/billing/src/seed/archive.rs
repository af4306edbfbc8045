//! The archive of the demo: the books of each company with all their customers, accounts and meters, under the identifiers
//! that the receivable lines have. It moves in like a client's stream.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::dates;
use communal_kit::money::at_scale;
use communal_kit::pool::Pool;
use communal_kit::uploads::{UploadLimits, Uploads};
use communal_kit::write::run_as;
use communal_proto::billing::v1::{
    AccCertType, ArchiveBatch, BroughtCustomer, BroughtMeter, BroughtRegister, BroughtSettlementAccount,
    BroughtUserAccount, BusCategType, ControlType, CustomerType, DeviceType, EnergyFlowType, ForRateValidType,
    ImportArchiveRequest, IndustryType, MeterReadChanType, NewBook, NewMeter, NewUserAccount, ReadPeriodType,
    VerifiedMeterPoint, VerifiedSettlementAccount,
};
use futures::stream;
use rust_decimal::Decimal;
use tonic::Status;

use super::ACCOUNTS_A_MESSAGE;
use super::catalogue::{NETWORK_STORE, START};
use super::lines::{Account, IMPORTED_MONTHS, POPULATION, node};
use super::usage::{month_day, month_end, readings, usage};
use crate::archive::books;
use crate::archive::moving_in::import::{Terms, import};
use crate::archive::moving_in::store;
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::movement::register_of;
use crate::vocabulary::personal::PersonalKeys;
use crate::vocabulary::quantity::QUANTITY_SCALE;
use crate::vocabulary::tariff::{Utility, YesNo};

/// Moves a company's archive in, as it stood when the last imported month was billed; one that is there already stays.
pub(super) async fn move_in(
    pool: &Pool,
    keys: &PersonalKeys,
    call: &Call,
    accounts: &[Account],
    today: NaiveDate,
) -> anyhow::Result<()> {
    let mut batch = Some(ArchiveBatch { batch_id: format!("demo-archive-{}", call.tenant.id) });
    let batch_id = batch.clone().unwrap_or_default().batch_id.into();
    let books: BTreeMap<_, _> = accounts.iter().map(|account| (account.book_id.clone(), book(account))).collect();
    let (ids, books): (Vec<_>, Vec<_>) = books.into_iter().unzip();
    let there = run_as(pool, call, async |tx| {
        if store::batch(tx, call, &batch_id).await?.is_some() {
            return Ok(true);
        }
        let unknown = books::store::unknown(tx, call, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        if unknown.len() == ids.len() {
            books::store::add(tx, call, &books, &ids).await?;
        }
        Ok(false)
    });
    if there.await? {
        return Ok(());
    }
    let messages = accounts.chunks(ACCOUNTS_A_MESSAGE).map(move |accounts| {
        let mut message = ImportArchiveRequest { batch: batch.take(), ..ImportArchiveRequest::default() };
        for account in accounts {
            add(&mut message, account).map_err(|error| Status::internal(error.to_string()))?;
        }
        Ok(message)
    });
    let terms = Terms { upload: Uploads::new("seed", UploadLimits::default()).begin(call)?, today };
    import(pool, call, keys, terms, stream::iter(messages)).await?;
    Ok(())
}

fn book(account: &Account) -> NewBook {
    NewBook {
        utility: account.tariff.utility.into(),
        read: YesNo::Yes.into(),
        reading_cycle: ReadPeriodType::Monthly.into(),
        store_id: account.store_id.clone(),
        book_name: format!("演示区段{}", account.book_id.trim_start_matches(['B', '0'])),
        manager_id: String::new(),
        meter_reader_id: String::new(),
    }
}

/// Adds an account with its customer and meter.
fn add(message: &mut ImportArchiveRequest, account: &Account) -> anyhow::Result<()> {
    let number = account.number;
    let utility = account.tariff.utility;
    let (name, address) = (format!("演示客户{number}"), format!("演示路{number}号"));
    let last = IMPORTED_MONTHS - 1;
    let of_year = usage(account, IMPORTED_MONTHS).skip((last / 12 * 12).try_into()?);
    let of_months: Vec<u64> = of_year.map(|used| used.quantities.iter().map(|(_, quantity)| quantity).sum()).collect();
    let quantity = |quantity: u64| at_scale(Decimal::from(quantity), QUANTITY_SCALE);
    let last_read = dates::to_number(month_end(last)?);
    message.customers.push(BroughtCustomer {
        customer_id: account.customer_id(),
        certificate_number: format!("DEMO{number:014}"),
        certificate_kind: AccCertType::IdentityCard.into(),
        customer_name: name.clone(),
        mobile_phone: format!("139{number:08}"),
        customer_kind: CustomerType::Natural.into(),
        address: address.clone(),
        ..BroughtCustomer::default()
    });
    message.user_accounts.push(BroughtUserAccount {
        user_account_id: format!("D{number:015}"),
        account: Some(NewUserAccount {
            customer_id: account.customer_id(),
            user_name: name.clone(),
            region_code: "110101000000".into(),
            address: address.clone(),
            resident: YesNo::Yes.into(),
            ..NewUserAccount::default()
        }),
    });
    message.settlement_accounts.push(BroughtSettlementAccount {
        user_account_id: format!("D{number:015}"),
        account: Some(verified_account(account.id(), name, address.clone())),
        meter_point: Some(VerifiedMeterPoint {
            address: address.clone(),
            book_id: account.book_id.clone(),
            node_id: node(utility).into(),
            utility: utility.into(),
            metered: YesNo::Yes.into(),
            network_store_id: NETWORK_STORE.into(),
            assessed: YesNo::No.into(),
            stopped_or_vacant: YesNo::No.into(),
            main_package_id: account.package_id.clone(),
            power_factor_standard: ForRateValidType::None.into(),
            business_kind: BusCategType::New.into(),
            ..VerifiedMeterPoint::default()
        }),
        archived_on: START,
        population: POPULATION.try_into()?,
        year_quantity: quantity(of_months.iter().sum()),
        month_quantity: quantity(of_months.last().copied().unwrap_or_default()),
        account_month: AccountMonth::of(month_day(last)?).number(),
    });
    let registers = readings(account, IMPORTED_MONTHS).into_iter().map(|(period, reading)| BroughtRegister {
        energy_flow: EnergyFlowType::Forward.into(),
        register: register_of(period).into(),
        last_reading: reading.to_string(),
        last_read_date: last_read,
        old_quantity: String::new(),
    });
    message.meters.push(BroughtMeter {
        meter_id: account.meter_id(),
        meter: Some(NewMeter {
            store_id: account.store_id.clone(),
            factory_number: format!("DEMO-{number}"),
            utility: utility.into(),
            meter_kind: meter_kind(utility).into(),
            digits: 6,
            meter_multiplier: "1".into(),
            quantity_unit: String::new(),
        }),
        settlement_account_id: account.id(),
        meter_location: address,
        reading_channel: MeterReadChanType::Reader.into(),
        remote_reading: YesNo::No.into(),
        reading_order: i32::try_from(number % 1_000)?,
        registers: registers.collect(),
    });
    Ok(())
}

fn verified_account(id: String, name: String, address: String) -> VerifiedSettlementAccount {
    VerifiedSettlementAccount {
        settlement_account_id: id,
        settlement_account_name: name,
        address,
        control_kind: ControlType::Quantity.into(),
        industry_code: "T0000".into(),
        industry_sector: IndustryType::Tertiary.into(),
        resident: YesNo::Yes.into(),
        urban: YesNo::Yes.into(),
        military: YesNo::No.into(),
        temporary: YesNo::No.into(),
        public_use: YesNo::No.into(),
        inspection_cycle: Some(12),
        remark: String::new(),
        business_kind: BusCategType::New.into(),
    }
}

fn meter_kind(utility: Utility) -> DeviceType {
    match utility {
        Utility::Water => DeviceType::ColdWater,
        Utility::Gas => DeviceType::Gas,
        _ => DeviceType::Electricity,
    }
}
