//! `docs/limits.md` says what the code does.

use std::path::Path;

use communal_kit::limits::{Limit, table};
use communal_kit::{portions, server, telemetry, uploads};

#[test]
fn every_limit_is_documented_as_it_is_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md");
    let documented = std::fs::read_to_string(&path).unwrap();
    let sections: [(&str, Vec<&Limit>); 4] = [
        ("services", server::limits::LIMITS.all()),
        ("streams", [portions::LIMITS.all(), uploads::LIMITS.all()].concat()),
        ("gateway", communal_gateway::LIMITS.all()),
        ("processes", telemetry::LIMITS.all()),
    ];
    let mut expected = documented.clone();
    for (name, limits) in sections {
        let (begin, end) = (format!("<!-- limits: {name} -->\n"), "<!-- /limits -->");
        let at = expected.find(&begin).unwrap() + begin.len();
        let length = expected[at..].find(end).unwrap();
        expected.replace_range(at..at + length, &table(&limits));
    }
    if std::env::var_os("COMMUNAL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert_eq!(documented, expected, "COMMUNAL_WRITE_DOCS=1 writes it anew");
    }
}
