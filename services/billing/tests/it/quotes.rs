//! Quotes over gRPC, from facts that are all in the request: the examples of the domain with the rule behind each line, every
//! fault by its field, refusals, and streams.

use communal_proto::billing::v1::fee_quote::Outcome;
use communal_proto::billing::v1::quoted_line::Rule;
use communal_proto::billing::v1::*;
use futures::{TryStreamExt as _, stream};
use tonic::Status;

use crate::harness::*;

fn price(tier: i32, upper_limit: i64, lower_limit: i64, price: &str) -> QuotedPrice {
    QuotedPrice { tier, upper_limit, lower_limit, price: price.into(), ..QuotedPrice::default() }
}

/// A retail package with a year ladder.
fn ladder(steps: &[i64], prices: &[&str]) -> QuotedPackage {
    let lower = std::iter::once(0).chain(steps.iter().copied());
    let upper = steps.iter().copied().chain(std::iter::once(0));
    let rows = (1..).zip(prices).zip(lower.zip(upper));
    QuotedPackage {
        package_kind: ChargePackType::Market.into(),
        utility: NetworkType::Electricity.into(),
        ladder: LadderType::Year.into(),
        prices: rows.map(|((tier, of_tier), (lower, upper))| price(tier, upper, lower, of_tier)).collect(),
        ..QuotedPackage::default()
    }
}

fn beijing() -> QuotedPackage {
    ladder(&[2880, 4800], &["0.4883", "0.5383", "0.7883"])
}

/// A package with one price.
fn flat(of_unit: &str) -> QuotedPackage {
    QuotedPackage { ladder: LadderType::None.into(), prices: vec![price(0, 0, 0, of_unit)], ..beijing() }
}

fn shanghai() -> QuotedPackage {
    let mut package = QuotedPackage { time_of_use: TimeFeesType::Two.into(), ..ladder(&[], &[]) };
    let tiers = [(1, 3120, 0, "0.617", "0.307"), (2, 4800, 3120, "0.677", "0.337"), (3, 0, 4800, "0.977", "0.487")];
    for (tier, upper, lower, peak, valley) in tiers {
        for (period, of_period) in [(TimeSharingType::Peak, peak), (TimeSharingType::Valley, valley)] {
            package.prices.push(QuotedPrice { period: period.into(), ..price(tier, upper, lower, of_period) });
        }
    }
    package
}

fn counted(register: ReadingsType, quantity: &str) -> QuotedRegister {
    QuotedRegister { register: register.into(), quantity: quantity.into(), ..QuotedRegister::default() }
}

fn used(accumulated: &str, quantity: &str) -> QuotedAccount {
    QuotedAccount {
        account_month: 202_601,
        year_quantity: accumulated.into(),
        month_quantity: "0".into(),
        registers: vec![counted(ReadingsType::Total, quantity)],
        ..QuotedAccount::default()
    }
}

async fn quote(world: &World, package: QuotedPackage, account: QuotedAccount) -> Result<QuotedBill, Status> {
    let request = QuoteFeesRequest { package: Some(package), account: Some(account), stored_account: None };
    let reply = world.quotes(caller(RETAIL)).quote_fees(request).await?;
    Ok(reply.into_inner().bill.unwrap())
}

/// Tier, period, quantity × price = fee.
fn shown(bill: &QuotedBill) -> Vec<String> {
    let line = |line: &QuotedLine| {
        let QuotedLine { tier, quantity, unit_price, fee, .. } = line;
        format!("{tier}/{:?} {quantity} × {unit_price} = {fee}", line.period())
    };
    bill.lines.iter().map(line).collect()
}

fn energy(line: &QuotedLine) -> EnergyRule {
    let Some(Rule::Energy(rule)) = &line.rule else { panic!("{line:?}") };
    rule.clone()
}

#[tokio::test]
async fn a_year_ladder_is_explained_by_its_tiers_and_accumulators() {
    let world = World::start().await;
    let bill = quote(&world, beijing(), used("2800", "300")).await.unwrap();
    let expected = ["1/Whole 80.00 × 0.488300 = 39.06", "2/Whole 220.00 × 0.538300 = 118.43"];
    assert_eq!(shown(&bill), expected);
    assert_eq!((bill.fee_kind(), bill.retail_total.as_str()), (CalcFeeType::Retail, "157.49"));
    assert_eq!((bill.guaranteed_total.as_str(), bill.delivery_total.as_str()), ("0.00", "0.00"));
    assert_eq!((bill.year_quantity.as_str(), bill.month_quantity.as_str()), ("3100.00", "300.00"));
    assert!(bill.no_delivery_price);
    let rule = EnergyRule {
        lower_limit: "2880.00".into(),
        upper_limit: "4800.00".into(),
        accumulated_before: "2880.00".into(),
        accumulated_after: "3100.00".into(),
        share: None,
    };
    assert_eq!(energy(&bill.lines[1]), rule);
    let top = quote(&world, beijing(), used("5000", "1")).await.unwrap();
    assert_eq!(energy(&top.lines[0]).upper_limit, "", "the last tier has no end");
}

#[tokio::test]
async fn time_of_use_under_a_ladder_is_explained_by_its_shares() {
    let world = World::start().await;
    let registers = vec![counted(ReadingsType::Peak, "180"), counted(ReadingsType::Valley, "120")];
    let bill = quote(&world, shanghai(), QuotedAccount { registers, ..used("3000", "0") }).await.unwrap();
    let expected = [
        "1/Peak 72.00 × 0.617000 = 44.42",
        "1/Valley 48.00 × 0.307000 = 14.74",
        "2/Peak 108.00 × 0.677000 = 73.12",
        "2/Valley 72.00 × 0.337000 = 24.26",
    ];
    assert_eq!((shown(&bill), bill.retail_total.as_str()), (expected.map(str::to_owned).to_vec(), "156.54"));
    let share = EnergyShare {
        tier_quantity: "180.00".into(),
        period_quantity: "120.00".into(),
        whole_quantity: "300.00".into(),
    };
    assert_eq!(energy(&bill.lines[3]).share, Some(share));
    assert_eq!((bill.peak_quantity.as_str(), bill.valley_quantity.as_str()), ("180.00", "120.00"));
}

#[tokio::test]
async fn water_for_six_persons_has_higher_limits_and_surcharges() {
    let world = World::start().await;
    let surcharge =
        |surcharge_item, price: &str| QuotedSurcharge { surcharge_item, price: price.into(), start_date: 0 };
    let package = QuotedPackage {
        package_kind: ChargePackType::Guaranteed.into(),
        utility: NetworkType::Water.into(),
        main_category_item: 21,
        surcharges: vec![surcharge(101, "1.57"), surcharge(102, "1.36")],
        ladder_populations: vec![QuotedLadderPopulation {
            population_base: 5,
            population_increment: 1,
            limit_increase: "30".into(),
        }],
        ..ladder(&[180, 260], &["2.07", "4.07", "6.07"])
    };
    let bill = quote(&world, package, QuotedAccount { population: 6, ..used("200", "20") }).await.unwrap();
    let expected = [
        "1/Whole 10.00 × 2.070000 = 20.70",
        "2/Whole 10.00 × 4.070000 = 40.70",
        "1/Whole 20.00 × 1.570000 = 31.40",
        "1/Whole 20.00 × 1.360000 = 27.20",
    ];
    assert_eq!((shown(&bill), bill.guaranteed_total.as_str()), (expected.map(str::to_owned).to_vec(), "120.00"));
    assert_eq!(energy(&bill.lines[0]).upper_limit, "210.00");
    assert_eq!(bill.lines[2].rule, Some(Rule::Surcharge(SurchargeRule {})));
    assert_eq!((bill.lines[2].category_item, bill.lines[2].surcharge_item), (21, 101));
    let numbers: Vec<_> = bill.lines.iter().map(|line| line.line_number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

/// A two-part package by demand, with a row of adjust ratios.
fn two_part() -> QuotedPackage {
    QuotedPackage {
        basic_fee_kind: BasicFeesType::Demand.into(),
        basic_fee: Some(QuotedBasicFee { main_category_item: 2, price: "48".into(), start_date: 20_260_101 }),
        approval: Some(QuotedApproval { over_approval_ratio: "1.05".into(), approval_factor: "2".into() }),
        adjust_ratios: vec![QuotedAdjustRatio {
            power_factor_standard: ForRateValidType::P90.into(),
            power_factor: "0.86".into(),
            adjust_direction: RewardPunishType::Penalty.into(),
            adjust_ratio: "0.02".into(),
            main_category_item: 3,
            start_date: 0,
        }],
        ..flat("0.65")
    }
}

fn demanding() -> QuotedAccount {
    QuotedAccount {
        registers: vec![
            counted(ReadingsType::Total, "120000"),
            counted(ReadingsType::Reactive, "72000"),
            counted(ReadingsType::Demand, "1200"),
        ],
        approved_demand: "1000".into(),
        power_factor_standard: ForRateValidType::P90.into(),
        ..used("0", "0")
    }
}

#[tokio::test]
async fn demand_and_power_factor_are_explained_by_their_figures() {
    let world = World::start().await;
    let bill = quote(&world, two_part(), demanding()).await.unwrap();
    let expected = [
        "1/Whole 120000.00 × 0.650000 = 78000.00",
        "1/Whole 1350.00 × 48.000000 = 64800.00",
        "1/Whole 0.00 × 0.020000 = 2856.00",
    ];
    assert_eq!(shown(&bill), expected);
    let demand = DemandRule {
        demand: "1200.00".into(),
        approved_demand: "1000.00".into(),
        over_approval_ratio: "1.0500".into(),
        approval_factor: "2.0000".into(),
        whole_month: "1350.00".into(),
        month: Some(PartMonth { supplied_days: 31, month_days: 31, part_month_rule: 0 }),
    };
    assert_eq!(bill.lines[1].rule, Some(Rule::ByDemand(demand)));
    assert_eq!((bill.lines[1].category_item, bill.lines[1].start_date), (2, 20_260_101));
    let power_factor = PowerFactorRule {
        power_factor_standard: ForRateValidType::P90.into(),
        active_energy: "120000.00".into(),
        reactive_energy: "72000.00".into(),
        power_factor: "0.8600".into(),
        row_power_factor: "0.8600".into(),
        base: "142800.00".into(),
    };
    assert_eq!(bill.lines[2].rule, Some(Rule::ByPowerFactor(power_factor)));
    assert_eq!((bill.demand.as_str(), bill.power_factor.as_str()), ("1200.00", "0.8600"));
}

#[tokio::test]
async fn readings_are_quoted_like_quantities() {
    let world = World::start().await;
    let read = QuotedRegister {
        register: ReadingsType::Total.into(),
        last_reading: "99980".into(),
        reading: "25".into(),
        turn: TurnUpsideType::Rollover.into(),
        digits: 5,
        multiplier: "20".into(),
        old_quantity: "100".into(),
        ..QuotedRegister::default()
    };
    let bill = quote(&world, flat("0.5"), QuotedAccount { registers: vec![read], ..used("0", "0") }).await.unwrap();
    assert_eq!(shown(&bill), ["1/Whole 1000.00 × 0.500000 = 500.00"]);
    assert_eq!(energy(&bill.lines[0]), EnergyRule::default(), "without a ladder there is no tier to explain");
}

#[tokio::test]
async fn every_other_line_has_its_rule() {
    let world = World::start().await;
    let heat = QuotedPackage {
        utility: NetworkType::Heat.into(),
        heat_basis: HeatChargeType::AreaAndHeat.into(),
        basic_fee_kind: BasicFeesType::Capacity.into(),
        basic_fee: Some(QuotedBasicFee { price: "32".into(), ..QuotedBasicFee::default() }),
        vacancy_ratio: "0.6".into(),
        delivery: Some(QuotedDelivery { prices: vec![price(0, 0, 0, "0.01")], ..QuotedDelivery::default() }),
        prices: vec![
            QuotedPrice { heat_basis: HeatChargeType::Area.into(), ..price(0, 0, 0, "12") },
            QuotedPrice { heat_basis: HeatChargeType::Heat.into(), ..price(0, 0, 0, "0.16") },
        ],
        ..flat("1")
    };
    let account = QuotedAccount {
        capacity: "1250".into(),
        part_month_rule: ChargeRuleType::ByDays.into(),
        supplied_from: 20_260_122,
        area: "90".into(),
        stopped_or_vacant: YesNo::Yes.into(),
        stopped_from: 20_260_201,
        fixed_fee: "3".into(),
        apportioned_fee: "10".into(),
        division_ratio: "0.5".into(),
        ..used("0", "5000")
    };
    let bill = quote(&world, heat, account).await.unwrap();
    let expected = [
        "1/Whole 5000.00 × 0.160000 = 800.00",
        "1/Whole 403.23 × 32.000000 = 12903.36",
        "1/Whole 54.00 × 12.000000 = 648.00",
        "1/Whole 0.00 × 0.000000 = 8.00",
        "1/Whole 5000.00 × 0.010000 = 50.00",
    ];
    assert_eq!((shown(&bill), bill.delivery_total.as_str()), (expected.map(str::to_owned).to_vec(), "50.00"));
    let month = PartMonth { supplied_days: 10, month_days: 31, part_month_rule: ChargeRuleType::ByDays.into() };
    let rules: Vec<_> = bill.lines.iter().filter_map(|line| line.rule.clone()).collect();
    let area = AreaRule { area: "90.00".into(), area_factor: "1.0000".into(), vacancy_ratio: "0.6000".into() };
    let fixed = FixedFeeRule { fixed_fee: "3.00".into(), apportioned_part: "5.00".into(), divided_fee: "0.00".into() };
    assert_eq!(
        rules[1..4],
        [
            Rule::ByCapacity(CapacityRule { capacity: "1250.00".into(), month: Some(month) }),
            Rule::ByArea(area),
            Rule::FixedFees(fixed),
        ]
    );
    assert_eq!(bill.lines[4].fee_kind(), CalcFeeType::Delivery);

    let property = QuotedPackage {
        utility: NetworkType::Property.into(),
        property_basis: GarbChargeType::Population.into(),
        population: 3,
        ..flat("2.00")
    };
    let nobody = QuotedAccount { metered: YesNo::No.into(), registers: Vec::new(), ..used("0", "0") };
    let bill = quote(&world, property, nobody.clone()).await.unwrap();
    assert_eq!(bill.lines[0].rule, Some(Rule::ByPopulation(PopulationRule { population: 3 })));
    let bill = quote(&world, flat("1"), nobody).await.unwrap();
    assert_eq!(bill.lines[0].rule, Some(Rule::EmptyBill(EmptyBillRule {})));
    let retro = QuotedAccount {
        run_kind: NormalRetroType::Retro.into(),
        registers: Vec::new(),
        fixed_fee: "-12.5".into(),
        ..used("0", "0")
    };
    let bill = quote(&world, flat("1"), retro).await.unwrap();
    assert_eq!(
        (bill.lines[0].rule.clone(), bill.retail_total.as_str()),
        (Some(Rule::RetroFee(RetroFeeRule {})), "-12.50")
    );
}

#[tokio::test]
async fn what_is_missing_refuses_the_account_by_name() {
    let world = World::start().await;
    let with = |change: fn(&mut QuotedPackage)| {
        let mut package = two_part();
        change(&mut package);
        package
    };
    let of = |change: fn(&mut QuotedAccount)| {
        let mut account = demanding();
        change(&mut account);
        account
    };
    let short = ladder(&[2880], &["0.4883", "0.5383"]);
    let missing_tier = QuotedPackage { prices: short.prices[..1].to_vec(), ..short.clone() };
    let seasonal = QuotedPackage {
        seasonal: YesNo::Yes.into(),
        prices: vec![QuotedPrice { season: AbundanceType::Flat.into(), ..price(0, 0, 0, "1") }],
        ..flat("1")
    };
    let withered = QuotedAccount { season: AbundanceType::Withered.into(), ..used("0", "1") };
    let cases = [
        (missing_tier, used("0", "1"), "NOT_PRICED", "缺少平季二阶的阶梯限值"),
        (seasonal.clone(), withered, "NOT_PRICED", "缺少枯季、不分段时段、一阶的价格"),
        (seasonal.clone(), used("0", "1"), "BILLING_FACTS_UNFIT", "未给出丰枯类型"),
        (with(|p| p.basic_fee = None), demanding(), "NOT_PRICED", "缺少基本费（需量计费）的价格"),
        (with(|p| p.approval = None), demanding(), "NOT_PRICED", "缺少核定需量的比例"),
        (with(|p| p.adjust_ratios.clear()), demanding(), "NOT_PRICED", "缺少力率标准0.90、力率0.86的力调比例"),
        (two_part(), of(|a| a.supplied_from = 20_260_122), "NOT_PRICED", "缺少不足整月的计费规则"),
        (two_part(), of(|a| drop(a.registers.pop())), "REGISTER_NOT_READ", "缺少需量示数"),
        (two_part(), of(|a| drop(a.registers.remove(1))), "REGISTER_NOT_READ", "缺少无功示数"),
        (shanghai(), used("0", "1"), "REGISTER_NOT_READ", "缺少峰示数"),
    ];
    for (package, account, expected, text) in cases {
        let status = quote(&world, package, account).await.unwrap_err();
        assert_eq!(words(&status), text);
        assert!(status.message().contains(" gives no bill: "), "{}", status.message());
        assert_eq!(reason::<()>(Err(status)), expected, "{text}");
    }
    // In English as well: which price, which register.
    let unpriced = quote(&world, seasonal, QuotedAccount { season: AbundanceType::Withered.into(), ..used("0", "1") });
    let english = "NOT_PRICED: package gives no bill: there is no price for season Withered, period Whole, tier First";
    assert_eq!(unpriced.await.unwrap_err().message(), english);
    let unread = quote(&world, two_part(), of(|a| drop(a.registers.pop()))).await.unwrap_err();
    assert_eq!(unread.message(), "REGISTER_NOT_READ: account.registers gives no bill: register Demand has no reading");
}

#[tokio::test]
async fn faults_are_named_by_their_fields() {
    let world = World::start().await;
    let of_package = |change: fn(&mut QuotedPackage)| {
        let mut package = shanghai();
        change(&mut package);
        let registers = vec![counted(ReadingsType::Peak, "1"), counted(ReadingsType::Valley, "1")];
        (package, QuotedAccount { registers, ..used("0", "0") })
    };
    let of_account = |change: fn(&mut QuotedAccount)| {
        let mut account = demanding();
        change(&mut account);
        (two_part(), account)
    };
    let of_register = |change: fn(&mut QuotedRegister)| {
        let mut register = QuotedRegister {
            register: ReadingsType::Total.into(),
            last_reading: "100".into(),
            reading: "150".into(),
            digits: 3,
            ..QuotedRegister::default()
        };
        change(&mut register);
        (flat("1"), QuotedAccount { registers: vec![register], ..used("0", "0") })
    };
    let retro: fn(&mut QuotedAccount) = |a| a.run_kind = NormalRetroType::Retro.into();
    let cases = [
        (of_package(|p| p.package_kind = 0), "package.package_kind"),
        (of_package(|p| p.prices.clear()), "package.prices"),
        (of_package(|p| p.prices[0].price.clear()), "package.prices[0].price"),
        (of_package(|p| p.prices[0].price = "-1".into()), "package.prices[0].price"),
        (of_package(|p| p.prices[1].period = 1), "package.prices[1].period"),
        (of_package(|p| p.prices[1].period = 2), "package.prices[1]"),
        (of_package(|p| p.prices[1].tier = 9), "package.prices[1].tier"),
        (of_package(|p| p.prices[1].tier = 0), "package.prices[1].tier"),
        (of_package(|p| p.prices[1].season = 3), "package.prices[1].season"),
        (of_package(|p| p.prices[1].heat_basis = 2), "package.prices[1].heat_basis"),
        (of_package(|p| p.prices[1].upper_limit = 3000), "package.prices[1].upper_limit"),
        (of_package(|p| p.heat_basis = 4), "package.heat_basis"),
        (of_package(|p| p.vacancy_ratio = "1.1".into()), "package.vacancy_ratio"),
        (of_account(|a| a.account_month = 0), "account.account_month"),
        (of_account(|a| a.account_month = 202_613), "account.account_month"),
        (of_account(|a| a.year_quantity = "1.001".into()), "account.year_quantity"),
        (of_account(|a| a.registers[0].register = 0), "account.registers[0].register"),
        (of_account(|a| a.registers[2].added_quantity = "1".into()), "account.registers[2].register"),
        (of_account(|a| a.registers[1].register = 1), "account.registers[1]"),
        (of_account(|a| a.registers[1].quantity.clear()), "account.registers[1].reading"),
        (of_account(|a| a.registers[1].digits = 5), "account.registers[1].quantity"),
        (
            of_account(|a| {
                a.stopped_from = 20_260_110;
                a.resupplied_from = 20_260_109;
            }),
            "account.resupplied_from",
        ),
        (
            of_account(|a| {
                a.supplied_from = 20_260_110;
                a.supplied_until = 20_260_109;
            }),
            "account.supplied_until",
        ),
        (of_register(|r| r.reading = "99".into()), "account.registers[0].turn"),
        (of_register(|r| r.reading = "1000".into()), "account.registers[0].reading"),
        (of_register(|r| r.turn = TurnUpsideType::Backwards.into()), "account.registers[0].turn"),
        (
            of_register(|r| {
                r.turn = TurnUpsideType::Rollover.into();
                r.digits = 0;
            }),
            "account.registers[0].digits",
        ),
        (of_register(|r| r.multiplier = "0".into()), "account.registers[0].multiplier"),
    ];
    for ((package, account), field) in cases {
        let status = quote(&world, package, account).await.unwrap_err();
        // An unknown code has two faults: it is unknown, and a code is needed.
        let mut named = fields(&status);
        named.dedup();
        assert_eq!(named, [field]);
    }
    let (package, mut account) = of_account(retro);
    account.registers[0] =
        QuotedRegister { quantity: String::new(), reading: "5".into(), ..account.registers[0].clone() };
    let status = quote(&world, package, account).await.unwrap_err();
    let places = ["[0].reading", "[1].register", "[2].register"];
    assert_eq!(fields(&status), places.map(|place| format!("account.registers{place}")));
    let empty = QuoteFeesRequest::default();
    let status = world.quotes(caller(RETAIL)).quote_fees(empty).await.unwrap_err();
    assert_eq!(fields(&status), ["package", "account"]);
}

#[tokio::test]
async fn tiers_that_do_not_touch_are_named() {
    let world = World::start().await;
    let with = |change: fn(&mut [QuotedPrice])| {
        let mut package = beijing();
        change(&mut package.prices);
        package
    };
    let cases = [
        (with(|p| p[0].lower_limit = 1), "package.prices[0].lower_limit"),
        (with(|p| p[1].lower_limit = 2900), "package.prices[1].lower_limit"),
        (with(|p| p[1].upper_limit = 100), "package.prices[1].upper_limit"),
        (with(|p| p[1].upper_limit = 0), "package.prices[2].upper_limit"),
        (with(|p| p.swap(0, 1)), ""),
        (
            with(|p| {
                p.swap(0, 1);
                p[1].upper_limit = 2879;
            }),
            "package.prices[1].upper_limit",
        ),
    ];
    for (package, field) in cases {
        let outcome = quote(&world, package, used("0", "1")).await;
        match outcome {
            Ok(_) => assert_eq!(field, "", "rows stand in any order"),
            Err(status) => assert!(fields(&status).contains(&field.to_owned()), "{field}: {:?}", fields(&status)),
        }
    }
}

async fn streamed(
    world: &World,
    requests: Vec<StreamFeeQuotesRequest>,
) -> Result<Vec<StreamFeeQuotesResponse>, Status> {
    let mut client = world.quotes(caller(RETAIL));
    client.stream_fee_quotes(stream::iter(requests)).await?.into_inner().try_collect().await
}

fn offered(id: &str, package: QuotedPackage) -> StreamFeeQuotesRequest {
    StreamFeeQuotesRequest { package: Some(QuotedPackage { package_id: id.into(), ..package }), account: None }
}

fn asked(account: QuotedAccount) -> StreamFeeQuotesRequest {
    StreamFeeQuotesRequest { package: None, account: Some(account) }
}

#[tokio::test]
async fn a_thousand_customers_are_compared_under_two_packages() {
    let world = World::start().await;
    let mut requests = vec![offered("P1", beijing()), offered("P2", flat("0.55"))];
    requests.extend((0..1_000).map(|number| asked(used("2800", &number.to_string()))));
    let answers = streamed(&world, requests).await.unwrap();
    assert!(answers.iter().map(|answer| answer.row).eq(0..1_002));
    assert!(answers[..2].iter().all(|answer| answer.quotes.is_empty() && answer.refusal.is_none()));
    let unary = [quote(&world, beijing(), used("2800", "300")), quote(&world, flat("0.55"), used("2800", "300"))];
    let [first, second] = futures::future::join_all(unary).await.try_into().unwrap();
    let expected = [("P1", first), ("P2", second)]
        .map(|(id, bill)| FeeQuote { package_id: id.into(), outcome: Some(Outcome::Bill(bill.unwrap())) });
    assert_eq!(answers[302].quotes, expected, "a quote of the stream is that of the single call");
    assert!(answers[2..].iter().all(|answer| answer.quotes.len() == 2));
}

#[tokio::test]
async fn a_refusal_does_not_end_a_stream() {
    let world = World::start().await;
    let mut broken = used("0", "1");
    broken.year_quantity = "x".into();
    let requests = vec![
        asked(used("0", "1")),
        offered("P1", beijing()),
        asked(broken),
        offered("P2", shanghai()),
        asked(used("0", "1")),
        StreamFeeQuotesRequest::default(),
        offered("P2", flat("2")),
        asked(used("0", "1")),
    ];
    let answers = streamed(&world, requests).await.unwrap();
    let refused = |row: usize| answers[row].refusal.clone().map(|refusal| (refusal.reason, refusal.fields.join(" ")));
    assert_eq!(refused(0), Some(("QUOTED_PACKAGES".into(), String::new())));
    assert_eq!(refused(2), Some(("FIELD_MALFORMED".into(), "account.year_quantity".into())));
    assert_eq!(refused(5), Some(("FIELD_MISSING".into(), "package".into())));
    assert_eq!([1, 3, 4, 6, 7].map(refused), [const { None }; 5]);
    let total = |quote: &FeeQuote| match quote.outcome.clone().unwrap() {
        Outcome::Bill(bill) => bill.retail_total,
        Outcome::Refusal(refusal) => refusal.reason,
    };
    let totals = |row: usize| answers[row].quotes.iter().map(total).collect::<Vec<_>>();
    assert_eq!(totals(4), ["0.49", "REGISTER_NOT_READ"], "of one package and not of the other");
    assert_eq!(totals(7), ["0.49", "2.00"], "a package under the same identifier takes its place");
}

#[tokio::test]
async fn a_stream_has_at_most_ten_packages() {
    let world = World::start().await;
    let mut requests: Vec<_> = (0..11).map(|number| offered(&format!("P{number}"), flat("1"))).collect();
    requests.push(asked(used("0", "1")));
    let answers = streamed(&world, requests).await.unwrap();
    assert_eq!(answers[10].refusal.as_ref().unwrap().reason, "QUOTED_PACKAGES");
    assert_eq!(answers[11].quotes.len(), 10);
}

#[tokio::test]
async fn credentials_are_checked_and_nothing_is_written() {
    let world = World::start().await;
    let request = QuoteFeesRequest { package: Some(flat("1")), account: Some(used("0", "1")), stored_account: None };
    let foreign = world.quotes(caller("S999999999999999")).quote_fees(request.clone()).await;
    assert_eq!(reason(foreign), "TENANT_REFUSED");
    let changes = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM platform.change").fetch_one(world.pool()).await.unwrap()
    };
    let before = changes().await;
    for tenant in [RETAIL, NETWORK] {
        let mut quotes = world.quotes(with_request_id(tenant, "a request id"));
        quotes.quote_fees(request.clone()).await.unwrap();
    }
    assert_eq!(changes().await, before);
}

/// The quote of a stored account.
async fn quote_stored(
    world: &World,
    tenant: &'static str,
    account: &str,
    readings: Vec<StoredAccountReading>,
) -> Result<QuotedBill, Status> {
    let stored_account = Some(StoredAccount { settlement_account_id: account.into(), readings });
    let request = QuoteFeesRequest { stored_account, ..QuoteFeesRequest::default() };
    Ok(world.quotes(caller(tenant)).quote_fees(request).await?.into_inner().bill.unwrap())
}

#[tokio::test]
async fn a_stored_account_is_quoted_as_it_would_be_calculated_and_nothing_is_written() {
    let world = World::start_archive().await;
    world.register_items(NETWORK).await;
    let network = world.network().await;
    world.open_spring(RETAIL).await;
    let supply =
        Supply { year_quantity: "2800", ..Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id) };
    let (account, meter) = world.bring_account(1, &supply).await;
    let given = |reading: &str| {
        let register = ReadingsType::Total.into();
        vec![StoredAccountReading { register, reading: reading.into(), ..StoredAccountReading::default() }]
    };
    // Without a billing point yet.
    assert_eq!(reason(quote_stored(&world, RETAIL, &account, vec![]).await), "REGISTER_NOT_READ");
    let bill = quote_stored(&world, RETAIL, &account, given("400")).await.unwrap();
    assert_eq!((bill.retail_total.as_str(), bill.year_quantity.as_str()), ("157.49", "3100.00"));
    assert_eq!(energy(&bill.lines[1]).accumulated_after, "3100.00");
    for table in ["billing_point", "point_open", "point_reading", "point_calculation", "calculated_points"] {
        assert_eq!(world.rows(table).await, Vec::<String>::new(), "{table}");
    }
    // By the reading that is entered, and by another one; the calculation says the same.
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "150")]).await.unwrap();
    let entered = quote_stored(&world, RETAIL, &account, vec![]).await.unwrap();
    assert_eq!(quote_stored(&world, RETAIL, &account, given("400")).await.unwrap().retail_total, "157.49");
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(world.uncharged(RETAIL, "", "", (1, 1)).await.0[0].retail_total, entered.retail_total);

    let falls = quote_stored(&world, RETAIL, &account, given("50")).await.unwrap_err();
    assert_eq!(fields(&falls), ["stored_account.readings[0].turn"]);
    for (tenant, asked) in [(RETAIL, "A1"), (OTHER_RETAIL, account.as_str())] {
        assert_eq!(reason(quote_stored(&world, tenant, asked, vec![]).await), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    }
    let stored_account = Some(StoredAccount { settlement_account_id: account.clone(), readings: vec![] });
    let both = QuoteFeesRequest { package: Some(beijing()), account: None, stored_account };
    assert_eq!(reason(world.quotes(caller(RETAIL)).quote_fees(both).await), "FIELD_MALFORMED");
}
