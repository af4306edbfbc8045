//! The `.proto` tree says what the documents say: every documented interface, block and field,
//! by name, order, obligation, length and scale. Where we decided otherwise, it is listed here
//! with the reason, and a deviation that no longer exists is an error too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;

use communal_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::Value;

/// The differences between the `.proto` and the documents that are intended.
const DECIDED: &[(&str, &str)] = &[
    // The save document requires it; no published client sends it. Absent means in use.
    ("feeConfig.saveFeeConfig.state", "required"),
    // The server makes the identifier; whatever is sent is ignored.
    ("feeConfig.saveFeeConfig.configId", "absent"),
    // The stored value is kept, so it is ignored.
    ("feeConfig.updateFeeConfig.isDefault", "absent"),
    // Dictionaries that a browser sends back; ignored.
    ("feeConfig.saveFeeConfig.feeTypeCds", "absent"),
    ("feeConfig.saveFeeConfig.computingFormulas", "absent"),
    ("feeConfig.saveFeeConfig.feeFlags", "absent"),
    ("feeConfig.saveFeeConfig.paymentCds", "absent"),
    ("feeConfig.saveFeeConfig.billTypes", "absent"),
    ("feeConfig.updateFeeConfig.feeTypeCds", "absent"),
    ("feeConfig.updateFeeConfig.computingFormulas", "absent"),
    ("feeConfig.updateFeeConfig.feeFlags", "absent"),
    ("feeConfig.updateFeeConfig.paymentCds", "absent"),
    ("feeConfig.updateFeeConfig.billTypes", "absent"),
    // Not a field: the document's way to say that more keys may come.
    ("feeConfig.deleteFeeConfig.(other keys)", "absent"),
    // The operator is known; no published client sends it.
    ("fee.saveRoomCreateFee.storeId", "required"),
    ("fee.saveParkingSpaceCreateFee.storeId", "required"),
    // Empty means the end of the item, as the published clients send it.
    ("fee.saveRoomCreateFee.endTime", "required"),
    ("fee.roomCreatePayFee.endTime", "required"),
    ("fee.saveParkingSpaceCreateFee.endTime", "required"),
    ("fee.saveContractCreateFee.endTime", "required"),
    // Texts that hold a decimal; declared as one, it is checked as one.
    ("fee.roomCreatePayFee.amount", "type"),
    ("fee.roomCreatePayFee.rate", "type"),
    ("fee.saveContractCreateFee.amount", "type"),
    ("fee.saveContractCreateFee.rate", "type"),
    ("fee.saveParkingSpaceCreateFee.amount", "type"),
    ("fee.saveRoomCreateFee.amount", "type"),
    ("fee.saveRoomCreateFee.rate", "type"),
    ("fee.updateFee.rate", "type"),
    ("/feeApi/listFeeObj.cycle", "type"),
    // Not fields: the documents' way to say that a browser sends more.
    ("fee.saveRoomCreateFee.(other keys)", "absent"),
    ("fee.roomCreatePayFee.(other keys)", "absent"),
    // A page of rows: the sample shows one.
    ("QueryExpendMonthControl.response.COM_EXPEND_CONTROL", "kind"),
    ("QueryClassProject.response.COM_CLASS_PROJECT", "kind"),
    // All prices that were found: the sample shows one.
    ("QueryMainPrice.response.COM_PRO_PRICE", "kind"),
    ("QueryAttachPrice.response.INOUT_COM_PRO_PRICE", "kind"),
    ("QueryBasicFeePrice.response.COM_PRO_PRICE", "kind"),
    ("QuerySettleMonthControl.response.COM_SETTLE_CONTROL", "kind"),
    ("QueryLadderPopulation.response.COM_LAD_POPUL", "kind"),
    ("QueryAdjustRatio.response.COM_ADJUST_RAT", "kind"),
    ("QueryApprovalRatio.response.COM_APPR_DEMAND", "kind"),
];

struct Contract {
    pool: DescriptorPool,
    differences: Vec<String>,
    decided: BTreeSet<(String, &'static str)>,
}

impl Contract {
    fn new() -> Self {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        Self { pool, differences: Vec::new(), decided: BTreeSet::new() }
    }

    fn differ(&mut self, place: &str, what: &'static str, words: String) {
        if DECIDED.contains(&(place, what)) {
            self.decided.insert((place.to_owned(), what));
        } else {
            self.differences.push(format!("{place}: {what}: {words}"));
        }
    }

    fn method(&self, path: &str) -> Option<MethodDescriptor> {
        let route = self.pool.get_extension_by_name("communal.contract.v1.route").unwrap();
        self.pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()).find(|method| {
            let options = method.options();
            options.has_extension(&route)
                && options
                    .get_extension(&route)
                    .as_message()
                    .and_then(|r| r.get_field_by_name("path").map(|p| p.as_str() == Some(path)))
                    .unwrap_or_default()
        })
    }

    /// A method with a route has a contract file, so that nothing is served unchecked.
    fn every_route_is_documented(&mut self, package: &str, documented: &[Value]) {
        let route = self.pool.get_extension_by_name("communal.contract.v1.route").unwrap();
        let paths: BTreeSet<_> = documented.iter().map(|contract| contract["path"].as_str().unwrap()).collect();
        let methods = self.pool.services().flat_map(|s| s.methods().collect::<Vec<_>>());
        let ours = methods.filter(|m| m.full_name().starts_with(package) && m.options().has_extension(&route));
        for method in ours.collect::<Vec<_>>() {
            let options = method.options();
            let rules = options.get_extension(&route);
            let path = rules.as_message().unwrap().get_field_by_name("path").unwrap().as_str().unwrap().to_owned();
            if !paths.contains(path.as_str()) {
                self.differ(method.name(), "undocumented", format!("{path} has no file in contracts"));
            }
        }
    }

    fn rules(&self, field: &FieldDescriptor) -> Option<DynamicMessage> {
        let rules = self.pool.get_extension_by_name("communal.contract.v1.field").unwrap();
        let options = field.options();
        options.has_extension(&rules).then(|| options.get_extension(&rules).as_message().unwrap().clone())
    }

    fn number(rules: &DynamicMessage, name: &str) -> u64 {
        rules.get_field_by_name(name).unwrap().as_u32().unwrap().into()
    }

    /// The fields of a message in the order of declaration, those of an inline message among them.
    fn declared(&self, message: &MessageDescriptor) -> Vec<FieldDescriptor> {
        // By number, which is the order of declaration.
        let says = |field: &FieldDescriptor, rule: &str| {
            self.rules(field).is_some_and(|rules| rules.get_field_by_name(rule).unwrap().as_bool().unwrap())
        };
        let keys = |field: FieldDescriptor| match field {
            inline if says(&inline, "inline") => self.declared(&message_of(&inline)),
            // No document has it.
            own if says(&own, "grpc_only") => Vec::new(),
            field => vec![field],
        };
        message.fields().flat_map(keys).collect()
    }

    /// Documented fields against declared ones, in order.
    fn fields(&mut self, place: &str, documented: &[Value], message: &MessageDescriptor, is_request: bool) {
        let declared = self.declared(message);
        let mut position = 0;
        for field in documented {
            let name = field["name"].as_str().unwrap();
            let here = format!("{place}.{name}");
            let Some(found) = declared.iter().position(|d| d.json_name() == name) else {
                self.differ(&here, "absent", "not in the .proto".into());
                continue;
            };
            if found < position {
                self.differ(&here, "order", format!("declared at {found}"));
            }
            position = found;
            self.field(&here, field, &declared[found].clone(), is_request);
        }
        for extra in declared {
            if !documented.iter().any(|f| f["name"] == extra.json_name()) {
                self.differ(&format!("{place}.{}", extra.json_name()), "undocumented", "not in the document".into());
            }
        }
    }

    fn field(&mut self, here: &str, documented: &Value, declared: &FieldDescriptor, is_request: bool) {
        let Some(rules) = self.rules(declared) else {
            self.differ(here, "rules", "has no contract option".into());
            return;
        };
        let kind = declared.kind();
        let documented_type = documented["type"].as_str().unwrap_or_default();
        let is_decimal = rules.has_field_by_name("scale");
        let fits = match documented_type {
            "String" => matches!(kind, Kind::String | Kind::Enum(_)) && !is_decimal,
            "Number" => matches!(kind, Kind::Int32 | Kind::Int64) || is_decimal,
            "Integer" => matches!(kind, Kind::Int32),
            "BigDecimal" => is_decimal,
            _ => true,
        };
        if !fits {
            self.differ(here, "type", format!("{documented_type} against {kind:?}"));
        }
        if !is_request {
            return;
        }
        let required = rules.get_field_by_name("required").unwrap().as_bool().unwrap();
        if documented["required"].as_bool().unwrap() != required {
            self.differ(here, "required", format!("declared as {required}"));
        }
        let text = documented["message_if_missing"].as_str().unwrap_or_default();
        if required && rules.get_field_by_name("missing_text").unwrap().as_str() != Some(text) {
            self.differ(here, "missing text", text.to_owned());
        }
        let length = documented["length"].as_u64().or_else(|| documented["max_length"].as_u64()).unwrap_or_default();
        let is_date = rules.get_field_by_name("format").unwrap().as_enum_number().is_some_and(|f| f == 1 || f == 2);
        // A code is shorter than any length by being one of a list; a date by being a date.
        let is_bounded_otherwise = matches!(kind, Kind::Enum(_)) || is_date;
        let looser = here.ends_with(".computingFormula"); // also takes the formula's text
        if length > 0 && !is_bounded_otherwise && !looser && Self::number(&rules, "length") != length {
            self.differ(here, "length", format!("{length} documented"));
        }
        if let (true, Some(scale)) = (is_decimal, documented["scale"].as_u64())
            && Self::number(&rules, "scale") != scale
        {
            self.differ(here, "scale", format!("{scale} documented"));
        }
        if let (Kind::Enum(codes), Some(documented)) = (kind, documented["codes"].as_object()) {
            self.codes(here, documented.keys(), &codes);
        }
    }

    /// Every documented code is a code or an alias of the enum.
    fn codes<'c>(
        &mut self,
        here: &str,
        documented: impl Iterator<Item = &'c String>,
        codes: &prost_reflect::EnumDescriptor,
    ) {
        let extension = self.pool.get_extension_by_name("communal.contract.v1.code").unwrap();
        let mut known = BTreeSet::new();
        for value in codes.values().filter(|v| v.options().has_extension(&extension)) {
            let options = value.options();
            let rules = options.get_extension(&extension);
            let rules = rules.as_message().unwrap();
            known.insert(rules.get_field_by_name("code").unwrap().as_str().unwrap().to_owned());
            let alias = rules.get_field_by_name("alias").unwrap();
            known.extend(alias.as_list().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()));
        }
        for code in documented.filter(|c| !known.contains(*c)).collect::<Vec<_>>() {
            self.differ(here, "code", format!("{code} is not known"));
        }
    }

    fn finish(self) {
        assert!(self.differences.is_empty(), "the .proto differs from the documents:\n{}", self.differences.join("\n"));
    }
}

fn contracts(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap()).collect()
}

fn message_of(field: &FieldDescriptor) -> MessageDescriptor {
    match field.kind() {
        Kind::Message(message) => message,
        other => panic!("{} is {other:?}", field.full_name()),
    }
}

#[test]
fn every_epeis_interface_is_declared_as_documented() {
    let mut contract = Contract::new();
    compare_epeis(&mut contract);
    contract.finish();
}

fn compare_epeis(contract: &mut Contract) {
    let interfaces = contracts("epeis");
    contract.every_route_is_documented("communal.billing.", &interfaces);
    for interface in &interfaces {
        let name = interface["interface"].as_str().unwrap();
        let Some(method) = contract.method(interface["path"].as_str().unwrap()) else {
            contract.differ(name, "absent", "no method has its route".into());
            continue;
        };
        assert_eq!(method.name(), name);
        for (side, message) in [("request", method.input()), ("response", method.output())] {
            let blocks = interface[side].as_object().unwrap();
            for (block, documented) in blocks.iter().filter(|(block, _)| *block != "SYS_HEAD") {
                let place = format!("{name}.{side}.{block}");
                let Some(field) = message.fields().find(|f| f.json_name() == block) else {
                    contract.differ(&place, "absent", "no such block".into());
                    continue;
                };
                if field.is_list() != (documented["kind"] == "array") {
                    contract.differ(&place, "kind", documented["kind"].to_string());
                }
                let fields = documented["fields"].as_array().unwrap();
                contract.fields(&place, fields, &message_of(&field), side == "request");
            }
            for field in contract.declared(&message).iter().filter(|f| !blocks.contains_key(f.json_name())) {
                contract.differ(&format!("{name}.{side}.{}", field.json_name()), "undocumented", String::new());
            }
        }
    }
}

#[test]
fn every_hc_command_is_declared_as_documented() {
    let mut contract = Contract::new();
    compare_hc(&mut contract);
    contract.finish();
}

#[test]
fn every_decision_is_still_a_difference() {
    let mut contract = Contract::new();
    compare_epeis(&mut contract);
    compare_hc(&mut contract);
    let used: BTreeSet<_> = contract.decided.iter().map(|(place, what)| (place.as_str(), *what)).collect();
    for decided in DECIDED {
        assert!(used.contains(decided), "{decided:?} is decided and does not differ");
    }
}

fn compare_hc(contract: &mut Contract) {
    let commands = contracts("hc");
    contract.every_route_is_documented("communal.community.", &commands);
    for command in &commands {
        let name = command["service_code"].as_str().unwrap();
        let Some(method) = contract.method(command["path"].as_str().unwrap()) else {
            contract.differ(name, "absent", "no method has its route".into());
            continue;
        };
        contract.fields(name, command["request"].as_array().unwrap(), &method.input(), true);
        if let Some(Value::Object(aliases)) = command.get("aliases_in_documents") {
            for (field, aliases) in aliases.iter().filter(|(field, a)| a.is_object() && *field != "computingFormula") {
                let field = method.input().fields().find(|f| f.json_name() == field);
                if let Some(Kind::Enum(codes)) = field.as_ref().map(FieldDescriptor::kind) {
                    contract.codes(&format!("{name} alias"), aliases.as_object().unwrap().keys(), &codes);
                }
            }
        }
        if let Some(row) =
            command["response"]["keys"].as_object().and_then(|keys| keys.get("feeConfigs")?[0].as_object())
        {
            let list = method.output().fields().find(|f| f.json_name() == "feeConfigs").unwrap();
            let declared = contract.declared(&message_of(&list));
            let declared: Vec<_> = declared.iter().map(|f| f.json_name().to_owned()).collect();
            let documented: Vec<_> = row.keys().cloned().collect();
            assert_eq!(declared, documented, "{name}: keys of a row, in order");
        }
    }
}
