//! The worked examples of the domain, and the rules beside them.

use communal_billing::rating::bill::{LineRule, Share, TierPart};
use communal_billing::rating::error::NeededFact;
use communal_billing::rating::rates::{SpaceBasis, SpacePrices, SurchargePrice};
use communal_billing::rating::temporary::{PackageInForce, package_in_force};
use communal_billing::rating::{Parameters, PriceMatrix, Rates, RatingError, Supply};
use communal_billing::vocabulary::tariff::{Ladder, Period, Season, TimeOfUse};
use communal_proto::billing::v1::{CalcFeeType, ChargePackType};
use rust_decimal::Decimal;

use super::given::*;

const ELECTRICITY: [&str; 3] = ["0.4883", "0.5383", "0.7883"];

fn guaranteed(rates: Rates) -> Rates {
    Rates { kind: ChargePackType::Guaranteed, ..rates }
}

/// Name, rates, used before, used now, the lines, their total.
type Case<'a> = (&'a str, &'a Rates, &'a str, &'a str, &'a [&'a str], &'a str);

#[test]
fn a_ladder_is_walked_up_and_down() {
    let year = tiered(Ladder::Year, &[2880, 4800], &ELECTRICITY);
    let month = tiered(Ladder::Month, &[240, 400], &ELECTRICITY);
    let gas = tiered(Ladder::Year, &[350, 500], &["2.61", "2.83", "4.23"]);
    let cases: &[Case<'_>] = &[
        (
            "a year ladder across a step",
            &year,
            "2800",
            "300",
            &["1/Whole 80 × 0.4883 = 39.06", "2/Whole 220 × 0.5383 = 118.43"],
            "157.49",
        ),
        (
            "the same as a month ladder",
            &month,
            "0",
            "300",
            &["1/Whole 240 × 0.4883 = 117.19", "2/Whole 60 × 0.5383 = 32.30"],
            "149.49",
        ),
        ("gas", &gas, "340", "30", &["1/Whole 10 × 2.61 = 26.10", "2/Whole 20 × 2.83 = 56.60"], "82.70"),
        ("a tier includes its upper limit", &year, "2879", "1", &["1/Whole 1 × 0.4883 = 0.49"], "0.49"),
        ("and no more", &year, "2880", "1", &["2/Whole 1 × 0.5383 = 0.54"], "0.54"),
        (
            "across all tiers",
            &year,
            "0",
            "5000",
            &["1/Whole 2880 × 0.4883 = 1406.30", "2/Whole 1920 × 0.5383 = 1033.54", "3/Whole 200 × 0.7883 = 157.66"],
            "2597.50",
        ),
        (
            "a refund walks down",
            &year,
            "3000",
            "-150",
            &["2/Whole -120 × 0.5383 = -64.60", "1/Whole -30 × 0.4883 = -14.65"],
            "-79.25",
        ),
        (
            "a refund beyond zero has the price of tier 1",
            &year,
            "50",
            "-150",
            &["1/Whole -150 × 0.4883 = -73.25"],
            "-73.25",
        ),
        ("and what follows is of tier 1 again", &year, "-100", "100", &["1/Whole 100 × 0.4883 = 48.83"], "48.83"),
        (
            "a line of 0.00 is written if it has a quantity",
            &tiered(Ladder::None, &[], &["0.3"]),
            "0",
            "0.01",
            &["1/Whole 0.01 × 0.3 = 0.00"],
            "0.00",
        ),
        ("a bill without a line has one of nothing", &year, "3000", "0", &["1/Whole 0 × 0.4883 = 0.00"], "0.00"),
    ];
    for (name, rates, accumulated, quantity, expected, total) in cases {
        let (found, sum) = lines(&Given::total(accumulated, quantity).rate(rates).unwrap());
        assert_eq!((found, sum.as_str()), (expected.iter().map(|l| (*l).to_owned()).collect(), *total), "{name}");
    }
}

#[test]
fn a_line_of_energy_keeps_its_tier_and_accumulators() {
    let year = tiered(Ladder::Year, &[2880, 4800], &ELECTRICITY);
    let bill = Given::total("2800", "300").rate(&year).unwrap();
    let step = |lower: &str, upper: &str, from: &str, to: &str| LineRule::Energy {
        part: Some(TierPart {
            lower: decimal(lower),
            upper: Some(decimal(upper)),
            from: decimal(from),
            to: decimal(to),
        }),
        share: None,
    };
    let rules: Vec<_> = bill.lines.iter().map(|line| line.rule).collect();
    assert_eq!(rules, [step("0", "2880", "2800", "2880"), step("2880", "4800", "2880", "3100")]);
    assert_eq!((bill.before.year, bill.after.year), (decimal("2800"), decimal("3100")));
    assert_eq!(bill.kind, CalcFeeType::Retail);
}

#[test]
fn persons_raise_the_limits_of_beijing_water() {
    let rates = Rates {
        population_rows: vec![population(5, 1, "30")],
        population: 6,
        surcharges: ["1.57", "1.36"]
            .iter()
            .zip(101..)
            .map(|(price, surcharge_item)| SurchargePrice { category_item: ENERGY, surcharge_item, price: unit(price) })
            .collect(),
        ..guaranteed(tiered(Ladder::Year, &[180, 260], &["2.07", "4.07", "6.07"]))
    };
    let bill = Given::total("200", "20").rate(&rates).unwrap();
    let expected = [
        "1/Whole 10 × 2.07 = 20.70",
        "2/Whole 10 × 4.07 = 40.70",
        "1/Whole 20 × 1.57 = 31.40",
        "1/Whole 20 × 1.36 = 27.20",
    ];
    assert_eq!(lines(&bill), (expected.map(str::to_owned).to_vec(), "120.00".to_owned()));
    let items: Vec<_> = bill.lines.iter().map(|line| line.surcharge_item).collect();
    assert_eq!(items, [0, 0, 101, 102]);
    assert_eq!(bill.total_of(CalcFeeType::Guaranteed), decimal("120.00"));
    assert_eq!(bill.total_of(CalcFeeType::Retail), Decimal::ZERO);

    let all_in = Rates { kind: ChargePackType::Market, ..rates.clone() };
    assert_eq!(Given::total("200", "20").rate(&all_in).unwrap().lines.len(), 2, "retail prices include surcharges");
    let low_income = Rates { kind: ChargePackType::LowIncome, ..rates };
    assert_eq!(Given::total("200", "20").rate(&low_income).unwrap().total, decimal("120.00"));
}

#[test]
fn a_negative_quantity_bears_its_surcharges() {
    let surcharge = SurchargePrice { category_item: ENERGY, surcharge_item: 9, price: unit("1.57") };
    let rates = Rates { surcharges: vec![surcharge], ..guaranteed(flat("2.07")) };
    let bill = Given::total("100", "-10").retro().rate(&rates).unwrap();
    assert_eq!(lines(&bill).0, ["1/Whole -10 × 2.07 = -20.70", "1/Whole -10 × 1.57 = -15.70"]);
}

#[test]
fn time_of_use_under_a_ladder_is_split_over_tiers_and_periods() {
    let shanghai = retail(
        TimeOfUse::Two,
        Ladder::Year,
        &[3120, 4800],
        &[&["0.617", "0.307"], &["0.677", "0.337"], &["0.977", "0.487"]],
    );
    let bill = Given::used(TimeOfUse::Two, "3000", &["180", "120"]).rate(&shanghai).unwrap();
    let expected = [
        "1/Peak 72 × 0.617 = 44.42",
        "1/Valley 48 × 0.307 = 14.74",
        "2/Peak 108 × 0.677 = 73.12",
        "2/Valley 72 × 0.337 = 24.26",
    ];
    assert_eq!(lines(&bill), (expected.map(str::to_owned).to_vec(), "156.54".to_owned()));
    let LineRule::Energy { share: Some(share), .. } = bill.lines[0].rule else { panic!("{:?}", bill.lines[0]) };
    assert_eq!(share, Share { of_tier: decimal("120"), of_period: decimal("180"), whole: decimal("300") });
}

#[test]
fn periods_of_either_sign_walk_down_first_and_then_up() {
    let prices: &[&[&str]] = &[&["0.617", "0.307"], &["0.677", "0.337"], &["0.977", "0.487"]];
    let ladder = retail(TimeOfUse::Two, Ladder::Year, &[3120, 4800], prices);
    // 100 moves from peak to valley: down from 3150 to 3050, then up again.
    let bill = Given::used(TimeOfUse::Two, "3150", &["-100", "100"]).retro().rate(&ladder).unwrap();
    let expected = [
        "2/Peak -30 × 0.677 = -20.31",
        "1/Peak -70 × 0.617 = -43.19",
        "1/Valley 70 × 0.307 = 21.49",
        "2/Valley 30 × 0.337 = 10.11",
    ];
    assert_eq!(lines(&bill), (expected.map(str::to_owned).to_vec(), "-31.90".to_owned()));
    assert_eq!(bill.after.year, decimal("3150"));
    // Without a ladder each period is its own line.
    let plain = retail(TimeOfUse::Two, Ladder::None, &[], &[&["0.617", "0.307"]]);
    let bill = Given::used(TimeOfUse::Two, "0", &["-100", "100"]).retro().rate(&plain).unwrap();
    assert_eq!(lines(&bill).0, ["1/Peak -100 × 0.617 = -61.70", "1/Valley 100 × 0.307 = 30.70"]);
}

#[test]
fn a_season_has_prices_and_limits_of_its_own() {
    let mut energy = PriceMatrix::new(TimeOfUse::One, Ladder::Month);
    add_season(&mut energy, Season::Abundant, &[260], &[&["0.54"], &["0.60"]]);
    add_season(&mut energy, Season::Withered, &[200], &[&["0.72"], &["0.80"]]);
    let rates = Rates { seasonal: true, energy: Some(energy), ..flat("1") };
    let bill = |season| Given { season, ..Given::total("0", "300") }.rate(&rates);
    assert_eq!(lines(&bill(Season::Abundant).unwrap()).0, ["1/Whole 260 × 0.54 = 140.40", "2/Whole 40 × 0.6 = 24.00"]);
    assert_eq!(lines(&bill(Season::Withered).unwrap()).0, ["1/Whole 200 × 0.72 = 144.00", "2/Whole 100 × 0.8 = 80.00"]);
    let missing = RatingError::NoLimits { season: Season::Flat, tier: tier(1) };
    assert_eq!(bill(Season::Flat).unwrap_err(), missing, "no other season takes its place");
    assert_eq!(bill(Season::Unspecified).unwrap_err(), RatingError::NotGiven(NeededFact::Season));

    for (season, price, total) in [
        (Season::Flat, "0.60", "6000.00"),
        (Season::Abundant, "0.54", "5400.00"),
        (Season::Withered, "0.72", "7200.00"),
    ] {
        let mut energy = PriceMatrix::new(TimeOfUse::One, Ladder::None);
        add_season(&mut energy, season, &[], &[&[price]]);
        let rates = Rates { seasonal: true, energy: Some(energy), ..flat("1") };
        let bill = Given { season, ..Given::total("0", "10000") }.rate(&rates).unwrap();
        assert_eq!((bill.lines[0].season, bill.total), (season, decimal(total)));
    }
}

#[test]
fn without_seasons_everything_is_of_the_flat_one() {
    let bill = Given { season: Season::Withered, ..Given::total("0", "10") }.rate(&flat("1")).unwrap();
    assert_eq!(bill.lines[0].season, Season::Flat);
}

#[test]
fn heat_is_billed_by_area_by_meter_and_by_both() {
    let mut by_area = SpacePrices::new(SpaceBasis::Area);
    by_area.set(Season::Flat, unit("24")).unwrap();
    let area_only = Rates { energy: None, space: Some(by_area), vacancy_ratio: decimal("0.6"), ..flat("1") };
    let of_area = |area: &str| Parameters { area: decimal(area), ..Parameters::default() };
    let bill = Given::unmetered(of_area("90")).rate(&area_only).unwrap();
    assert_eq!(lines(&bill), (vec!["1/Whole 90 × 24 = 2160.00".to_owned()], "2160.00".to_owned()));

    let vacant = Parameters { supply: Supply { stopped: true, ..Supply::default() }, ..of_area("90") };
    let bill = Given::unmetered(vacant).rate(&area_only).unwrap();
    let rule = LineRule::Area { area: decimal("90"), factor: Decimal::ONE, vacancy_ratio: decimal("0.6") };
    assert_eq!((bill.total, bill.lines[0].rule), (decimal("1296.00"), rule));

    let factor = Parameters { area_factor: decimal("1.05"), ..of_area("33.33") };
    let bill = Given::unmetered(factor).rate(&area_only).unwrap();
    assert_eq!(lines(&bill).0, ["1/Whole 35 × 24 = 840.00"], "34.9965 is rounded once");

    let mut by_area = SpacePrices::new(SpaceBasis::Area);
    by_area.set(Season::Flat, unit("12")).unwrap();
    let both = Rates { space: Some(by_area), ..flat("0.16") };
    let bill = Given { parameters: of_area("90"), ..Given::total("0", "5000") }.rate(&both).unwrap();
    assert_eq!(lines(&bill).0, ["1/Whole 5000 × 0.16 = 800.00", "1/Whole 90 × 12 = 1080.00"]);
    assert_eq!(bill.total, decimal("1880.00"));
    assert_eq!(bill.after.year, decimal("5000"), "an area is no quantity of the ladder");
}

#[test]
fn a_meter_that_no_price_bills_is_read_and_not_billed_but_a_fixed_quantity_needs_a_price() {
    let mut by_area = SpacePrices::new(SpaceBasis::Area);
    by_area.set(Season::Flat, unit("24")).unwrap();
    let area_only = Rates { energy: None, space: Some(by_area), ..flat("1") };
    let given =
        Given { parameters: Parameters { area: decimal("90"), ..Parameters::default() }, ..Given::total("0", "700") };
    let bill = given.rate(&area_only).unwrap();
    assert_eq!((bill.total, bill.after.year), (decimal("2160.00"), Decimal::ZERO));
    let fixed = Parameters { fixed_quantity: decimal("1"), ..given.parameters.clone() };
    assert_eq!(Given { parameters: fixed, ..given }.rate(&area_only).unwrap_err(), RatingError::NoMeteredPrice);
}

#[test]
fn property_service_is_billed_by_persons_or_by_area() {
    let charge = |basis| {
        let mut prices = SpacePrices::new(basis);
        prices.set(Season::Flat, unit("2.00")).unwrap();
        Rates { energy: None, space: Some(prices), population: 3, ..flat("1") }
    };
    let parameters = Parameters { area: decimal("88.5"), ..Parameters::default() };
    let bill = Given::unmetered(parameters.clone()).rate(&charge(SpaceBasis::Population)).unwrap();
    assert_eq!((bill.total, bill.lines[0].rule), (decimal("6.00"), LineRule::Population { persons: 3 }));
    let bill = Given::unmetered(parameters.clone()).rate(&charge(SpaceBasis::Area)).unwrap();
    assert_eq!(bill.total, decimal("177.00"));
    let nobody = Rates { population: 0, ..charge(SpaceBasis::Population) };
    let bill = Given::unmetered(parameters).rate(&nobody).unwrap();
    assert_eq!(bill.lines.iter().map(|line| line.rule).collect::<Vec<_>>(), [LineRule::Empty]);
}

#[test]
fn delivery_stands_beside_the_bill_and_is_no_debt() {
    let delivery = Some(matrix(TimeOfUse::One, Ladder::None, &[], &[&["0.1956"]]));
    let rates = Rates { delivery, ..flat("0.65") };
    let bill = Given::total("0", "10000").rate(&rates).unwrap();
    assert_eq!((bill.total, bill.delivery_total), (decimal("6500.00"), decimal("1956.00")));
    assert_eq!(bill.total_of(CalcFeeType::Delivery), decimal("1956.00"));
    let kinds: Vec<_> = bill.lines.iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [CalcFeeType::Retail, CalcFeeType::Delivery]);
    assert!(!bill.warnings.no_delivery_price);
    assert_eq!(bill.after.year, decimal("10000"), "delivery adds nothing to the accumulators");

    let without = Given::total("0", "10000").rate(&flat("0.65")).unwrap();
    assert_eq!((without.delivery_total, without.lines.len()), (Decimal::ZERO, 1));
    assert!(without.warnings.no_delivery_price);
    // Prices of peak and valley fit no package that does not measure them.
    let by_period = Some(matrix(TimeOfUse::Two, Ladder::None, &[], &[&["0.2", "0.1"]]));
    let bill = Given::total("0", "10").rate(&Rates { delivery: by_period.clone(), ..flat("0.65") }).unwrap();
    assert!(bill.warnings.no_delivery_price);
    let two = Rates { delivery: by_period, ..retail(TimeOfUse::Two, Ladder::None, &[], &[&["0.6", "0.3"]]) };
    let bill = Given::used(TimeOfUse::Two, "0", &["10", "20"]).rate(&two).unwrap();
    assert_eq!(lines(&bill).0[2..], ["1/Peak 10 × 0.2 = 2.00", "1/Valley 20 × 0.1 = 2.00"]);
    // Of an account that used nothing there is nothing to deliver, and no line of nothing either.
    let nothing = Given::total("0", "0").rate(&rates).unwrap();
    assert_eq!((nothing.lines.len(), nothing.warnings.no_delivery_price), (1, false));
}

#[test]
fn delivery_of_which_a_part_has_no_price_has_no_line() {
    let mut delivery = PriceMatrix::new(TimeOfUse::One, Ladder::Year);
    delivery.set(Season::Flat, Period::Whole, tier(1), limits(&[100])[0], unit("0.2")).unwrap();
    let unlimited = limits(&[100])[1];
    delivery.set(Season::Abundant, Period::Whole, tier(2), unlimited, unit("0.2")).unwrap();
    let bill = Given::total("0", "150").rate(&Rates { delivery: Some(delivery), ..flat("0.65") }).unwrap();
    assert_eq!((bill.lines.len(), bill.delivery_total), (1, Decimal::ZERO));
    assert!(bill.warnings.no_delivery_price);
}

#[test]
fn fixed_apportioned_and_divided_fees_are_one_line() {
    let parameters = Parameters {
        fixed_fee: decimal("5"),
        apportioned_fee: decimal("100.10"),
        division_ratio: decimal("0.0125"),
        divided_fee: decimal("-1.25"),
        ..Parameters::default()
    };
    let bill = Given { parameters, ..Given::total("0", "10") }.rate(&flat("0.5")).unwrap();
    assert_eq!(lines(&bill).0, ["1/Whole 10 × 0.5 = 5.00", "1/Whole 0 × 0 = 5.00"]);
    let rule = LineRule::FixedFee { fixed: decimal("5"), apportioned: decimal("1.25"), divided: decimal("-1.25") };
    assert_eq!((bill.lines[1].rule, bill.lines[1].start), (rule, None));
    let nothing = Parameters { fixed_fee: decimal("3"), divided_fee: decimal("-3"), ..Parameters::default() };
    let bill = Given { parameters: nothing, ..Given::total("0", "10") }.rate(&flat("0.5")).unwrap();
    assert_eq!(bill.lines.len(), 1, "fees that add up to nothing have no line");
}

#[test]
fn a_retro_run_bills_quantities_or_a_fee_and_nothing_else() {
    let parameters = Parameters {
        retro_fee: decimal("-30.00"),
        fixed_fee: decimal("20"),
        fixed_quantity: decimal("100"),
        apportioned_fee: decimal("50"),
        division_ratio: decimal("1"),
        area: decimal("90"),
        ..Parameters::default()
    };
    let given = Given { registers: Vec::new(), parameters, ..Given::total("3000", "0") }.retro();
    let bill = given.rate(&tiered(Ladder::Year, &[2880, 4800], &ELECTRICITY)).unwrap();
    assert_eq!(lines(&bill), (vec!["1/Whole 0 × 0 = -30.00".to_owned()], "-30.00".to_owned()));
    assert_eq!((bill.lines[0].rule, bill.after.year), (LineRule::RetroFee, decimal("3000")));
}

#[test]
fn rent_is_a_fixed_quantity_at_a_price_or_a_fixed_fee() {
    let rent = Parameters { fixed_quantity: decimal("1"), ..Parameters::default() };
    assert_eq!(Given::unmetered(rent).rate(&flat("3500")).unwrap().total, decimal("3500.00"));
    let fee = Parameters { fixed_fee: decimal("3500"), ..Parameters::default() };
    assert_eq!(Given::unmetered(fee).rate(&flat("3500")).unwrap().total, decimal("3500"));
}

#[test]
fn an_agreed_price_is_flat() {
    assert_eq!(Given::total("250", "20").rate(&flat("6.00")).unwrap().total, decimal("120.00"));
}

#[test]
fn a_temporary_package_prices_its_first_months() {
    let cases = [(3, 0), (3, 2), (3, 3), (1, 1), (0, 0)];
    use PackageInForce::{Main, Temporary};
    assert_eq!(
        cases.map(|(months, billed)| package_in_force(months, billed)),
        [Temporary, Temporary, Main, Main, Main]
    );
}

#[test]
fn what_is_missing_is_named_and_never_a_default() {
    let mut gap = PriceMatrix::new(TimeOfUse::Two, Ladder::Month);
    let steps = limits(&[100]);
    for (number, limits) in (1..).zip(&steps) {
        gap.set(Season::Flat, Period::Peak, tier(number), *limits, unit("1")).unwrap();
    }
    gap.set(Season::Flat, Period::Valley, tier(1), steps[0], unit("1")).unwrap();
    let rates = Rates { energy: Some(gap), ..flat("1") };
    let missing = RatingError::NoPrice { season: Season::Flat, period: Period::Valley, tier: tier(2) };
    assert_eq!(Given::used(TimeOfUse::Two, "0", &["90", "20"]).rate(&rates).unwrap_err(), missing);
    assert_eq!(missing.to_string(), "there is no price for season Flat, period Valley, tier Second");
    let inside = Given::used(TimeOfUse::Two, "0", &["50", "20"]).rate(&rates).unwrap();
    assert_eq!(inside.total, decimal("70"), "a price that no bill needs may be missing");

    let mut ends = PriceMatrix::new(TimeOfUse::One, Ladder::Year);
    ends.set(Season::Flat, Period::Whole, tier(1), steps[0], unit("1")).unwrap();
    let rates = Rates { energy: Some(ends), ..flat("1") };
    let missing = RatingError::NoLimits { season: Season::Flat, tier: tier(2) };
    assert_eq!(Given::total("0", "1").rate(&rates).unwrap_err(), missing);
    let nothing = Rates { energy: None, ..flat("1") };
    assert!(matches!(Given::total("0", "1").rate(&nothing), Err(RatingError::NoPrice { .. })));
    let kindless = Rates { kind: ChargePackType::Unspecified, ..flat("1") };
    assert_eq!(Given::total("0", "1").rate(&kindless).unwrap_err(), RatingError::NotGiven(NeededFact::PackageKind));
}
