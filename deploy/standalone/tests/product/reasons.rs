//! docs/reasons.md lists the reasons that the `.proto` declares.

use crate::architecture::sources::root;

#[test]
fn every_reason_is_in_the_list_of_reasons() {
    let listed = std::fs::read_to_string(root().join("docs/reasons.md")).expect("docs/reasons.md");
    let mut expected = String::new();
    for (service, file) in [
        ("every service", "proto/communal/contract/v1/contract.proto"),
        ("billing", "proto/communal/billing/v1/reasons.proto"),
        ("community", "proto/communal/community/v1/reasons.proto"),
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let body = text.split("enum Reason {").nth(1).unwrap().split("\n}").next().unwrap();
        let mut comment = String::new();
        for line in body.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("// ") {
                comment = words.to_owned();
            } else if let Some(rest) = line.strip_prefix("REASON_") {
                let name = rest.split(' ').next().unwrap();
                if name != "UNSPECIFIED" {
                    expected.push_str(&format!("| `{name}` | {service} | {comment} |\n"));
                }
            }
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let head = listed.split("| --- | --- | --- |\n").next().unwrap();
        std::fs::write(root().join("docs/reasons.md"), format!("{head}| --- | --- | --- |\n{expected}")).unwrap();
        return;
    }
    assert!(listed.ends_with(&expected), "docs/reasons.md is not what the .proto says; run with UPDATE_EXPECT=1");
}
