use super::super::Months;
use super::super::months::{anchor, at, completed, day_reached};
use super::day;

/// Start, last day included, months. The values of c.2 with the decisions on anchors.
const SPANS: [(&str, &str, &str); 21] = [
    ("2024-02-01", "2024-02-15", "0.5172"),
    ("2024-01-01", "2024-01-01", "0.0323"),
    ("2024-01-01", "2024-01-10", "0.3226"),
    ("2024-01-01", "2024-01-31", "1.0000"),
    ("2023-12-20", "2024-01-09", "0.6774"),
    // 29 February is the first anchor of a start on the 31st.
    ("2024-01-31", "2024-02-28", "1.0000"),
    ("2024-01-31", "2024-02-29", "1.0323"),
    ("2024-05-31", "2024-06-30", "1.0323"),
    ("2024-03-15", "2024-03-31", "0.5484"),
    ("2023-01-12", "2023-09-14", "8.1119"),
    ("2024-01-01", "2024-12-31", "12.0000"),
    ("2023-07-20", "2024-07-19", "12.0000"),
    // Held between the anchors: without it 1.0127, and 0.9839 a day after the anchor.
    ("2023-01-15", "2023-02-13", "1.0000"),
    ("2023-01-15", "2023-02-14", "1.0000"),
    ("2023-02-15", "2023-03-14", "1.0000"),
    ("2023-02-15", "2023-03-15", "1.0000"),
    // Inside one calendar month it is one fraction, 0.0333 and not 0.0334.
    ("2024-04-11", "2024-04-11", "0.0333"),
    ("2024-01-15", "2024-01-31", "0.5484"),
    ("2024-01-15", "2024-04-14", "3.0000"),
    ("2024-01-01", "2024-03-15", "2.4839"),
    ("2024-01-30", "2024-02-28", "1.0000"),
];

#[test]
fn months_are_those_of_the_documents_with_the_anchors_decided() {
    for (start, last, months) in SPANS {
        let until = day(last).succ_opt().unwrap();
        assert_eq!(at(day(start), until).to_string(), months, "{start} to {last}");
    }
}

#[test]
fn january_in_thirds_adds_up_to_a_month() {
    let at = |text| at(day("2024-01-01"), day(text));
    let parts = [at("2024-01-11"), at("2024-01-21").since(at("2024-01-11")), at("2024-02-01").since(at("2024-01-21"))];
    assert_eq!(parts.map(|p| p.to_string()), ["0.3226", "0.3226", "0.3548"]);
}

#[test]
fn an_anchor_that_a_month_lacks_is_its_last_day_and_comes_back() {
    let start = day("2024-01-31");
    let anchors: Vec<_> = (0..4).map(|k| anchor(start, k).unwrap().to_string()).collect();
    assert_eq!(anchors, ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]);
    for (text, months) in [("2024-01-30", 0), ("2024-02-28", 0), ("2024-02-29", 1), ("2024-03-30", 1)] {
        assert_eq!(completed(start, day(text)), months, "{text}");
    }
}

#[test]
fn months_reach_the_latest_day_that_they_pay_for_and_of_equal_days_the_anchor() {
    let reached = |start, months: &str| {
        let months = Months::from_decimal(months.parse().unwrap()).unwrap();
        day_reached(day(start), months).unwrap().to_string()
    };
    assert_eq!(reached("2024-01-01", "1.5"), "2024-02-15");
    assert_eq!(reached("2023-02-15", "1"), "2023-03-15", "and not 16 March, which has the same months");
    assert_eq!(reached("2023-02-15", "1.0001"), "2023-03-15");
    assert_eq!(reached("2024-01-31", "2"), "2024-03-31");
    assert_eq!(reached("2024-01-01", "0.0001"), "2024-01-01");
}

#[test]
fn a_number_of_months_has_four_places_and_no_sign() {
    let read = |text: &str| Months::from_decimal(text.parse().unwrap()).map(|months| months.to_string());
    assert_eq!(read("3"), Some("3.0000".to_owned()));
    assert_eq!(read("0.5172"), Some("0.5172".to_owned()));
    assert_eq!(read("1.50000"), Some("1.5000".to_owned()));
    for text in ["1.00001", "-1", "99999999999999999999"] {
        assert_eq!(read(text), None, "{text}");
    }
}
