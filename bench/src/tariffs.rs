//! The prices of the benchmarks: packages on sale, each with prices for three seasons and five tiers, and the request that
//! changes them, as a protobuf message and as documented JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

use communal_proto::Coded;
use communal_proto::billing::v1::{
    AbundanceType, GarbChargeType, HeatChargeType, LadderLevelType, LadderType, NetworkType, SalePackagePriceRow,
    TimeFeesType, TimeSharingType, UpdateSalePackagePriceRequest, YesNo,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use communal_fixtures::credentials::billing::{NETWORK, RETAIL, STORE};

/// Price rows of a package.
pub const ROWS_A_PACKAGE: u64 = 15;
/// The account item.
pub const ACCOUNT_ITEM: &str = "水费-居民生活用水";
/// The upper limits of the tiers; the last one has no end.
const UPPER: [i64; 5] = [60, 120, 240, 480, 0];

/// Row `index`; each `round` has another price.
#[must_use]
pub fn row(index: u64, round: u64) -> SalePackagePriceRow {
    let place = usize::try_from(index % ROWS_A_PACKAGE).unwrap_or_default();
    let (season, tier) = (place / 5, place % 5);
    let number = |n: usize| i32::try_from(n + 1).unwrap_or_default();
    SalePackagePriceRow {
        package_id: format!("P{:015}", index / ROWS_A_PACKAGE + 1),
        account_item: ACCOUNT_ITEM.to_owned(),
        utility: NetworkType::Water.into(),
        agreement_price: YesNo::No.into(),
        price: format!("{}.{:06}", 1 + round % 7, 100_000 + (index * 13 + round * 17) % 900_000),
        price_unit: "元/立方米".to_owned(),
        season: number(season),
        heat_basis: HeatChargeType::None.into(),
        property_basis: GarbChargeType::Unspecified.into(),
        time_of_use: TimeFeesType::One.into(),
        period: TimeSharingType::Whole.into(),
        ladder: LadderType::Year.into(),
        tier: number(tier),
        upper_limit: UPPER[tier],
        lower_limit: if tier == 0 { 0 } else { UPPER[tier - 1] },
    }
}

/// The request for the first rows.
#[must_use]
pub fn request(rows: u64, round: u64) -> UpdateSalePackagePriceRequest {
    UpdateSalePackagePriceRequest { rows: (0..rows).map(|index| row(index, round)).collect() }
}

/// Returns statements that put packages on sale with this total number of rows.
#[must_use]
pub fn packages_on_sale(rows: u64) -> [String; 2] {
    let packages = rows.div_ceil(ROWS_A_PACKAGE);
    let package = format!(
        "INSERT INTO package (
             retail_company_id, package_id, network_company_id, retail_store_id, kind, supply_kind, name, remark,
             account_item, utility, resident, deviation, seasonal, agreement_price, time_of_use, ladder, tiers,
             population, may_cancel, property_grade, retail_voltage_grade, power_range, delivery_grade, state, start_date)
         SELECT '{RETAIL}', 'P' || lpad(n::text, 15, '0'), '{NETWORK}', '{STORE}', '3', '1',
             '阶梯水价' || n, '', '{ACCOUNT_ITEM}', '1', '2', '1', '2', '1', '1', '2', '5', 0, '1', '', '', '', '', '5',
             '2025-01-01'
         FROM generate_series(1, {packages}) AS n"
    );
    let price = format!(
        "INSERT INTO package_price (
             retail_company_id, package_id, account_item, agreement_price, season, heat_basis, time_of_use, period,
             ladder, tier, price, price_unit, lower_limit, upper_limit, start_date)
         SELECT p.retail_company_id, p.package_id, p.account_item, '1', season::text, '{heat}', '1', '{whole}', '2',
             tier::text, 1.5, '元/立方米', (ARRAY[0, 60, 120, 240, 480])[tier], (ARRAY[60, 120, 240, 480, 0])[tier],
             '2025-01-01'
         FROM package AS p, generate_series(1, 3) AS season, generate_series(1, 5) AS tier",
        heat = HeatChargeType::None.code(),
        whole = TimeSharingType::Whole.code(),
    );
    [package, price]
}

/// Formats the request as documented JSON; `head` is the JSON before the rows.
#[must_use]
pub fn documented_body(rows: u64, head: Option<&str>) -> String {
    let mut body =
        format!("{{{}{}\"COM_SALES_PRICE\":[", head.unwrap_or_default(), if head.is_some() { "," } else { "" });
    for index in 0..rows {
        let row = row(index, 0);
        let _ = write!(
            body,
            "{}{{\"CHARGE_PACK_DID\":\"{}\",\"ACCOUNT_ITEM_INFO\":\"{}\",\"NETWORK_TYPE\":\"{}\",\
             \"AGREE_PRICE_YESNO\":\"{}\",\"CAT_ITEM_PRICE\":{},\"PRICE_UNIT_NAME\":\"{}\",\"ABUNDANCE_TYPE\":\"{}\",\
             \"HEAT_CHARGE_TYPE\":\"{}\",\"GARB_CHAEGE_TYPE\":\"{}\",\"TIME_FEES_TYPE\":\"{}\",\
             \"TIME_SHARING_TYPE\":\"{}\",\"LADDER_TYPE\":\"{}\",\"LADDER_LEVEL_TYPE\":\"{}\",\
             \"LADDER_UPPER_LIMIT\":{},\"LADDER_LOWER_LIMIT\":{}}}",
            if index == 0 { "" } else { "," },
            row.package_id,
            row.account_item,
            row.utility().code(),
            row.agreement_price().code(),
            row.price,
            row.price_unit,
            row.season().code(),
            row.heat_basis().code(),
            GarbChargeType::Population.code(),
            row.time_of_use().code(),
            row.period().code(),
            row.ladder().code(),
            row.tier().code(),
            row.upper_limit,
            row.lower_limit,
        );
    }
    body.push_str("]}");
    body
}

/// The request of the peer, which reads JSON into structs by serde and converts them into the message.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct PriceBody<'b> {
    #[serde(borrow, rename = "COM_SALES_PRICE")]
    pub rows: Vec<PriceRow<'b>>,
}

/// A row of [`PriceBody`]. Texts without escapes are borrowed from the body.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct PriceRow<'b> {
    #[serde(borrow, rename = "CHARGE_PACK_DID")]
    pub package_id: Cow<'b, str>,
    #[serde(borrow, rename = "ACCOUNT_ITEM_INFO")]
    pub account_item: Cow<'b, str>,
    #[serde(borrow, rename = "NETWORK_TYPE")]
    pub utility: Cow<'b, str>,
    #[serde(borrow, rename = "AGREE_PRICE_YESNO")]
    pub agreement_price: Cow<'b, str>,
    #[serde(borrow, rename = "CAT_ITEM_PRICE")]
    pub price: &'b RawValue,
    #[serde(borrow, rename = "PRICE_UNIT_NAME")]
    pub price_unit: Cow<'b, str>,
    #[serde(borrow, rename = "ABUNDANCE_TYPE")]
    pub season: Cow<'b, str>,
    #[serde(borrow, rename = "HEAT_CHARGE_TYPE")]
    pub heat_basis: Cow<'b, str>,
    #[serde(borrow, rename = "GARB_CHAEGE_TYPE")]
    pub property_basis: Cow<'b, str>,
    #[serde(borrow, rename = "TIME_FEES_TYPE")]
    pub time_of_use: Cow<'b, str>,
    #[serde(borrow, rename = "TIME_SHARING_TYPE")]
    pub period: Cow<'b, str>,
    #[serde(borrow, rename = "LADDER_TYPE")]
    pub ladder: Cow<'b, str>,
    #[serde(borrow, rename = "LADDER_LEVEL_TYPE")]
    pub tier: Cow<'b, str>,
    #[serde(rename = "LADDER_UPPER_LIMIT")]
    pub upper_limit: i64,
    #[serde(rename = "LADDER_LOWER_LIMIT")]
    pub lower_limit: i64,
}

impl From<PriceBody<'_>> for UpdateSalePackagePriceRequest {
    fn from(body: PriceBody<'_>) -> Self {
        Self { rows: body.rows.into_iter().map(message).collect() }
    }
}

fn number<C: Coded + Default + Into<i32>>(code: &str) -> i32 {
    C::from_code(code).unwrap_or_default().into()
}

fn message(row: PriceRow<'_>) -> SalePackagePriceRow {
    SalePackagePriceRow {
        package_id: row.package_id.into_owned(),
        account_item: row.account_item.into_owned(),
        utility: number::<NetworkType>(&row.utility),
        agreement_price: number::<YesNo>(&row.agreement_price),
        price: row.price.get().to_owned(),
        price_unit: row.price_unit.into_owned(),
        season: number::<AbundanceType>(&row.season),
        heat_basis: number::<HeatChargeType>(&row.heat_basis),
        property_basis: number::<GarbChargeType>(&row.property_basis),
        time_of_use: number::<TimeFeesType>(&row.time_of_use),
        period: number::<TimeSharingType>(&row.period),
        ladder: number::<LadderType>(&row.ladder),
        tier: number::<LadderLevelType>(&row.tier),
        upper_limit: row.upper_limit,
        lower_limit: row.lower_limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_body_and_the_message_are_equal() {
        let body = documented_body(20, None);
        let body: PriceBody<'_> = serde_json::from_str(&body).unwrap();
        let read = UpdateSalePackagePriceRequest::from(body);
        assert_eq!(read.rows.len(), 20);
        for (index, row) in read.rows.into_iter().enumerate() {
            let meant = super::row(index as u64, 0);
            assert_eq!(row, SalePackagePriceRow { property_basis: row.property_basis, ..meant });
        }
    }

    #[test]
    fn each_round_changes_every_price_and_nothing_else() {
        for index in 0..30 {
            let (before, after) = (row(index, 1), row(index, 2));
            assert_ne!(before.price, after.price);
            assert_eq!(before, SalePackagePriceRow { price: before.price.clone(), ..after });
        }
    }
}
