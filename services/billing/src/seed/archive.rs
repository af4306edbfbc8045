//! The archive of the demo: books of each retail company, and of each book some customers with their accounts and
//! meters, under the identifiers that the receivable lines have. It moves in like a client's stream.

use std::collections::HashMap;

use chrono::{Months, NaiveDate};
use communal_kit::call::Call;
use communal_kit::dates;
use communal_kit::money::at_scale;
use communal_kit::pool::Pool;
use communal_kit::uploads::{UploadLimits, Uploads};
use communal_kit::write::run_as;
use communal_proto::billing::v1::{
    AccCertType, ArchiveBatch, BroughtCustomer, BroughtMeter, BroughtRegister, BroughtSettlementAccount,
    BroughtUserAccount, BusCategType, ControlType, CustomerType, DeviceType, EnergyFlowType, ImportArchiveRequest,
    IndustryType, MeterReadChanType, NewBook, NewMeter, NewUserAccount, ReadPeriodType, ReadingsType, ReceivableLine,
    VerifiedMeterPoint, VerifiedSettlementAccount,
};
use communal_proto::parse_decimal;
use futures::stream;
use rust_decimal::Decimal;

use super::catalogue::{NETWORK_STORE, START, first_day};
use super::lines::{Account, lines_of_year};
use crate::archive::books;
use crate::archive::moving_in::import::{Terms, import};
use crate::archive::moving_in::store;
use crate::vocabulary::personal::PersonalKeys;
use crate::vocabulary::quantity::QUANTITY_SCALE;
use crate::vocabulary::tariff::{Period, Utility, YesNo};

/// Accounts of each book that are in the archive.
const OF_A_BOOK: usize = 17;

/// Moves a retail company's archive in; one that is there already stays.
pub(super) async fn move_in(
    pool: &Pool,
    keys: &PersonalKeys,
    call: &Call,
    accounts: impl Iterator<Item = Account>,
    years: u32,
    today: NaiveDate,
) -> anyhow::Result<()> {
    let mut seen = HashMap::<String, usize>::new();
    let mut books: Vec<(String, NewBook)> = Vec::new();
    let mut message = ImportArchiveRequest {
        batch: Some(ArchiveBatch { batch_id: format!("demo-archive-{}", call.tenant.id) }),
        ..ImportArchiveRequest::default()
    };
    for account in accounts {
        let count = seen.entry(account.book_id.clone()).or_default();
        *count += 1;
        if *count == 1 {
            books.push((account.book_id.clone(), book(&account)));
        }
        if *count <= OF_A_BOOK {
            add(&mut message, &account, years, today)?;
        }
    }
    let batch_id = message.batch.clone().unwrap_or_default().batch_id.into();
    let there = run_as(pool, call, async |tx| {
        if store::batch(tx, call, &batch_id).await?.is_some() {
            return Ok(true);
        }
        let (ids, new): (Vec<_>, Vec<_>) = books.iter().cloned().unzip();
        let unknown = books::store::unknown(tx, call, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        if unknown.len() == ids.len() {
            books::store::add(tx, call, &new, &ids).await?;
        }
        Ok(false)
    });
    if there.await? {
        return Ok(());
    }
    let terms = Terms { upload: Uploads::new("seed", UploadLimits::default()).begin(call)?, today };
    import(pool, call, keys, terms, stream::iter([Ok(message)])).await?;
    Ok(())
}

fn book(account: &Account) -> NewBook {
    NewBook {
        utility: account.tariff.utility.into(),
        read: YesNo::Yes.into(),
        reading_cycle: ReadPeriodType::Monthly.into(),
        store_id: account.retail_store_id.clone(),
        book_name: format!("演示区段{}", account.book_id.trim_start_matches(['B', '0'])),
        manager_id: String::new(),
        meter_reader_id: String::new(),
    }
}

/// Adds an account with its customer and meter.
fn add(message: &mut ImportArchiveRequest, account: &Account, years: u32, today: NaiveDate) -> anyhow::Result<()> {
    let number = account.number;
    let utility = account.tariff.utility;
    let (name, address) = (format!("演示客户{number}"), format!("演示路{number}号"));
    let lines = lines_of_year(account, years.saturating_sub(1))?;
    let last_month = lines.iter().map(|line| line.account_month).max().unwrap_or_default();
    let last_read = first_day().and_then(|day| day.checked_add_months(Months::new(years * 12)));
    let last_read = last_read.and_then(|day| day.pred_opt()).unwrap_or(today).min(today);
    message.customers.push(BroughtCustomer {
        customer_id: format!("K{number:015}"),
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
            customer_id: format!("K{number:015}"),
            user_name: name.clone(),
            region_code: "110101000000".into(),
            address: address.clone(),
            resident: YesNo::Yes.into(),
            ..NewUserAccount::default()
        }),
    });
    message.settlement_accounts.push(BroughtSettlementAccount {
        user_account_id: format!("D{number:015}"),
        account: Some(verified_account(format!("A{number:015}"), name, address.clone())),
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
            business_kind: BusCategType::New.into(),
            ..VerifiedMeterPoint::default()
        }),
        archived_on: START,
        population: 3,
        year_quantity: at_scale(quantity(lines.iter()), QUANTITY_SCALE),
        month_quantity: at_scale(
            quantity(lines.iter().filter(|line| line.account_month == last_month)),
            QUANTITY_SCALE,
        ),
        account_month: last_month,
    });
    let register = |register: ReadingsType| BroughtRegister {
        energy_flow: EnergyFlowType::Forward.into(),
        register: register.into(),
        last_reading: (1_000 + number % 1_000).to_string(),
        last_read_date: dates::to_number(last_read),
        old_quantity: String::new(),
    };
    let registers = account.tariff.periods().iter().map(|period| match period {
        Period::Peak => register(ReadingsType::Peak),
        Period::Valley => register(ReadingsType::Valley),
        _ => register(ReadingsType::Total),
    });
    message.meters.push(BroughtMeter {
        meter_id: format!("M{number:015}"),
        meter: Some(NewMeter {
            store_id: account.retail_store_id.clone(),
            factory_number: format!("DEMO-{number}"),
            utility: utility.into(),
            meter_kind: meter_kind(utility).into(),
            digits: 6,
            meter_multiplier: "1".into(),
            quantity_unit: String::new(),
        }),
        settlement_account_id: format!("A{number:015}"),
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

fn quantity<'l>(lines: impl Iterator<Item = &'l ReceivableLine>) -> Decimal {
    lines.map(|line| parse_decimal(&line.quantity).unwrap_or_default()).sum()
}

/// The node of a utility in the demo's reference data.
fn node(utility: Utility) -> &'static str {
    match utility {
        Utility::Water => "G000000000000002",
        Utility::Gas => "G000000000000003",
        _ => "G000000000000001",
    }
}

fn meter_kind(utility: Utility) -> DeviceType {
    match utility {
        Utility::Water => DeviceType::ColdWater,
        Utility::Gas => DeviceType::Gas,
        _ => DeviceType::Electricity,
    }
}
