//! The columns of codes: each takes the codes of the contract, and no others.

use std::collections::BTreeSet;

use communal_proto::Coded;
use communal_proto::community::v1::*;

use crate::harness::*;

/// The codes of an enum.
fn codes<E: Coded + TryFrom<i32>>() -> BTreeSet<String> {
    (1..).map_while(|number| E::try_from(number).ok()).map(|value| value.code().to_owned()).collect()
}

#[tokio::test]
async fn a_coded_column_takes_the_codes_of_the_contract_and_no_others() {
    let service = Service::start().await;
    let columns = [
        ("payer_object", "payer_obj_type", codes::<PayerObjectType>()),
        ("payer_object", "room_state", codes::<RoomState>()),
        ("payer_object", "car_state", codes::<CarState>()),
        ("meter_reading", "meter_type", codes::<MeterType>()),
        ("pay_fee_config", "fee_type_cd", codes::<FeeType>()),
        ("pay_fee_config", "fee_flag", codes::<FeeFlag>()),
        ("pay_fee_config", "computing_formula", codes::<Formula>()),
        ("pay_fee_config", "is_default", codes::<DefaultItem>()),
        ("pay_fee_config", "bill_type", codes::<BillType>()),
        ("pay_fee_config", "payment_cd", codes::<PaymentTiming>()),
        ("pay_fee_config", "deduct_from", codes::<Choice>()),
        ("pay_fee_config", "pay_online", codes::<Choice>()),
        ("pay_fee_config", "scale", codes::<Rounding>()),
        ("pay_fee_config", "decimal_place", codes::<DecimalPlace>()),
        ("pay_fee_config", "state", codes::<ItemState>()),
        ("pay_fee", "payer_obj_type", codes::<PayerObjectType>()),
        ("pay_fee_batch", "state", codes::<BatchState>()),
        ("pay_fee", "fee_flag", codes::<FeeFlag>()),
        ("pay_fee", "state", codes::<FeeState>()),
        ("pay_fee_rule", "payer_obj_type", codes::<PayerObjectType>()),
        ("pay_fee_rule", "state", codes::<FeeState>()),
    ];
    let list = "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c
                JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
                WHERE c.contype = 'c' AND c.conrelid = $1::text::regclass AND a.attname = $2";
    for (table, column, expected) in columns {
        let check: String =
            sqlx::query_scalar(list).bind(table).bind(column).fetch_one(service.pool()).await.expect(column);
        // CHECK ((state = ANY (ARRAY['N'::text, 'NA'::text])))
        let taken: BTreeSet<_> = check.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(taken, expected, "{table}.{column}");
    }
}

#[tokio::test]
async fn a_stored_code_that_the_contract_does_not_have_is_an_error() {
    let service = Service::start().await;
    service.item("物业费").await;
    service
        .execute(
            "DO $$ BEGIN
                 ALTER TABLE pay_fee_config DROP CONSTRAINT pay_fee_config_scale_check;
                 UPDATE pay_fee_config SET scale = '9';
             END $$",
        )
        .await;
    assert_eq!(refusal(service.caller().list(list()).await).0, "INTERNAL");
    assert_eq!(refusal(service.caller().history(history()).await).0, "INTERNAL");
}
