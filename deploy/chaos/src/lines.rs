//! Receivable lines as another system billed them.

use communal_proto::billing::v1::{
    BusCategType, ChargePackType, IndustryType, LadderNumType, LadderType, NetworkType, NormalRetroType,
    PurchaseSaleType, ReceivableLine, TimeFeesType, TimeSharingType, TransVoltageType, YesNo,
};

use crate::stage::{NETWORK, STORE};

/// Lines of so many accounts of a retail company, from a number on. Of three, one is not paid,
/// one is paid in part and one in full.
pub(crate) fn lines_of(company: &str, first: usize, count: usize) -> Vec<ReceivableLine> {
    (first..first + count).map(|number| line(company, number)).collect()
}

/// The book an account is read in: there are twenty.
pub(crate) fn book_of(account: usize) -> String {
    format!("B{:015}", 1 + account / 40 % 20)
}

fn line(company: &str, number: usize) -> ReceivableLine {
    // Another price for each, so that no answer is right by accident.
    let cents = 10_000 + number % 90_000;
    let amount = |cents: usize| format!("{}.{:02}", cents / 100, cents % 100);
    let paid = match number % 3 {
        0 => 0,
        1 => cents / 2,
        _ => cents,
    };
    let when_paid = |text: String| if paid == 0 { String::new() } else { text };
    ReceivableLine {
        node_id: format!("L{:015}", number / 1_000),
        network_company_id: NETWORK.into(),
        network_store_id: "H000000000000009".into(),
        retail_company_id: company.into(),
        retail_store_id: STORE.into(),
        package_id: "P000000000000001".into(),
        book_id: book_of(number),
        utility: NetworkType::Electricity.into(),
        settlement_account_id: format!("A{number:015}"),
        run_kind: NormalRetroType::Normal.into(),
        customer_id: format!("K{number:015}"),
        using_customer_id: format!("K{number:015}"),
        user_account_id: format!("D{number:015}"),
        industry_code: "T0000".into(),
        industry_sector: IndustryType::Tertiary.into(),
        resident: YesNo::Yes.into(),
        supply_kind: PurchaseSaleType::Direct.into(),
        business_kind: BusCategType::New.into(),
        time_of_use: TimeFeesType::One.into(),
        period: TimeSharingType::default().into(),
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Three.into(),
        account_item: "101001".into(),
        category_item: 1,
        start_date: 20_240_101,
        account_month: 202_401,
        settled_month: if paid == cents { 202_402 } else { 0 },
        quantity: amount(cents * 2),
        unit_price: "0.5".into(),
        fee: amount(cents),
        package_kind: ChargePackType::Market.into(),
        voltage: TransVoltageType::Below1kv.into(),
        retail_level: "1".into(),
        charge_off_date: 20_240_205,
        charge_off_id: format!("Q202401{number:09}"),
        penalty_from: 20_240_220,
        paid_total: amount(paid),
        latest_paid: when_paid(amount(paid)),
        latest_paid_date: if paid == 0 { 0 } else { 20_240_210 },
        latest_payment_id: when_paid(format!("W202401{number:09}")),
        ..ReceivableLine::default()
    }
}
