//! Requests: values that are carried over, faults that are named, and bodies that are refused.

use communal_proto::contract::v1::{FaultKind, TranscodingFaults};
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::DynamicMessage;

use super::output::{random, stream};
use super::{expected, fixture, shape};
use crate::json::{Block, Faults, Input, MOST_NESTING, Malformed, Strictness, UnknownKeys};

struct Read {
    message: DynamicMessage,
    faults: Vec<(String, FaultKind)>,
    unknown: UnknownKeys,
}

impl Read {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&expected(&self.message)).unwrap()
    }
}

fn read(strictness: Strictness, body: impl AsRef<[u8]>) -> Result<Read, Malformed> {
    let contract = fixture();
    let (id, descriptor) = shape(contract);
    let mut input = Input::new(contract.plans(), strictness, 0);
    input.body(id, body.as_ref(), None)?;
    let (wire, faults, unknown) = input.finish();
    let message = DynamicMessage::decode(descriptor, wire.as_slice()).unwrap();
    let faults = faults.carried().iter().map(|fault| (fault.field.clone(), fault.kind())).collect();
    Ok(Read { message, faults, unknown })
}

fn strict(body: impl AsRef<[u8]>) -> Read {
    read(Strictness::Strict, body).unwrap()
}

fn lenient(body: impl AsRef<[u8]>) -> Read {
    read(Strictness::Lenient, body).unwrap()
}

/// The only fault of a body.
fn fault(strictness: Strictness, body: &str) -> (String, FaultKind) {
    let mut read = read(strictness, body).unwrap();
    assert_eq!(read.faults.len(), 1, "{body}: {:?}", read.faults);
    read.faults.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_written_reads_back_the_same(seed: u64) {
        let (_, descriptor) = shape(fixture());
        let message = random(&descriptor, &mut stream(seed));
        let json = expected(&message);
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            let read = read(strictness, &json).unwrap();
            prop_assert_eq!(&read.faults, &vec![]);
            prop_assert_eq!(expected(&read.message), json.clone());
        }
    }

    #[test]
    fn any_json_is_read_or_named_but_never_panics(text in "[\\[\\]{}:,\"\\\\0-9eE.+\\- a-zA-Z_u]{0,60}") {
        let _ = read(Strictness::Strict, &text);
        let _ = read(Strictness::Lenient, &text);
    }

    /// The transcoder accepts exactly the bodies that are JSON and not nested too deep.
    #[test]
    fn exactly_json_objects_are_taken(text in r#"\{"(TEXT|x)":(\[|\{"a":|"|null|1|-|\.|\]|\}|,| |\\u[0-9a-f]{4}|"){0,9}\}"#) {
        let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(read(Strictness::Strict, &text).is_ok(), is_json, "{}", text);
    }
}

#[test]
fn unknown_keys_are_told_in_a_header_and_a_hostile_request_cannot_make_it_long() {
    let header = |body: &str| strict(body).unknown.header().map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header(r#"{"TEXT": "a"}"#), None);
    assert_eq!(header(r#"{"text": "a", "姓名": 1}"#).as_deref(), Some("text, %E5%A7%93%E5%90%8D"));
    let many: Vec<_> = (0..500).map(|n| format!("\"{n:0>2000}\": 1")).collect();
    let told = header(&format!("{{{}}}", many.join(","))).unwrap();
    assert!(told.len() < 1_000 && told.ends_with(", and 492 more"), "{told}");
    let wide: Vec<_> = (0..8).map(|n| format!("\"{}{n}\": 1", "电".repeat(63))).collect();
    let told = header(&format!("{{{}}}", wide.join(","))).unwrap();
    assert!(told.len() < 2_200 && told.ends_with(", and 5 more"), "{} {told}", told.len());
}

#[test]
fn fields_come_in_any_order_and_unknown_ones_are_counted() {
    let read = strict(
        r#" { "LARGE" : 9007199254740993, "nonsense": {"TEXT": [1, {"deep": "x"}], "a": 1, "a": 2}, "TEXT":"电\u7535\ud83d\ude00",
            "ROWS":[{"PRICE":2.50,"unknown":null,"NAME":"a"},{"NAME":"b","LEAVES":[{"COUNT":7}]}], "SMALL": -2147483648 } "#,
    );
    assert_eq!(read.faults, []);
    assert_eq!(
        (read.unknown.count, read.unknown.first.clone()),
        (2, vec!["nonsense".into(), "ROWS[0].unknown".into()])
    );
    let json = read.json();
    assert_eq!(json["LARGE"], 9_007_199_254_740_993_i64);
    assert_eq!(json["TEXT"], "电电\u{1f600}");
    assert_eq!(json["ROWS"][1]["LEAVES"][0]["COUNT"], 7);
    assert_eq!(json["SMALL"], i32::MIN);
}

#[test]
fn decimals_keep_every_digit() {
    let (id, _) = shape(fixture());
    for (text, carried) in
        [("2.50", "2.50"), ("99999999999999.99", "99999999999999.99"), ("1e-2", "0.01"), ("2.505", "2.505"), ("0", "0")]
    {
        let mut input = Input::new(fixture().plans(), Strictness::Strict, 0);
        input.body(id, format!(r#"{{"MONEY":{text}}}"#).as_bytes(), None).unwrap();
        let (wire, faults, _) = input.finish();
        assert_eq!(faults.count(), 0);
        assert_eq!(wire[..2], [0x12, carried.len() as u8]);
        assert_eq!(&wire[2..], carried.as_bytes());
    }
}

#[test]
fn null_is_absent() {
    let read =
        strict(r#"{"TEXT":null,"OPTIONAL_TEXT":null,"MONEY":null,"ROW":null,"ROWS":null,"COLOUR":null,"LARGE":null}"#);
    assert_eq!(read.faults, []);
    assert_eq!(expected(&read.message), expected(&strict("{}").message));
}

#[test]
fn an_explicit_default_is_carried_where_presence_matters() {
    let read = strict(r#"{"TEXT":"","OPTIONAL_TEXT":"","OPTIONAL_LARGE":0}"#);
    let json = read.json();
    assert_eq!((&json["OPTIONAL_TEXT"], &json["OPTIONAL_LARGE"]), (&"".into(), &0.into()));
}

#[test]
fn a_repeated_known_key_is_a_violation_even_if_null() {
    assert_eq!(fault(Strictness::Strict, r#"{"TEXT":"a","TEXT":"b"}"#), ("TEXT".into(), FaultKind::Repeated));
    assert_eq!(fault(Strictness::Lenient, r#"{"TEXT":null,"TEXT":"b"}"#), ("TEXT".into(), FaultKind::Repeated));
    assert_eq!(
        fault(Strictness::Strict, r#"{"ROWS":[{"NAME":"a"},{"NAME":"b","PRICE":1,"NAME":"c"}]}"#),
        ("ROWS[1].NAME".into(), FaultKind::Repeated)
    );
    assert_eq!(fault(Strictness::Strict, r#"{"T\u0045XT":"a","TEXT":"b"}"#), ("TEXT".into(), FaultKind::Repeated));
}

#[test]
fn strict_values_have_the_documented_json_type() {
    for (key, wrong) in [
        ("TEXT", "1"),
        ("TEXT", "true"),
        ("TEXT", "{}"),
        ("TEXT", "[]"),
        ("MONEY", r#""1""#),
        ("MONEY", "false"),
        ("SMALL", r#""1""#),
        ("SMALL", "1.5"),
        ("SMALL", r#""""#),
        ("LARGE", "[1]"),
        ("COLOUR", "1"),
        ("ROW", "[]"),
        ("ROW", r#""x""#),
        ("ROWS", "{}"),
        ("ROWS", r#""x""#),
        ("TEXTS", r#""x""#),
    ] {
        let body = format!(r#"{{"SMALL_":0,"{key}":{wrong}}}"#);
        assert_eq!(fault(Strictness::Strict, &body), (key.into(), FaultKind::Type), "{body}");
    }
}

#[test]
fn lenient_values_are_numbers_as_strings_and_strings_as_numbers() {
    let read = lenient(
        r#"{"TEXT":2.50,"MONEY":"2.5","SMALL":"10","LARGE":"-7","COLOUR":2,"OPTIONAL_COLOUR":"RED","WHOLE":"1e2","TEXTS":[1,"b"]}"#,
    );
    assert_eq!(read.faults, []);
    let json = read.json();
    assert_eq!(json["TEXT"], "2.50");
    assert_eq!(json["MONEY"].to_string(), "2.5");
    assert_eq!((&json["SMALL"], &json["LARGE"]), (&10.into(), &(-7).into()));
    assert_eq!((&json["COLOUR"], &json["OPTIONAL_COLOUR"]), (&"02".into(), &"01".into()));
    assert_eq!(json["WHOLE"], 100);
    assert_eq!(json["TEXTS"], serde_json::json!(["1", "b"]));
}

#[test]
fn an_empty_string_in_place_of_a_number_or_code_is_absent() {
    let read =
        lenient(r#"{"MONEY":"","SMALL":"","LARGE":"","COLOUR":"","OPTIONAL_COLOUR":"","OPTIONAL_LARGE":"","TEXT":""}"#);
    assert_eq!(read.faults, []);
    assert_eq!(expected(&read.message), expected(&lenient("{}").message));
    // A code is documented as a string, so an empty string has the right type.
    assert_eq!(strict(r#"{"COLOUR":""}"#).faults, []);
}

#[test]
fn lenience_has_limits() {
    for (key, value, kind) in [
        ("SMALL", r#""ten""#, FaultKind::Type),
        ("SMALL", r#"" 1""#, FaultKind::Type),
        ("SMALL", r#""1.5""#, FaultKind::Type),
        ("SMALL", "2147483648", FaultKind::Range),
        ("LARGE", "9223372036854775808", FaultKind::Range),
        ("LARGE", "1e400", FaultKind::Range),
        ("MONEY", r#""0x1""#, FaultKind::Type),
        ("MONEY", "1e-400", FaultKind::Scale),
        ("MONEY", "1e-999999999999", FaultKind::Scale),
        ("MONEY", "1e999999999999", FaultKind::Length),
        ("LARGE", "1e-400", FaultKind::Type),
        ("TEXT", "true", FaultKind::Type),
        ("TEXT", "[]", FaultKind::Type),
        ("COLOUR", r#""3""#, FaultKind::Code),
        ("COLOUR", "1", FaultKind::Code),
        ("COLOUR", "true", FaultKind::Type),
        ("ROWS", r#""""#, FaultKind::Type),
        ("ROW", r#""""#, FaultKind::Type),
    ] {
        assert_eq!(fault(Strictness::Lenient, &format!(r#"{{"{key}":{value}}}"#)), (key.into(), kind), "{key} {value}");
    }
}

#[test]
fn an_invalid_row_keeps_its_index() {
    let read = strict(
        r#"{"ROWS":[{"NAME":"a"},7,{"NAME":"c"},null],"TEXTS":["x",1,"z"],"NUMBERS":[1,"2",3],"COLOURS":["01","zz"]}"#,
    );
    let faults: Vec<_> = read.faults.iter().map(|(field, kind)| (field.as_str(), *kind)).collect();
    assert_eq!(
        faults,
        [
            ("ROWS[1]", FaultKind::Type),
            ("ROWS[3]", FaultKind::Type),
            ("TEXTS[1]", FaultKind::Type),
            ("NUMBERS[1]", FaultKind::Type),
            ("COLOURS[1]", FaultKind::Code)
        ]
    );
    let json = read.json();
    assert_eq!(json["ROWS"][2]["NAME"], "c");
    assert_eq!(json["TEXTS"], serde_json::json!(["x", "", "z"]));
    assert_eq!(json["NUMBERS"], serde_json::json!([1, 0, 3]));
}

#[test]
fn rows_beyond_the_limit_are_not_carried() {
    let rows = |count: usize| format!(r#"{{"ROWS":[{}]}}"#, vec![r#"{"NAME":1}"#; count].join(","));
    let read = strict(rows(6));
    assert_eq!(read.faults.len(), 6);
    assert_eq!(read.faults[5], ("ROWS".into(), FaultKind::Rows));
    assert_eq!(read.json()["ROWS"].as_array().unwrap().len(), 5);
    assert_eq!(strict(rows(5)).faults.len(), 5);
    // There is a limit even if none is documented: ten million empty rows fit into a body.
    let texts = format!(r#"{{"TEXTS":[{}]}}"#, vec![r#""""#; 20_000].join(","));
    let read = strict(texts);
    assert_eq!(read.faults, [("TEXTS".into(), FaultKind::Rows)]);
    assert_eq!(read.json()["TEXTS"].as_array().unwrap().len(), 10_000);
}

#[test]
fn faults_are_sent_up_to_a_limit_and_all_are_counted() {
    let contract = fixture();
    let (id, _) = shape(contract);
    let body = format!(r#"{{"TEXTS":[{}]}}"#, vec!["1"; 5_000].join(","));
    let mut input = Input::new(contract.plans(), Strictness::Strict, 0);
    input.body(id, body.as_bytes(), None).unwrap();
    let (_, faults, _) = input.finish();
    assert_eq!(faults.count(), 5_000);
    assert_eq!(faults.carried().len(), 200);
    let sent = faults.encode().unwrap();
    assert!(sent.len() < 7 * 1024);
    assert_eq!(TranscodingFaults::decode(sent.as_slice()).unwrap().left_out, 4_800);
    assert!(Faults::default().encode().is_none());
}

#[test]
fn a_block_beside_the_message_is_taken_off() {
    let fields: &[(&str, usize)] = &[("A", 4), ("B", 4), ("C", 4), ("D", 4)];
    let contract = fixture();
    let (id, descriptor) = shape(contract);
    let take = |body: &str| {
        let mut block = Block::new("HEAD", fields);
        let mut input = Input::new(contract.plans(), Strictness::Strict, 0);
        input.body(id, body.as_bytes(), Some(&mut block)).unwrap();
        let (wire, faults, _) = input.finish();
        let message = DynamicMessage::decode(descriptor.clone(), wire.as_slice()).unwrap();
        let faults: Vec<_> = faults.carried().iter().map(|f| (f.field.clone(), f.kind())).collect();
        (block.into_values(), faults, message)
    };
    let (values, faults, message) = take(r#"{"TEXT":"t","HEAD":{"B":"电电电电","X":{},"A":"a","D":""}}"#);
    assert_eq!(values, [Some("a".into()), Some("电电电电".into()), None, None]);
    assert_eq!(faults, []);
    assert!(expected(&message).contains(r#""TEXT":"t""#));
    let (values, faults, _) = take(r#"{"HEAD":{"A":1,"B":"12345","C":"c","C":"d","D":null},"HEAD":{"A":"late"}}"#);
    assert_eq!(values, [None, None, Some("c".into()), None]);
    assert_eq!(
        faults,
        [
            ("HEAD.A".into(), FaultKind::Type),
            ("HEAD.B".into(), FaultKind::Length),
            ("HEAD.C".into(), FaultKind::Repeated),
            ("HEAD".into(), FaultKind::Repeated)
        ]
    );
    // The block is taken only beside the message, not inside it.
    let (values, _, _) = take(r#"{"ROW":{"HEAD":{"A":"a"}},"HEAD":7}"#);
    assert_eq!(values, [None, None, None, None]);
}

#[test]
fn nesting_is_limited_in_ignored_values_too() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"ignored":{}{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    assert!(read(Strictness::Strict, nested("[", "]", MOST_NESTING - 1)).is_ok());
    assert_eq!(read(Strictness::Strict, nested("[", "]", MOST_NESTING)).err(), Some(Malformed::TooDeep));
    assert_eq!(read(Strictness::Strict, "[".repeat(5_000_000)).err(), Some(Malformed::TooDeep));
    assert_eq!(read(Strictness::Strict, r#"{"a":"#.repeat(1_000_000)).err(), Some(Malformed::TooDeep));
    assert_eq!(read(Strictness::Strict, format!(r#"{{"ROWS":[{}"#, "[".repeat(100))).err(), Some(Malformed::TooDeep));
    // A wide body is not nested deep.
    assert!(read(Strictness::Strict, format!(r#"{{"x":[{}[]]}}"#, r#"[],{"a":{}},"#.repeat(100_000))).is_ok());
}

#[test]
fn a_body_that_is_not_json_is_refused() {
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"{}{}",
        b"{} x",
        br#"{"TEXT":"a",}"#,
        br#"{"TEXT" "a"}"#,
        br#"{TEXT:"a"}"#,
        br#"{'TEXT':'a'}"#,
        b"{\"TEXT\":\"a\nb\"}",
        b"{\"TEXT\":\"\xff\"}",
        b"{\"TEXT\":\"\xed\xa0\x80\"}",
        b"{\"ignored\":\"\xc0\xaf\"}",
        br#"{"TEXT":"\ud83d"}"#,
        br#"{"TEXT":"\ude00\ud83d"}"#,
        br#"{"ignored":["\ud83d x"]}"#,
        br#"{"\udc00":1}"#,
        br#"{"TEXT":"\x"}"#,
        br#"{"SMALL":01}"#,
        br#"{"SMALL":+1}"#,
        br#"{"SMALL":1.}"#,
        br#"{"SMALL":NaN}"#,
        br#"{"ignored":Infinity}"#,
        br#"{"ignored":-}"#,
        br#"{"SMALL":tru}"#,
        b"{\"TEXT\":\"a\"}\0",
    ] {
        let outcome = read(Strictness::Lenient, body).map(|_| ());
        assert!(matches!(outcome, Err(Malformed::Syntax { .. })), "{}: {outcome:?}", String::from_utf8_lossy(body));
    }
    for body in ["[]", "1", "null", "\"x\"", " true "] {
        assert_eq!(read(Strictness::Lenient, body).err(), Some(Malformed::NotAnObject), "{body}");
    }
}

#[test]
fn ten_megabytes_are_read() {
    let rows = vec![r#"{"NAME":"电力","PRICE":0.4883}"#; 330_000].join(",");
    let body = format!(r#"{{"ignored":[{rows}],"TEXT":"{}"}}"#, "\\n".repeat(100_000));
    assert!(body.len() > 10_000_000);
    let read = strict(body);
    assert_eq!(read.faults, []);
    assert_eq!(read.json()["TEXT"].as_str().unwrap().len(), 100_000);
}

#[test]
fn parameters_are_texts_and_each_may_occur_once() {
    let contract = fixture();
    let (id, descriptor) = shape(contract);
    let mut input = Input::new(contract.plans(), Strictness::Lenient, 0);
    let given = [
        ("SMALL", "7"),
        ("TEXT", "a b"),
        ("other", "x"),
        ("COLOUR", "RED"),
        ("TEXT", "c"),
        ("ROW", "{}"),
        ("TEXTS", "x"),
        ("LARGE", ""),
    ];
    input.parameters(id, given.into_iter().map(|(k, v)| (k.into(), v.into())));
    let (wire, faults, unknown) = input.finish();
    let faults: Vec<_> = faults.carried().iter().map(|f| (f.field.as_str(), f.kind())).collect();
    assert_eq!(faults, [("TEXT", FaultKind::Repeated), ("ROW", FaultKind::Type), ("TEXTS", FaultKind::Type)]);
    assert_eq!((unknown.count, unknown.first), (1, vec!["other".to_owned()]));
    let json: serde_json::Value =
        serde_json::from_str(&expected(&DynamicMessage::decode(descriptor, wire.as_slice()).unwrap())).unwrap();
    assert_eq!((&json["SMALL"], &json["TEXT"], &json["COLOUR"]), (&7.into(), &"a b".into(), &"01".into()));
}
