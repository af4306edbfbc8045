//! What lines name beside themselves, and what is known of it: companies and their roles, stores, packages.
//!
//! Each name is looked up once in an import. A name that is not registered is a fault of its line, unless
//! the batch declares it: an old system had stores and packages that this one never knew.

use std::collections::{BTreeSet, HashMap};

use communal_kit::identity::TenantKind;
use communal_proto::billing::v1::fields::receivable_line as fields;
use communal_proto::billing::v1::{ImportBatch, ReceivableLine};
use communal_proto::{Checker, Fault};

/// A name within its company.
pub type OfCompany = (String, String);

/// What is known of the names of lines.
#[derive(Clone, Debug, Default)]
pub struct References {
    companies: HashMap<String, Company>,
}

/// What is known of a company.
#[derive(Clone, Debug, Default)]
struct Company {
    /// Whether its registration was looked up.
    asked: bool,
    /// Its kind; `None` if it is not registered.
    kind: Option<TenantKind>,
    stores: HashMap<String, bool>,
    packages: HashMap<String, Package>,
}

/// What is known of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Package {
    Unknown,
    Declared,
    /// In the area of this network company.
    Registered(String),
}

/// Names that are still to be looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Companies.
    pub companies: BTreeSet<String>,
    /// Stores.
    pub stores: BTreeSet<OfCompany>,
    /// Packages of retail companies.
    pub packages: BTreeSet<OfCompany>,
}

impl Asked {
    /// Returns true if everything is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.companies.is_empty() && self.stores.is_empty() && self.packages.is_empty()
    }
}

/// Those of the names that are registered.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// Companies and their kinds.
    pub companies: Vec<(String, TenantKind)>,
    /// Stores.
    pub stores: Vec<OfCompany>,
    /// Packages, each with its network company.
    pub packages: Vec<(OfCompany, String)>,
}

impl References {
    /// Begins with what a batch declares.
    #[must_use]
    pub fn of(batch: &ImportBatch) -> Self {
        let mut this = Self::default();
        for store in &batch.stores {
            this.company(&store.company_id).stores.insert(store.store_id.clone(), true);
        }
        for package in &batch.packages {
            this.company(&package.retail_company_id).packages.insert(package.package_id.clone(), Package::Declared);
        }
        this
    }

    fn company(&mut self, id: &str) -> &mut Company {
        self.companies.entry(id.to_owned()).or_default()
    }

    /// Returns the names of lines that were not looked up yet.
    #[must_use]
    pub fn unknown(&self, lines: &[ReceivableLine]) -> Asked {
        let mut asked = Asked::default();
        for line in lines {
            for id in [&line.network_company_id, &line.retail_company_id] {
                if !self.companies.get(id).is_some_and(|company| company.asked) {
                    asked.companies.insert(id.clone());
                }
            }
            for (company, store) in stores(line) {
                if !store.is_empty() && !self.companies.get(company).is_some_and(|c| c.stores.contains_key(store)) {
                    asked.stores.insert((company.to_owned(), store.to_owned()));
                }
            }
            let (company, package) = (&line.retail_company_id, &line.package_id);
            if !self.companies.get(company).is_some_and(|c| c.packages.contains_key(package)) {
                asked.packages.insert((company.clone(), package.clone()));
            }
        }
        asked
    }

    /// Takes what was found of the names that were asked for.
    pub fn learn(&mut self, asked: Asked, found: Registered) {
        for id in asked.companies {
            self.company(&id).asked = true;
        }
        for (id, kind) in found.companies {
            self.company(&id).kind = Some(kind);
        }
        for (company, store) in asked.stores {
            self.company(&company).stores.insert(store, false);
        }
        for (company, store) in found.stores {
            self.company(&company).stores.insert(store, true);
        }
        for (company, package) in asked.packages {
            self.company(&company).packages.insert(package, Package::Unknown);
        }
        for ((company, package), network_company) in found.packages {
            self.company(&company).packages.insert(package, Package::Registered(network_company));
        }
    }

    /// Checks what a line names. An empty name is no fault here: where it is required, its field says so.
    pub fn check(&self, line: &ReceivableLine, checker: &mut Checker) {
        let network = self.companies.get(&line.network_company_id);
        let retail = self.companies.get(&line.retail_company_id);
        let kind = |company: Option<&Company>| company.and_then(|company| company.kind);
        if !line.network_company_id.is_empty() && kind(network) != Some(TenantKind::NetworkCompany) {
            checker.push(Fault::rule(fields::NETWORK_COMPANY_ID, "is no network company", "不是已登记的管网公司"));
        }
        // At the guaranteed price the network company sells itself.
        let sells_itself = line.retail_company_id == line.network_company_id;
        if !line.retail_company_id.is_empty() && !sells_itself && kind(retail) != Some(TenantKind::RetailCompany) {
            checker.push(Fault::rule(fields::RETAIL_COMPANY_ID, "is no retail company", "不是已登记的销售公司"));
        }
        for (field, (company, store)) in
            [fields::NETWORK_STORE_ID, fields::RETAIL_STORE_ID].into_iter().zip(stores(line))
        {
            let known = self.companies.get(company).and_then(|c| c.stores.get(store)).is_some_and(|known| *known);
            if !company.is_empty() && !store.is_empty() && !known {
                let english = "is no store of its company, and the batch does not declare it";
                checker.push(Fault::rule(field, english, "营业网点未登记，批次中也未声明"));
            }
        }
        if line.retail_company_id.is_empty() || line.package_id.is_empty() {
            return;
        }
        match retail.and_then(|company| company.packages.get(&line.package_id)) {
            Some(Package::Declared) => {}
            Some(Package::Registered(network_company_id)) if *network_company_id == line.network_company_id => {}
            Some(Package::Registered(_)) => {
                let english = "is a package in the area of another network company";
                checker.push(Fault::rule(fields::PACKAGE_ID, english, "套餐不属于该管网公司"));
            }
            Some(Package::Unknown) | None => {
                let english = "is no package of the retail company, and the batch does not declare it";
                checker.push(Fault::rule(fields::PACKAGE_ID, english, "套餐未登记，批次中也未声明"));
            }
        }
    }
}

/// The stores of a line with their companies, in the order of the fields.
fn stores(line: &ReceivableLine) -> [(&str, &str); 2] {
    [(&line.network_company_id, &line.network_store_id), (&line.retail_company_id, &line.retail_store_id)]
}

#[cfg(test)]
mod tests {
    use communal_proto::billing::v1::{ForeignPackage, ForeignStore};

    use super::*;

    fn line(network: &str, retail: &str) -> ReceivableLine {
        ReceivableLine {
            network_company_id: network.into(),
            retail_company_id: retail.into(),
            retail_store_id: "H1".into(),
            package_id: "P1".into(),
            ..ReceivableLine::default()
        }
    }

    /// N1 and N2 are network companies; S1 is a retail company with a store H1, and a package P1 in the area of N1.
    fn learned(lines: &[ReceivableLine], declared: &ImportBatch) -> References {
        let mut references = References::of(declared);
        let asked = references.unknown(lines);
        let companies =
            [("N1", TenantKind::NetworkCompany), ("N2", TenantKind::NetworkCompany), ("S1", TenantKind::RetailCompany)];
        let companies = companies.into_iter().filter(|(id, _)| asked.companies.contains(*id));
        let of = |id: &str| ("S1".to_owned(), id.to_owned());
        let found = Registered {
            companies: companies.map(|(id, kind)| (id.to_owned(), kind)).collect(),
            stores: asked.stores.iter().filter(|store| **store == of("H1")).cloned().collect(),
            packages: asked.packages.iter().filter(|p| **p == of("P1")).map(|p| (p.clone(), "N1".to_owned())).collect(),
        };
        references.learn(asked, found);
        references
    }

    fn faults(line: &ReceivableLine, declared: &ImportBatch) -> Vec<String> {
        let references = learned(std::slice::from_ref(line), declared);
        assert!(references.unknown(std::slice::from_ref(line)).is_empty(), "each name is asked for once");
        let mut checker = Checker::default();
        references.check(line, &mut checker);
        checker.into_faults().into_iter().map(|fault| fault.field.to_string()).collect()
    }

    #[test]
    fn each_company_has_its_role() {
        let none = ImportBatch::default();
        let cases: [(&str, &str, &[&str]); 6] = [
            ("N1", "S1", &[]),
            ("S1", "S1", &["NETWORK_CO_DID", "CHARGE_PACK_DID"]),
            ("S2", "S1", &["NETWORK_CO_DID", "CHARGE_PACK_DID"]),
            ("N2", "S1", &["CHARGE_PACK_DID"]),
            ("N1", "N2", &["RETAIL_CO_DID", "RET_STORES_AID", "CHARGE_PACK_DID"]),
            ("N1", "N1", &["RET_STORES_AID", "CHARGE_PACK_DID"]),
        ];
        for (network, retail, expected) in cases {
            assert_eq!(faults(&line(network, retail), &none), expected, "{network} {retail}");
        }
    }

    #[test]
    fn what_is_not_registered_is_declared_or_a_fault() {
        let foreign = ReceivableLine { retail_store_id: "old".into(), package_id: "old".into(), ..line("N1", "S1") };
        assert_eq!(faults(&foreign, &ImportBatch::default()), ["RET_STORES_AID", "CHARGE_PACK_DID"]);
        let declared = ImportBatch {
            stores: vec![ForeignStore { company_id: "S1".into(), store_id: "old".into() }],
            packages: vec![ForeignPackage { retail_company_id: "S1".into(), package_id: "old".into() }],
            ..ImportBatch::default()
        };
        assert_eq!(faults(&foreign, &declared), [""; 0]);
        let of_another = ReceivableLine { retail_company_id: "N1".into(), ..foreign };
        assert_eq!(faults(&of_another, &declared), ["RET_STORES_AID", "CHARGE_PACK_DID"], "of its company alone");
    }
}
