//! The demo communities: their rooms and fee items.

use communal_proto::community::v1::{
    BillType, DecimalPlace, FeeFlag, FeeType, PayerObject, PayerObjectType, PaymentTiming, Rounding,
    SaveFeeConfigRequest,
};

const BUILDINGS: i32 = 10;
const UNITS: i32 = 2;
const STOREYS: i32 = 15;
const ROOMS_OF_A_STOREY: i32 = 4;

/// A community.
pub(super) struct Community {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) rooms: Vec<PayerObject>,
    pub(super) items: Vec<DemoItem>,
}

/// A fee item, and what is charged by it.
pub(super) struct DemoItem {
    pub(super) config_id: String,
    pub(super) request: SaveFeeConfigRequest,
    pub(super) fees_from: &'static str,
    /// The amount of formulas that keep one on the fee; ignored by others.
    pub(super) amount: &'static str,
    /// The payer objects of each batch of fees.
    pub(super) charged: Vec<Vec<String>>,
    /// The payer objects that get a bill rule.
    pub(super) billed: Vec<String>,
}

impl DemoItem {
    /// Batches of fees and bill rules.
    pub(super) fn uses(&self) -> usize {
        self.charged.len() + usize::from(!self.billed.is_empty())
    }
}

pub(super) fn all() -> Vec<Community> {
    [("10001", "阳光花园"), ("10002", "翠湖雅苑")]
        .map(|(id, name)| {
            let rooms = rooms(id);
            let items = items(id, &rooms);
            Community { id, name, rooms, items }
        })
        .into()
}

fn rooms(community: &str) -> Vec<PayerObject> {
    let mut rooms = Vec::new();
    for building in 1..=BUILDINGS {
        for unit in 1..=UNITS {
            for storey in 1..=STOREYS {
                for room in 1..=ROOMS_OF_A_STOREY {
                    rooms.push(the_room(community, building, unit, storey, room));
                }
            }
        }
    }
    rooms
}

/// A room. Areas differ by building and place, the coefficient and the rent by storey; all by plain
/// arithmetic, so that an amount can be checked by hand.
fn the_room(community: &str, building: i32, unit: i32, storey: i32, room: i32) -> PayerObject {
    let whole_area = 60 + 12 * room + 2 * building;
    let cents_of_area = 25 * (storey % 4);
    PayerObject {
        payer_obj_id: format!("{community}{building:02}{unit:02}{storey:02}{room:02}"),
        payer_obj_type: PayerObjectType::Room.into(),
        name: format!("{building}号楼{unit}单元{storey}{room:02}室"),
        built_up_area: format!("{whole_area}.{cents_of_area:02}"),
        room_area: format!("{}.50", whole_area - 15),
        fee_coefficient: if storey > 10 { "1.20" } else { "1.00" }.into(),
        layer: storey,
        room_rent: format!("{}.00", 2_000 + 50 * storey + 100 * room),
        ..PayerObject::default()
    }
}

/// A kind of fee, with a name that a newcomer recognises.
struct Kind {
    name: &'static str,
    fee_type: FeeType,
    flag: FeeFlag,
    formula: &'static str,
    formula_text: &'static str,
    price: &'static str,
    additional: &'static str,
    cycle: &'static str,
    payment: PaymentTiming,
    bill_rules: bool,
}

const PERIODIC: Kind = Kind {
    name: "",
    fee_type: FeeType::Property,
    flag: FeeFlag::Periodic,
    formula: "1001",
    formula_text: "",
    price: "0.00",
    additional: "0.00",
    cycle: "1",
    payment: PaymentTiming::Prepaid,
    bill_rules: false,
};

const ONE_OFF: Kind = Kind { flag: FeeFlag::OneOff, ..PERIODIC };

/// The kinds of fee. The first is the item that the example of the update document changes; it has
/// no bill rules, because they would forbid some changes that people try with it.
const KINDS: [Kind; 12] = [
    Kind { name: "物业费", price: "2.20", ..PERIODIC },
    Kind { name: "停车费", fee_type: FeeType::Parking, formula: "2002", additional: "150.00", ..PERIODIC },
    Kind { name: "公摊费", fee_type: FeeType::Share, price: "0.35", bill_rules: true, ..PERIODIC },
    Kind {
        name: "电梯费",
        fee_type: FeeType::Service,
        formula: "7007",
        formula_text: "R*0.3+X*10",
        bill_rules: true,
        ..PERIODIC
    },
    Kind {
        name: "垃圾清运费",
        fee_type: FeeType::Service,
        formula: "2002",
        additional: "8.00",
        cycle: "12",
        ..PERIODIC
    },
    Kind { name: "房屋租金", fee_type: FeeType::Rent, formula: "1101", cycle: "3", ..PERIODIC },
    Kind { name: "装修押金", fee_type: FeeType::Deposit, formula: "2002", additional: "2000.00", ..ONE_OFF },
    Kind { name: "取暖费", fee_type: FeeType::Heating, formula: "3003", price: "30.00", ..ONE_OFF },
    Kind {
        name: "水费",
        fee_type: FeeType::Water,
        formula: "5005",
        price: "3.85",
        payment: PaymentTiming::Postpaid,
        ..ONE_OFF
    },
    Kind {
        name: "电费", fee_type: FeeType::Electricity, formula: "9009", payment: PaymentTiming::Postpaid, ..ONE_OFF
    },
    Kind {
        name: "煤气费",
        fee_type: FeeType::Gas,
        formula: "6006",
        price: "2.61",
        payment: PaymentTiming::Postpaid,
        ..ONE_OFF
    },
    Kind { name: "专项维修费", fee_type: FeeType::Repair, flag: FeeFlag::Indirect, formula: "4004", ..PERIODIC },
];

fn items(community: &str, rooms: &[PayerObject]) -> Vec<DemoItem> {
    let ids: Vec<String> = rooms.iter().map(|room| room.payer_obj_id.clone()).collect();
    (1..).zip(&KINDS).map(|(number, kind)| item(community, number, kind, &ids)).collect()
}

fn item(community: &str, number: u32, kind: &Kind, rooms: &[String]) -> DemoItem {
    // Every second room has two cars.
    let second_cars =
        if kind.fee_type == FeeType::Parking { vec![rooms.iter().step_by(2).cloned().collect()] } else { Vec::new() };
    DemoItem {
        config_id: match (community, number) {
            ("10001", 1) => "123456".into(),
            _ => format!("92{community}{number:011}"),
        },
        request: SaveFeeConfigRequest {
            fee_type_cd: kind.fee_type.into(),
            fee_name: kind.name.into(),
            fee_flag: kind.flag.into(),
            start_time: "2023-01-01".into(),
            end_time: "2050-12-31".into(),
            computing_formula: kind.formula.into(),
            square_price: kind.price.into(),
            additional_amount: kind.additional.into(),
            community_id: community.to_owned(),
            bill_type: BillType::Monthly.into(),
            payment_cd: kind.payment.into(),
            payment_cycle: kind.cycle.into(),
            computing_formula_text: kind.formula_text.into(),
            scale: Rounding::HalfUp.into(),
            decimal_place: DecimalPlace::Two.into(),
            ..SaveFeeConfigRequest::default()
        },
        fees_from: "2024-01-01",
        amount: "80.00",
        charged: std::iter::once(rooms.to_vec()).chain(second_cars).collect(),
        billed: if kind.bill_rules { rooms.to_vec() } else { Vec::new() },
    }
}
