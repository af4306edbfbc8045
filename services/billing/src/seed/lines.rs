//! The receivable lines of the demo data: rated by tier and period, the same each time.

use chrono::{Days, Months, NaiveDate};
use communal_kit::dates;
use communal_kit::money::{CENTS, at_scale, round};
use communal_proto::billing::v1::{
    BasicFeesType, BusCategType, ChargePackType, ForRateValidType, IndustryType, NormalRetroType, PurchaseSaleType,
    ReceivableLine, TransVoltageType,
};
use rust_decimal::Decimal;

use super::catalogue::{
    DemoTariff, ENERGY_ITEM, NETWORK, NETWORK_STORE, RETAILERS, START, TARIFFS, first_day, store_of,
};
use crate::rating::{Accumulators, BillFacts, FeeLine, Parameters, RatingError, RegisterFacts, rate};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::identifiers::PackageId;
use crate::vocabulary::movement::register_of;
use crate::vocabulary::quantity::{QUANTITY_SCALE, UNIT_PRICE_SCALE};
use crate::vocabulary::tariff::{HeatBasis, Period, Season, Utility, YesNo};

/// Books of each retail company.
pub(super) const BOOKS: usize = 12;
/// The tariff of each book of a company: a book has one utility.
const TARIFF_OF_BOOK: [usize; BOOKS] = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4];
/// The tariff of the network company's own customers; they live in the books of this tariff and of those
/// before it.
const GUARANTEED_TARIFF: usize = 1;
/// Bills that are not paid in full, in percent.
const UNPAID_PERCENT: u64 = 3;
/// One in this many of those is partly paid.
const PARTLY_PAID: u64 = 4;
/// Days after the charge-off from which the penalty counts.
const GRACE_DAYS: u64 = 15;

/// A generator of pseudo-random numbers (SplitMix64) that does not change with a library.
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

/// A settlement account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) number: usize,
    pub(super) book_id: String,
    retail_company_id: &'static str,
    pub(super) retail_store_id: String,
    pub(super) package_id: String,
    kind: ChargePackType,
    pub(super) tariff: &'static DemoTariff,
}

/// The accounts of a retail company, book by book.
pub(super) fn retail_accounts(
    retailer: usize,
    packages: &[PackageId],
    accounts: usize,
) -> impl Iterator<Item = Account> + Send + 'static {
    let packages = packages.to_vec();
    let in_a_book = accounts.div_ceil(BOOKS).max(1);
    (0..accounts).filter_map(move |index| {
        let book = index / in_a_book;
        let tariff = *TARIFF_OF_BOOK.get(book)?;
        Some(Account {
            number: retailer * 100_000 + index + 1,
            book_id: book_id(retailer * BOOKS + book),
            retail_company_id: RETAILERS.get(retailer).copied()?,
            retail_store_id: store_of(retailer, book / (BOOKS / 2)),
            package_id: packages.get(tariff)?.to_string(),
            kind: ChargePackType::Market,
            tariff: TARIFFS.get(tariff)?,
        })
    })
}

/// The accounts that buy from the network company itself, at the guaranteed price: a few in
/// each book of electricity.
pub(super) fn guaranteed_accounts(
    package_id: &PackageId,
    in_a_book: usize,
) -> impl Iterator<Item = Account> + Send + 'static {
    let package_id = package_id.to_string();
    (0..RETAILERS.len() * BOOKS)
        .filter(|book| TARIFF_OF_BOOK.get(book % BOOKS).is_some_and(|tariff| *tariff <= GUARANTEED_TARIFF))
        .flat_map(move |book| (0..in_a_book).map(move |index| (book, index)))
        .filter_map(move |(book, index)| {
            Some(Account {
                number: 900_000 + book * 1_000 + index + 1,
                book_id: book_id(book),
                retail_company_id: NETWORK,
                retail_store_id: NETWORK_STORE.to_owned(),
                package_id: package_id.clone(),
                kind: ChargePackType::Guaranteed,
                tariff: TARIFFS.get(GUARANTEED_TARIFF)?,
            })
        })
}

fn book_id(number: usize) -> String {
    format!("B{:015}", number + 1)
}

/// The lines of an account in the calendar year that is `year` years after the first.
pub(super) fn lines_of_year(account: &Account, year: u32) -> anyhow::Result<Vec<ReceivableLine>> {
    let seed = u64::try_from(account.number)? << 8;
    let mut numbers = Numbers(seed | u64::from(year));
    let rates = account.tariff.rates()?;
    let first = first_day().and_then(|day| day.checked_add_months(Months::new(year * 12)));
    let first = first.ok_or(RatingError::OutOfRange)?;
    let mut accumulators = Accumulators::NONE;
    let mut lines = Vec::new();
    for month in 0..12 {
        let day = first.checked_add_months(Months::new(month)).ok_or(RatingError::OutOfRange)?;
        let (least, most) = account.tariff.usage;
        let total = numbers.between(least, most);
        let registers = by_period(account.tariff, total, &mut numbers);
        let facts = BillFacts {
            account_month: AccountMonth::of(day),
            run_kind: NormalRetroType::Normal,
            season: Season::Flat,
            accumulators,
            metered: true,
            registers: &registers,
            parameters: Parameters::default(),
        };
        let rated = rate(&facts, &rates)?;
        accumulators = rated.after;
        let bill = DemoBill::new(day, &mut numbers)?;
        lines.extend(rated.lines.iter().map(|part| bill.line(account, part)));
    }
    Ok(lines)
}

/// Splits a quantity over the periods: some 60 % of it at peak time if that is priced apart.
fn by_period(tariff: &DemoTariff, total: u64, numbers: &mut Numbers) -> Vec<RegisterFacts> {
    let counted = |period: &Period, quantity: u64| RegisterFacts::of_quantity(register_of(*period), quantity.into());
    match tariff.periods() {
        [peak, valley] => {
            let at_peak = total * numbers.between(50, 70) / 100;
            vec![counted(peak, at_peak), counted(valley, total - at_peak)]
        }
        periods => periods.iter().map(|period| counted(period, total)).collect(),
    }
}

/// The payment of a bill.
#[derive(Clone, Copy, Debug)]
enum Paid {
    InFull,
    InPart,
    NotAtAll,
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
    /// Charged off on the fifth of the month after.
    fn new(month: NaiveDate, numbers: &mut Numbers) -> anyhow::Result<Self> {
        let out_of_range = || anyhow::anyhow!("a date of the demo data is out of range");
        let after = |day: NaiveDate, days| day.checked_add_days(Days::new(days)).ok_or_else(out_of_range);
        let next = month.checked_add_months(Months::new(1)).ok_or_else(out_of_range)?;
        let charged_off = after(next, 4)?;
        let paid = match numbers.between(1, 100) {
            n if n > UNPAID_PERCENT => Paid::InFull,
            _ if numbers.between(1, PARTLY_PAID) == 1 => Paid::InPart,
            _ => Paid::NotAtAll,
        };
        Ok(Self {
            account_month: AccountMonth::of(month),
            charged_off,
            penalty_from: after(charged_off, GRACE_DAYS)?,
            paid_on: after(charged_off, numbers.between(1, GRACE_DAYS - 1))?,
            paid,
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
        let electricity = tariff.utility == Utility::Electricity;
        ReceivableLine {
            node_id: format!("L{:015}", number / 1_000 + 1),
            network_company_id: NETWORK.into(),
            network_store_id: NETWORK_STORE.into(),
            retail_company_id: account.retail_company_id.into(),
            retail_store_id: account.retail_store_id.clone(),
            retail_dimension: String::new(),
            network_dimension: String::new(),
            package_id: account.package_id.clone(),
            book_id: account.book_id.clone(),
            utility: tariff.utility.into(),
            settlement_account_id: format!("A{number:015}"),
            run_kind: NormalRetroType::Normal.into(),
            customer_id: format!("K{number:015}"),
            using_customer_id: format!("K{number:015}"),
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
            season: Season::Flat.into(),
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
            category_item: ENERGY_ITEM,
            surcharge_item: 0,
            start_date: START,
            account_month: self.account_month.number(),
            settled_month: if matches!(self.paid, Paid::InFull) { self.account_month.number() } else { 0 },
            quantity: at_scale(part.quantity, QUANTITY_SCALE),
            unit_price: at_scale(part.price, UNIT_PRICE_SCALE),
            fee: at_scale(part.fee, CENTS),
            package_kind: account.kind.into(),
            voltage: if electricity { TransVoltageType::Below1kv.into() } else { 0 },
            delivery_level: String::new(),
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
            latest_payment_id: when_paid(format!("W{}{number:09}", self.account_month.number())),
        }
    }
}
