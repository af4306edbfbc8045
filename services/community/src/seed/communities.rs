//! The demo communities: their rooms with owners, cars, contracts, and fee items that between them use
//! every formula. The second one is in bill mode: its periodic items make bill rules.

use communal_proto::community::v1::{
    BillType, CarState, DecimalPlace, FeeFlag, FeeType, MeterReading, MeterType, PayerObject, PayerObjectType,
    PaymentTiming, RoomAttribute, RoomState, Rounding, SaveFeeConfigRequest,
};

const BUILDINGS: i32 = 10;
const UNITS: i32 = 2;
const STOREYS: i32 = 15;
const ROOMS_OF_A_STOREY: i32 = 4;
const CARS: usize = 240;
const CONTRACTS: usize = 12;
/// Rooms of a community in bill mode that are billed. The others are left to be charged by hand.
const BILLED: usize = 120;

/// A community.
pub(super) struct Community {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) objects: Vec<PayerObject>,
    pub(super) bill_mode: bool,
    pub(super) items: Vec<DemoItem>,
}

/// A fee item, and what is charged by it.
pub(super) struct DemoItem {
    pub(super) config_id: String,
    pub(super) request: SaveFeeConfigRequest,
    pub(super) fees_from: &'static str,
    /// The amount of formulas that keep one on the fee; ignored by others.
    pub(super) amount: &'static str,
    pub(super) readings: Vec<MeterReading>,
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
            let (rooms, bill_mode) = (rooms(id), id == "10002");
            let (cars, contracts) = (cars(id, &rooms), contracts(id, &rooms));
            let items = items(id, &rooms, &cars, &contracts, bill_mode);
            Community { id, name, objects: [rooms, cars, contracts].concat(), bill_mode, items }
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
        community_area: "120000.00".into(),
        building_area: "12000.00".into(),
        unit_area: "6000.00".into(),
        attributes: vec![RoomAttribute { name: "1".into(), value: format!("{}.5", room % 3) }],
        room_state: RoomState::MovedIn.into(),
        room_num: format!("{building}-{unit}-{storey}{room:02}"),
        floor_id: format!("F{building:02}"),
        unit_id: format!("U{building:02}{unit:02}"),
        ..owned_by(community, storey * 100 + building * 10 + room)
    }
}

/// What a payer object has of its owner. Names and phone numbers are those of nobody.
fn owned_by(community: &str, number: i32) -> PayerObject {
    const NAMES: [&str; 5] = ["赵演示", "钱演示", "孙演示", "李演示", "周演示"];
    let name = NAMES[usize::try_from(number).unwrap_or_default() % NAMES.len()];
    PayerObject {
        owner_id: format!("{community}W{number:04}"),
        owner_name: format!("{name}{number}"),
        owner_tel: format!("1000000{number:04}"),
        ..PayerObject::default()
    }
}

/// Cars of the owners of the first rooms.
fn cars(community: &str, rooms: &[PayerObject]) -> Vec<PayerObject> {
    let car = |(number, room): (usize, &PayerObject)| PayerObject {
        payer_obj_id: format!("{community}C{number:04}"),
        payer_obj_type: PayerObjectType::Car.into(),
        name: format!("京A{number:05}"),
        built_up_area: "12.50".into(),
        community_area: "120000.00".into(),
        owner_id: room.owner_id.clone(),
        owner_name: room.owner_name.clone(),
        owner_tel: room.owner_tel.clone(),
        car_park_id: format!("P{}", number % 2 + 1),
        car_state: if number.is_multiple_of(3) { CarState::Sold } else { CarState::Leased }.into(),
        ..PayerObject::default()
    };
    rooms.iter().take(CARS).enumerate().map(car).collect()
}

/// Contracts over two rooms each, of the last building.
fn contracts(community: &str, rooms: &[PayerObject]) -> Vec<PayerObject> {
    let contract = |(number, rooms): (usize, &[PayerObject])| PayerObject {
        payer_obj_id: format!("{community}K{number:02}"),
        payer_obj_type: PayerObjectType::Contract.into(),
        name: format!("租赁合同{number:02}"),
        room_ids: rooms.iter().map(|room| room.payer_obj_id.clone()).collect(),
        ..owned_by(community, 9_000 + i32::try_from(number).unwrap_or_default())
    };
    rooms.rchunks(2).take(CONTRACTS).enumerate().map(contract).collect()
}

/// The reading of a meter in each room for an item.
fn readings(config_id: &str, rooms: &[String]) -> Vec<MeterReading> {
    let reading = |(number, room): (usize, &String)| MeterReading {
        payer_obj_id: room.clone(),
        config_id: config_id.to_owned(),
        meter_type: MeterType::Water.into(),
        pre_degrees: "100.00".into(),
        cur_degrees: format!("{}.50", 105 + number % 20),
        pre_reading_time: "2025-12-01 09:00:00".into(),
        cur_reading_time: "2026-01-01 09:00:00".into(),
        price: "0.52".into(),
    };
    rooms.iter().enumerate().map(reading).collect()
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
};

const ONE_OFF: Kind = Kind { flag: FeeFlag::OneOff, ..PERIODIC };

/// The kinds of fee: every formula but that of temporary cars, by which nothing is charged. The first is the
/// item that the example of the update document changes.
const KINDS: [Kind; 12] = [
    Kind { name: "物业费", price: "2.20", ..PERIODIC },
    Kind { name: "停车费", fee_type: FeeType::Parking, formula: "2002", additional: "150.00", ..PERIODIC },
    Kind { name: "公摊费", fee_type: FeeType::Share, formula: "8008", ..PERIODIC },
    Kind { name: "电梯费", fee_type: FeeType::Service, formula: "7007", formula_text: "R*0.3+X*10", ..PERIODIC },
    Kind { name: "房屋租金", fee_type: FeeType::Rent, formula: "1101", cycle: "3", ..PERIODIC },
    Kind { name: "商铺租金", fee_type: FeeType::Rent, formula: "1102", ..PERIODIC },
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

fn items(
    community: &str,
    rooms: &[PayerObject],
    cars: &[PayerObject],
    contracts: &[PayerObject],
    bill_mode: bool,
) -> Vec<DemoItem> {
    let ids = |objects: &[PayerObject]| objects.iter().map(|object| object.payer_obj_id.clone()).collect::<Vec<_>>();
    let (rooms, cars, contracts) = (ids(rooms), ids(cars), ids(contracts));
    let objects = |kind: &Kind| match (kind.fee_type, kind.formula) {
        (FeeType::Parking, _) => &cars,
        (_, "1102") => &contracts,
        _ => &rooms,
    };
    (1..).zip(&KINDS).map(|(number, kind)| item(community, number, kind, objects(kind), bill_mode)).collect()
}

fn item(community: &str, number: u32, kind: &Kind, objects: &[String], bill_mode: bool) -> DemoItem {
    let by_rules = bill_mode && kind.flag != FeeFlag::OneOff && kind.formula != "1102";
    let config_id: String = match (community, number) {
        ("10001", 1) => "123456".into(),
        _ => format!("92{community}{number:011}"),
    };
    DemoItem {
        readings: if matches!(kind.formula, "5005" | "9009") { readings(&config_id, objects) } else { Vec::new() },
        config_id,
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
        charged: if by_rules { Vec::new() } else { vec![objects.to_vec()] },
        billed: if by_rules { objects.iter().take(BILLED).cloned().collect() } else { Vec::new() },
    }
}
