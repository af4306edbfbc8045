//! The receivable lines of the demo data that another system billed: rated by the prices of their packages, the same each time.

use std::collections::HashMap;

use anyhow::Context;
use chrono::{Days, NaiveDate};
use communal_kit::dates;
use communal_kit::money::{CENTS, at_scale, round};
use communal_proto::billing::v1::{
    BasicFeesType, BusCategType, ChargePackType, ForRateValidType, IndustryType, NormalRetroType, PurchaseSaleType,
    ReceivableLine,
};
use rust_decimal::Decimal;

use super::catalogue::{DELIVERY_GRADE, DemoTariff, NETWORK, NETWORK_STORE, RETAILERS, TARIFFS, store_of};
use super::usage::{Paid, Usage, month_day, month_end, usage};
use crate::rating::{Accumulators, BillFacts, FeeLine, Parameters, Rates, RatingError, RegisterFacts, rate};
use crate::vocabulary::dates::{AccountMonth, day_number};
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::movement::register_of;
use crate::vocabulary::quantity::{QUANTITY_SCALE, UNIT_PRICE_SCALE};
use crate::vocabulary::tariff::{HeatBasis, Season, Utility, YesNo};

/// Months that another system billed, from the demo's first on.
pub(super) const IMPORTED_MONTHS: u32 = 21;

/// Books of each retail company.
pub(super) const BOOKS: usize = 12;
/// The tariff of each book of a company: a book has one utility.
const TARIFF_OF_BOOK: [usize; BOOKS] = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4];
/// Books of the network company, whose own customers buy at the guaranteed price.
const GUARANTEED_BOOKS: usize = 2;
/// The tariff of those customers.
const GUARANTEED_TARIFF: usize = 1;
/// Persons of each household.
pub(super) const POPULATION: u32 = 3;
/// Days after the charge-off from which the penalty counts.
pub(super) const GRACE_DAYS: u32 = 15;

/// A settlement account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) number: usize,
    pub(super) book_id: String,
    pub(super) retail_company_id: &'static str,
    /// The store of its book and meter.
    pub(super) store_id: String,
    /// The store of its package, of a guaranteed one the network store.
    package_store_id: String,
    pub(super) package_id: String,
    kind: ChargePackType,
    pub(super) tariff: &'static DemoTariff,
}

impl Account {
    /// Its identifier.
    pub(super) fn id(&self) -> String {
        format!("A{:015}", self.number)
    }

    /// Its customer.
    pub(super) fn customer_id(&self) -> String {
        format!("K{:015}", self.number)
    }

    /// Its meter.
    pub(super) fn meter_id(&self) -> String {
        format!("M{:015}", self.number)
    }

    /// The serial of the payment of a month's bill.
    pub(super) fn payment_id(&self, account_month: AccountMonth) -> String {
        format!("W{}{:09}", account_month.number(), self.number)
    }
}

/// The accounts of a retail company, book by book.
pub(super) fn retail_accounts(
    retailer: usize,
    packages: &[PackageId],
    accounts: usize,
) -> impl Iterator<Item = Account> {
    let in_a_book = accounts.div_ceil(BOOKS).max(1);
    (0..accounts).filter_map(move |index| {
        let book = index / in_a_book;
        let tariff = *TARIFF_OF_BOOK.get(book)?;
        Some(Account {
            number: retailer * 100_000 + index + 1,
            book_id: book_id(retailer * BOOKS + book),
            retail_company_id: RETAILERS.get(retailer).copied()?,
            store_id: store_of(retailer, book / (BOOKS / 2)),
            package_store_id: store_of(retailer, 0),
            package_id: packages.get(tariff)?.to_string(),
            kind: ChargePackType::Market,
            tariff: TARIFFS.get(tariff)?,
        })
    })
}

/// The accounts that buy from the network company itself, at the guaranteed price, in books of its own.
pub(super) fn guaranteed_accounts(package_id: &PackageId, in_a_book: usize) -> impl Iterator<Item = Account> {
    let first = RETAILERS.len() * BOOKS;
    (0..GUARANTEED_BOOKS).flat_map(move |book| (0..in_a_book).map(move |index| (book, index))).filter_map(
        move |(book, index)| {
            Some(Account {
                number: 900_000 + book * 1_000 + index + 1,
                book_id: book_id(first + book),
                retail_company_id: NETWORK,
                store_id: NETWORK_STORE.to_owned(),
                package_store_id: NETWORK_STORE.to_owned(),
                package_id: package_id.to_string(),
                kind: ChargePackType::Guaranteed,
                tariff: TARIFFS.get(GUARANTEED_TARIFF)?,
            })
        },
    )
}

fn book_id(number: usize) -> String {
    format!("B{:015}", number + 1)
}

/// The rates of the packages, by package.
pub(super) type RatesOfPackages = HashMap<String, Rates>;

/// The lines that an account was billed in a calendar year by another system.
pub(super) fn lines_of_year(
    account: &Account,
    year: u32,
    rates: &RatesOfPackages,
) -> anyhow::Result<Vec<ReceivableLine>> {
    let rates = rates.get(&account.package_id).context("a package of the demo data has no rates")?;
    let months = IMPORTED_MONTHS.min((year + 1) * 12);
    let mut accumulators = Accumulators::NONE;
    let mut lines = Vec::new();
    for (place, used) in (0..).zip(usage(account, months)).skip_while(|(place, _)| *place < year * 12) {
        let account_month = AccountMonth::of(month_day(place)?);
        let registers: Vec<_> = used
            .quantities
            .iter()
            .map(|(period, quantity)| RegisterFacts::of_quantity(register_of(*period), (*quantity).into()))
            .collect();
        let facts = BillFacts {
            account_month,
            run_kind: NormalRetroType::Normal,
            season: Season::Flat,
            accumulators,
            metered: true,
            registers: &registers,
            parameters: Parameters { population: POPULATION, ..Parameters::default() },
        };
        let rated = rate(&facts, rates)?;
        accumulators = rated.after;
        let bill = DemoBill::new(account_month, month_end(place)?, &used)?;
        // The price of transport is no debt of the customer.
        let own = rated.lines.iter().filter(|part| part.kind == rated.kind);
        lines.extend(own.map(|part| bill.line(account, part)));
    }
    Ok(lines)
}

/// One account's bill of one month.
struct DemoBill {
    account_month: AccountMonth,
    charged_off: NaiveDate,
    penalty_from: NaiveDate,
    paid_on: NaiveDate,
    paid: Paid,
}

impl DemoBill {
    fn new(account_month: AccountMonth, charged_off: NaiveDate, used: &Usage) -> anyhow::Result<Self> {
        let after = |days| charged_off.checked_add_days(Days::new(days)).ok_or(RatingError::OutOfRange);
        Ok(Self {
            account_month,
            charged_off,
            penalty_from: after(GRACE_DAYS.into())?,
            paid_on: after(used.days_to_pay)?,
            paid: used.paid,
        })
    }

    fn line(&self, account: &Account, part: &FeeLine) -> ReceivableLine {
        let number = account.number;
        let tariff = account.tariff;
        let paid = match self.paid {
            Paid::InFull => part.fee,
            Paid::InPart => round(part.fee * Decimal::new(4, 1), CENTS),
            Paid::NotAtAll => Decimal::ZERO,
        };
        let was_paid = !paid.is_zero();
        let when_paid = |text: String| if was_paid { text } else { String::new() };
        ReceivableLine {
            node_id: node(tariff.utility).into(),
            network_company_id: NETWORK.into(),
            network_store_id: NETWORK_STORE.into(),
            retail_company_id: account.retail_company_id.into(),
            retail_store_id: account.package_store_id.clone(),
            retail_dimension: String::new(),
            network_dimension: String::new(),
            package_id: account.package_id.clone(),
            book_id: account.book_id.clone(),
            utility: tariff.utility.into(),
            settlement_account_id: account.id(),
            run_kind: NormalRetroType::Normal.into(),
            customer_id: account.customer_id(),
            using_customer_id: account.customer_id(),
            user_account_id: format!("D{number:015}"),
            industry_code: "T0000".into(),
            industry_sector: IndustryType::Tertiary.into(),
            assessed: YesNo::No.into(),
            resident: YesNo::Yes.into(),
            public_use: YesNo::No.into(),
            temporary: YesNo::No.into(),
            urban: YesNo::Yes.into(),
            military: YesNo::No.into(),
            supply_kind: PurchaseSaleType::Direct.into(),
            stopped_or_vacant: YesNo::No.into(),
            business_kind: BusCategType::New.into(),
            basic_fee_kind: BasicFeesType::None.into(),
            seasonal: YesNo::No.into(),
            season: part.season.into(),
            time_of_use: tariff.time_of_use.into(),
            period: part.period.into(),
            agreement_price: YesNo::No.into(),
            ladder: tariff.ladder.into(),
            ladder_tiers: tariff.tiers().into(),
            tier: part.tier.into(),
            power_factor_standard: ForRateValidType::None.into(),
            heat_basis: HeatBasis::None.into(),
            property_basis: 0,
            account_item: tariff.account_item.into(),
            category_item: part.category_item,
            surcharge_item: part.surcharge_item,
            start_date: day_number(part.start),
            account_month: self.account_month.number(),
            settled_month: if self.paid == Paid::InFull { AccountMonth::of(self.paid_on).number() } else { 0 },
            quantity: at_scale(part.quantity, QUANTITY_SCALE),
            unit_price: at_scale(part.price, UNIT_PRICE_SCALE),
            fee: at_scale(part.fee, CENTS),
            package_kind: account.kind.into(),
            voltage: tariff.voltage().into(),
            delivery_level: DELIVERY_GRADE.into(),
            retail_level: "1".into(),
            property_grade: String::new(),
            charge_off_date: dates::to_number(self.charged_off),
            charge_off_id: format!("Q{}{number:09}", self.account_month.number()),
            penalty_from: dates::to_number(self.penalty_from),
            previous_paid_date: 0,
            previous_payment_id: String::new(),
            paid_total: at_scale(paid, CENTS),
            latest_paid: when_paid(at_scale(paid, CENTS)),
            latest_paid_date: if was_paid { dates::to_number(self.paid_on) } else { 0 },
            latest_payment_id: when_paid(account.payment_id(self.account_month)),
        }
    }
}

/// The node of a utility in the demo's reference data.
pub(super) fn node(utility: Utility) -> &'static str {
    match utility {
        Utility::Water => "G000000000000002",
        Utility::Gas => "G000000000000003",
        _ => "G000000000000001",
    }
}
