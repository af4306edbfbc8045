//! The peer of the arrears row: a naive 61-column row, read into a struct of 61 fields. The same list generates the struct of
//! the transcoder's peer, which goes from prost to serde_json.

use communal_proto::Coded;
use communal_proto::billing::v1::*;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// The fields of an arrears line: the kind, the name in Rust and the documented name.
macro_rules! for_each_field {
    ($make:ident) => {
        $make! {
            text() node_id "NODE_AID";
            text() network_company_id "NETWORK_CO_DID";
            text() network_store_id "NET_STORES_AID";
            text() retail_company_id "RETAIL_CO_DID";
            text() retail_store_id "RET_STORES_AID";
            text() retail_dimension "SALE_CO_DIMENSION";
            text() network_dimension "NETWORK_CO_DIMENSION";
            text() package_id "CHARGE_PACK_DID";
            text() book_id "BOOK_AID";
            code(NetworkType) utility "NETWORK_TYPE";
            text() settlement_account_id "SETTLEMENT_AID";
            code(NormalRetroType) run_kind "NORMAL_RETRO_TYPE";
            text() customer_id "CUSTOMER_DID";
            text() using_customer_id "USER_CUS_DID";
            text() user_account_id "USER_ACCOUNT_AID";
            text() industry_code "INDUSTRY_CODE_INFO";
            code(IndustryType) industry_sector "INDUSTRY_TYPE";
            code(YesNo) assessed "ASSESS_YESNO";
            code(YesNo) resident "RESIDENT_YESNO";
            code(YesNo) public_use "PUBLIC_USE_YESNO";
            code(YesNo) temporary "TEMPORARY_YESNO";
            code(YesNo) urban "CITY_YESNO";
            code(YesNo) military "ARMY_YESNO";
            code(PurchaseSaleType) supply_kind "PURCHASE_SALE_TYPE";
            code(YesNo) stopped_or_vacant "STOP_EMPTY_YESNO";
            code(BusCategType) business_kind "BUS_CATEG_TYPE";
            code(BasicFeesType) basic_fee_kind "BASIC_FEES_TYPE";
            code(YesNo) seasonal "ABUND_WITHER_YESNO";
            code(AbundanceType) season "ABUNDANCE_TYPE";
            code(TimeFeesType) time_of_use "TIME_FEES_TYPE";
            code(TimeSharingType) period "TIME_SHARING_TYPE";
            code(YesNo) agreement_price "AGREE_PRICE_YESNO";
            code(LadderType) ladder "LADDER_TYPE";
            code(LadderNumType) ladder_tiers "LADDER_NUM_TYPE";
            code(LadderLevelType) tier "LADDER_LEVEL_TYPE";
            code(ForRateValidType) power_factor_standard "FOR_RATE_VALID_TYPE";
            code(HeatChargeType) heat_basis "HEAT_CHARGE_TYPE";
            code(GarbChargeType) property_basis "GARB_CHAEGE_TYPE";
            text() account_item "ACCOUNT_ITEM_INFO";
            large() category_item "CAT_ITEM_NUM";
            large() surcharge_item "CAT_ITEM_ATTACH_NUM";
            small() start_date "STARTUP_DATE";
            small() account_month "ACCOUNT_MONTH";
            small() settled_month "SETTLE_ACCOUNT_MONTH";
            decimal(2) quantity "THE_CHARGE_CONS";
            decimal(6) unit_price "CHARGE_PRICE";
            decimal(2) fee "CALC_FEE";
            code(ChargePackType) package_kind "CHARGE_PACK_TYPE";
            code(TransVoltageType) voltage "TRANS_VOLTAGE_TYPE";
            text() delivery_level "DIST_LEVEL_RANGE_TYPE";
            text() retail_level "RETAIL_VOLTAGE_GRADE_TYPE";
            text() property_grade "PROPERTY_LEVEL_TYPE";
            small() charge_off_date "OPERATION_DATE";
            text() charge_off_id "SERIAL_DID";
            small() penalty_from "LIQ_DAMA_LEVY_DATE";
            small() previous_paid_date "LAST_PAID_IN_DATE";
            text() previous_payment_id "LAST_PAID_IN_SID";
            decimal(2) paid_total "ACCU_PAID_IN_FEE";
            decimal(2) latest_paid "THE_PAID_IN_FEE";
            small() latest_paid_date "THE_PAID_IN_DATE";
            text() latest_payment_id "THE_PAID_IN_SID";
        }
    };
}

macro_rules! column_type {
    (text) => {
        String
    };
    (code) => {
        String
    };
    (small) => {
        i32
    };
    (large) => {
        i64
    };
    (decimal) => {
        Decimal
    };
}

macro_rules! sql_type {
    (text) => {
        "text"
    };
    (code $codes:tt) => {
        "text"
    };
    (small) => {
        "integer"
    };
    (large) => {
        "bigint"
    };
    (decimal 2) => {
        "numeric(16, 2)"
    };
    (decimal 6) => {
        "numeric(14, 6)"
    };
}

macro_rules! to_message {
    (text, $value:expr $(, $more:tt)?) => {
        $value
    };
    (small, $value:expr $(, $more:tt)?) => {
        $value
    };
    (large, $value:expr $(, $more:tt)?) => {
        $value
    };
    (decimal, $value:expr, $scale:literal) => {
        decimal_text($value, $scale)
    };
    (code, $value:expr, $codes:ident) => {
        $codes::from_code(&$value).unwrap_or_default() as i32
    };
}

macro_rules! to_column_text {
    (text, $value:expr $(, $more:tt)?) => {
        $value.clone()
    };
    (small, $value:expr $(, $more:tt)?) => {
        $value.to_string()
    };
    (large, $value:expr $(, $more:tt)?) => {
        $value.to_string()
    };
    (decimal, $value:expr, $scale:literal) => {
        if $value.is_empty() { "0".to_owned() } else { $value.clone() }
    };
    (code, $value:expr, $codes:ident) => {
        code_of::<$codes>($value).to_owned()
    };
}

macro_rules! json_type {
    ($life:lifetime text) => { &$life str };
    ($life:lifetime code) => { &'static str };
    ($life:lifetime small) => { i32 };
    ($life:lifetime large) => { i64 };
    ($life:lifetime decimal) => { &$life RawValue };
}

macro_rules! to_json {
    (text, $value:expr $(, $more:tt)?) => {
        $value.as_str()
    };
    (small, $value:expr $(, $more:tt)?) => {
        *$value
    };
    (large, $value:expr $(, $more:tt)?) => {
        *$value
    };
    (decimal, $value:expr, $scale:literal) => {
        raw_number($value, $scale)?
    };
    (code, $value:expr, $codes:ident) => {
        code_of::<$codes>(*$value)
    };
}

macro_rules! define {
    ($($kind:ident($($more:tt)?) $field:ident $name:literal;)*) => {
        /// An arrears line, column by column.
        #[derive(Debug)]
        #[allow(missing_docs)]
        pub struct StoredLine { $(pub $field: column_type!($kind),)* }

        /// The names of the columns, in their order.
        pub const COLUMNS: &[&str] = &[$(stringify!($field)),*];

        /// The types of the columns for `CREATE TABLE`.
        pub const COLUMN_TYPES: &[&str] = &[$(sql_type!($kind $($more)?)),*];

        impl StoredLine {
            /// Reads a row by position and without checking types, like `query_as!`, which checks them at compile time.
            ///
            /// # Errors
            /// Returns an error if a value cannot be decoded.
            pub fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
                let mut index = 0..;
                let mut next = || index.next().unwrap_or(usize::MAX);
                Ok(Self { $($field: row.try_get_unchecked(next())?,)* })
            }

            /// Converts the row into the protobuf message.
            #[must_use]
            pub fn into_message(self) -> ReceivableLine {
                ReceivableLine { $($field: to_message!($kind, self.$field $(, $more)?),)* }
            }
        }

        /// Formats the line as a row in the text format of COPY.
        #[must_use]
        pub fn copy_row(line: &ReceivableLine) -> String {
            let values = [$(to_column_text!($kind, line.$field $(, $more)?)),*];
            values.join("\t")
        }

        /// An arrears line as serde writes it.
        #[derive(Debug, Serialize)]
        #[allow(missing_docs)]
        pub struct DocumentedLine<'l> { $(#[serde(rename = $name)] pub $field: json_type!('l $kind),)* }

        impl<'l> DocumentedLine<'l> {
            /// Borrows from the message without copying texts.
            ///
            /// # Errors
            /// Returns an error if a decimal is not a number.
            pub fn of(line: &'l ReceivableLine) -> serde_json::Result<Self> {
                Ok(Self { $($field: to_json!($kind, &line.$field $(, $more)?),)* })
            }
        }
    };
}

for_each_field!(define);

/// Formats a decimal with all digits; NUMERIC returns zero without trailing zeros.
fn decimal_text(mut value: Decimal, scale: u32) -> String {
    value.rescale(scale);
    value.to_string()
}

fn code_of<C: Coded + TryFrom<i32>>(number: i32) -> &'static str {
    C::try_from(number).map_or("", Coded::code)
}

/// Formats a decimal text as a bare JSON number.
fn raw_number(text: &str, scale: u32) -> serde_json::Result<&RawValue> {
    let zero = if scale == 2 { "0.00" } else { "0.000000" };
    serde_json::from_str(if text.is_empty() { zero } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    #[test]
    fn the_struct_has_every_field_of_the_contract() {
        assert_eq!(COLUMNS.len(), 61);
        assert_eq!(COLUMN_TYPES.len(), COLUMNS.len());
        let row = copy_row(&lines::line(1, 0));
        assert_eq!(row.split('\t').count(), COLUMNS.len());
    }
}
