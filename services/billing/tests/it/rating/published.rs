//! Golden bills of published tariffs. Each names where its prices were found, and the year from which they count. They are no
//! authority for a real bill; all-in prices include funds and surcharges.

use communal_billing::rating::rates::{SpaceBasis, SpacePrices, SurchargePrice};
use communal_billing::rating::{Parameters, PriceMatrix, Rates};
use communal_billing::vocabulary::tariff::{Ladder, Season, TimeOfUse};
use communal_proto::billing::v1::ChargePackType;

use super::given::*;

/// A bill of a published tariff.
struct Published {
    tariff: &'static str,
    /// Where the prices were found, and the year from which they count.
    source: &'static str,
    rates: Rates,
    given: Given,
    lines: &'static [&'static str],
    total: &'static str,
}

/// The collection of published tariffs among the reference documents of EPEIS.
macro_rules! collection {
    ($year:literal) => {
        concat!("the collection of published tariffs beside the EPEIS documents, since ", $year)
    };
}

fn surcharges(prices: &[&str]) -> Vec<SurchargePrice> {
    let row = |(price, surcharge_item): (&&str, i64)| SurchargePrice {
        category_item: ENERGY,
        surcharge_item,
        price: unit(price),
    };
    prices.iter().zip(101..).map(row).collect()
}

fn guaranteed(rates: Rates, attached: &[&str]) -> Rates {
    Rates { kind: ChargePackType::Guaranteed, surcharges: surcharges(attached), ..rates }
}

/// A month ladder with limits of its own from May to October, which is kept as the abundant season.
fn by_summer(time_of_use: TimeOfUse, prices: &[&[&str]]) -> Rates {
    let mut energy = PriceMatrix::new(time_of_use, Ladder::Month);
    add_season(&mut energy, Season::Abundant, &[260, 600], prices);
    add_season(&mut energy, Season::Flat, &[200, 400], prices);
    Rates { seasonal: true, energy: Some(energy), ..flat("1") }
}

fn in_summer(given: Given) -> Given {
    Given { season: Season::Abundant, month: 202_607, ..given }
}

fn by_area(price: &str) -> Option<SpacePrices> {
    let mut prices = SpacePrices::new(SpaceBasis::Area);
    prices.set(Season::Flat, unit(price)).unwrap();
    Some(prices)
}

fn area(square_metres: &str) -> Parameters {
    Parameters { area: decimal(square_metres), ..Parameters::default() }
}

fn electricity() -> Vec<Published> {
    let guangzhou = by_summer(TimeOfUse::One, &[&["0.589"], &["0.639"], &["0.889"]]);
    let shenzhen = by_summer(TimeOfUse::One, &[&["0.6542"], &["0.7042"], &["0.9542"]]);
    let shenzhen_by_period = by_summer(
        TimeOfUse::Three,
        &[&["1.1121", "0.6542", "0.2486"], &["1.1621", "0.7042", "0.2986"], &["1.4121", "0.9542", "0.5486"]],
    );
    let guangzhou_source = "Guangzhou government portal and dayoo.com, quoted in lzwjava/blog-source \
                            notes/2025-11-16-guangzhou-gpu-electricity-en.md; the steps since 2012";
    let shenzhen_source =
        "深圳市发展和改革委员会 深圳市居民生活电价价目表 (without government funds), as quoted in 2026";
    vec![
        Published {
            tariff: "北京 居民 <1 kV 年阶梯",
            source: collection!("2012"),
            rates: tiered(Ladder::Year, &[2880, 4800], &["0.4883", "0.5383", "0.7883"]),
            given: Given::total("4650.5", "423.75"),
            lines: &["2/Whole 149.5 × 0.5383 = 80.48", "3/Whole 274.25 × 0.7883 = 216.19"],
            total: "296.67",
        },
        Published {
            tariff: "上海 居民 峰谷 年阶梯",
            source: collection!("2012"),
            rates: retail(
                TimeOfUse::Two,
                Ladder::Year,
                &[3120, 4800],
                &[&["0.617", "0.307"], &["0.677", "0.337"], &["0.977", "0.487"]],
            ),
            given: Given::used(TimeOfUse::Two, "4700", &["180.33", "120.44"]),
            lines: &[
                "2/Peak 59.96 × 0.677 = 40.59",
                "2/Valley 40.04 × 0.337 = 13.49",
                "3/Peak 120.37 × 0.977 = 117.60",
                "3/Valley 80.4 × 0.487 = 39.15",
            ],
            total: "210.83",
        },
        Published {
            tariff: "浙江 居民 <1 kV 峰谷 年阶梯",
            source: "浙江省物价局 关于完善居民生活用电阶梯电价政策有关事项的通知, zj.gov.cn; since 2012",
            rates: retail(
                TimeOfUse::Two,
                Ladder::Year,
                &[2760, 4800],
                &[&["0.568", "0.288"], &["0.618", "0.338"], &["0.868", "0.588"]],
            ),
            given: Given::used(TimeOfUse::Two, "2700", &["151.3", "98.7"]),
            lines: &[
                "1/Peak 36.31 × 0.568 = 20.62",
                "1/Valley 23.69 × 0.288 = 6.82",
                "2/Peak 114.99 × 0.618 = 71.06",
                "2/Valley 75.01 × 0.338 = 25.35",
            ],
            total: "123.85",
        },
        Published {
            tariff: "广州 居民 月阶梯 夏季",
            source: guangzhou_source,
            rates: guangzhou.clone(),
            given: in_summer(Given::total("0", "717")),
            lines: &["1/Whole 260 × 0.589 = 153.14", "2/Whole 340 × 0.639 = 217.26", "3/Whole 117 × 0.889 = 104.01"],
            total: "474.41",
        },
        Published {
            tariff: "广州 居民 月阶梯 非夏季",
            source: guangzhou_source,
            rates: guangzhou,
            given: Given::total("0", "717"),
            lines: &["1/Whole 200 × 0.589 = 117.80", "2/Whole 200 × 0.639 = 127.80", "3/Whole 317 × 0.889 = 281.81"],
            total: "527.41",
        },
        Published {
            tariff: "深圳 居民 月阶梯 非夏季",
            source: shenzhen_source,
            rates: shenzhen,
            given: Given::total("0", "431"),
            lines: &["1/Whole 200 × 0.6542 = 130.84", "2/Whole 200 × 0.7042 = 140.84", "3/Whole 31 × 0.9542 = 29.58"],
            total: "301.26",
        },
        Published {
            tariff: "深圳 居民 峰平谷 月阶梯 夏季",
            source: shenzhen_source,
            rates: shenzhen_by_period,
            given: in_summer(Given::used(TimeOfUse::Three, "0", &["120.5", "160.25", "99.25"])),
            lines: &[
                "1/Peak 82.45 × 1.1121 = 91.69",
                "1/Flat 109.64 × 0.6542 = 71.73",
                "1/Valley 67.91 × 0.2486 = 16.88",
                "2/Peak 38.05 × 1.1621 = 44.22",
                "2/Flat 50.61 × 0.7042 = 35.64",
                "2/Valley 31.34 × 0.2986 = 9.36",
            ],
            total: "269.52",
        },
    ]
}

fn water() -> Vec<Published> {
    let beijing = tiered(Ladder::Year, &[180, 260], &["2.07", "4.07", "6.07"]);
    let beijing = Rates { population_rows: vec![population(5, 1, "30")], ..guaranteed(beijing, &["1.57", "1.36"]) };
    let six_persons =
        Given { parameters: Parameters { population: 6, ..Parameters::default() }, ..Given::total("200", "100") };
    vec![
        Published {
            tariff: "北京 居民自来水 年阶梯 六口人，5/7/9 in its parts",
            source: collection!("2014"),
            rates: beijing.clone(),
            given: six_persons,
            lines: &[
                "1/Whole 10 × 2.07 = 20.70",
                "2/Whole 80 × 4.07 = 325.60",
                "3/Whole 10 × 6.07 = 60.70",
                "1/Whole 100 × 1.57 = 157.00",
                "1/Whole 100 × 1.36 = 136.00",
            ],
            total: "700.00",
        },
        Published {
            tariff: "北京 执行居民水价的非居民 6.00 in its parts",
            source: collection!("2014"),
            rates: guaranteed(flat("3.07"), &["1.57", "1.36"]),
            given: Given::total("0", "20"),
            lines: &["1/Whole 20 × 3.07 = 61.40", "1/Whole 20 × 1.57 = 31.40", "1/Whole 20 × 1.36 = 27.20"],
            total: "120.00",
        },
        Published {
            tariff: "广州番禺 居民用水 月阶梯，自来水 1.75/2.63/5.25 and 污水 0.95/1.43/2.85",
            source: "番发改价格函〔2015〕76号 and 番发改价格〔2017〕23号, as the water company published them in 2018",
            rates: tiered(Ladder::Month, &[26, 34], &["2.70", "4.06", "8.10"]),
            given: Given::total("0", "37"),
            lines: &["1/Whole 26 × 2.7 = 70.20", "2/Whole 8 × 4.06 = 32.48", "3/Whole 3 × 8.1 = 24.30"],
            total: "126.98",
        },
        Published {
            tariff: "上海 市属供排水区域 居民用水 年阶梯，供水 1.92/3.30/4.30 and 排水 1.53",
            source: "上海市 居民阶梯水价, since 1 August 2013, as exercises and help pages quoted it up to 2025; the number of the \
                     document is not known to us",
            rates: tiered(Ladder::Year, &[220, 300], &["3.45", "4.83", "5.83"]),
            given: Given::total("215", "90"),
            lines: &["1/Whole 5 × 3.45 = 17.25", "2/Whole 80 × 4.83 = 386.40", "3/Whole 5 × 5.83 = 29.15"],
            total: "432.80",
        },
        Published {
            tariff: "深圳 居民用水 月阶梯，水和污水 3.57/5.01/9.11, 垃圾处理费 0.59",
            source: "深圳自来水收费标准2022, yzzs.cn/zhuangxiu/fang/a/33/357022.html",
            rates: guaranteed(tiered(Ladder::Month, &[22, 30], &["3.57", "5.01", "9.11"]), &["0.59"]),
            given: Given::total("0", "34"),
            lines: &[
                "1/Whole 22 × 3.57 = 78.54",
                "2/Whole 8 × 5.01 = 40.08",
                "3/Whole 4 × 9.11 = 36.44",
                "1/Whole 34 × 0.59 = 20.06",
            ],
            total: "175.12",
        },
    ]
}

fn gas_and_heat() -> Vec<Published> {
    vec![
        Published {
            tariff: "北京 一般生活用气 年阶梯",
            source: collection!("2018"),
            rates: tiered(Ladder::Year, &[350, 500], &["2.61", "2.83", "4.23"]),
            given: Given::total("340", "180"),
            lines: &["1/Whole 10 × 2.61 = 26.10", "2/Whole 150 × 2.83 = 424.50", "3/Whole 20 × 4.23 = 84.60"],
            total: "535.20",
        },
        Published {
            tariff: "北京 农村煤改气采暖用气 年阶梯",
            source: collection!("2018"),
            rates: tiered(Ladder::Year, &[2500, 3000], &["2.61", "2.83", "4.23"]),
            given: Given::total("2480.4", "700"),
            lines: &["1/Whole 19.6 × 2.61 = 51.16", "2/Whole 500 × 2.83 = 1415.00", "3/Whole 180.4 × 4.23 = 763.09"],
            total: "2229.25",
        },
        Published {
            tariff: "上海 居民用天然气 年阶梯",
            source: "上海市 居民用户天然气阶梯价格, since 1 September 2014; the first limit and price are on a bill of June 2025 too. The \
                     number of the document is not known to us",
            rates: tiered(Ladder::Year, &[310, 520], &["3.00", "3.30", "4.20"]),
            given: Given::total("290", "250"),
            lines: &["1/Whole 20 × 3 = 60.00", "2/Whole 210 × 3.3 = 693.00", "3/Whole 20 × 4.2 = 84.00"],
            total: "837.00",
        },
        Published {
            tariff: "广州 居民用管道天然气 年阶梯",
            source: "a page of an operator's portal that quoted it beside Guangzhou's water, about 2020; number and first year of the \
                     document are not known to us",
            rates: tiered(Ladder::Year, &[320, 400], &["3.45", "4.14", "5.18"]),
            given: Given::total("310.5", "100"),
            lines: &["1/Whole 9.5 × 3.45 = 32.78", "2/Whole 80 × 4.14 = 331.20", "3/Whole 10.5 × 5.18 = 54.39"],
            total: "418.37",
        },
        Published {
            tariff: "北京 燃气（油、电）锅炉供暖 居民 按建筑面积",
            source: collection!("2001"),
            rates: Rates { energy: None, space: by_area("30"), ..flat("1") },
            given: Given::unmetered(area("90")),
            lines: &["1/Whole 90 × 30 = 2700.00"],
            total: "2700.00",
        },
        Published {
            tariff: "北京 锅炉供暖 居民 两部制 18 + 0.16",
            source: collection!("2010"),
            rates: Rates { space: by_area("18"), ..flat("0.16") },
            given: Given { parameters: area("90"), ..Given::total("0", "5000") },
            lines: &["1/Whole 5000 × 0.16 = 800.00", "1/Whole 90 × 18 = 1620.00"],
            total: "2420.00",
        },
    ]
}

#[test]
fn published_tariffs_bill_to_the_cent() {
    for published in [electricity(), water(), gas_and_heat()].into_iter().flatten() {
        let Published { tariff, source, rates, given, lines: expected, total } = published;
        let (found, sum) = lines(&given.rate(&rates).unwrap());
        assert_eq!(
            (found, sum.as_str()),
            (expected.iter().map(|l| (*l).to_owned()).collect(), total),
            "{tariff}: {source}"
        );
    }
}
