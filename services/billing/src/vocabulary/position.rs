//! The position of a requested price row in the matrix of its shape: season × period of the day × tier.
//!
//! Rows of packages and of the catalogue have the same positions. What a row leaves out is neutral; what contradicts
//! the shape is an objection.

use communal_proto::billing::v1::fields::sale_package_price_row as fields;
use communal_proto::{Coded as _, FieldName};

use super::tariff::{Ladder, Period, Season, Shape, Tier, TierLimits};

/// The position and limits that a row gives. All price rows have the same names for them.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Season.
    pub season: Season,
    /// Period of the day.
    pub period: Period,
    /// Tier.
    pub tier: Tier,
    /// The quantities that the tier covers.
    pub limits: TierLimits,
}

impl Given {
    /// Returns the position within a shape. `object` takes a field, and why it does not fit, in English and in
    /// Chinese; after an objection the position means nothing.
    pub fn position(self, shape: &Shape, object: &mut impl FnMut(FieldName, &str, String)) -> (Season, Period, Tier) {
        let season = match self.season {
            Season::Unspecified if shape.seasonal => {
                let chinese = "分枯计价时丰枯类型不能为空".into();
                object(fields::SEASON, "is required in prices by season", chinese);
                Season::Flat
            }
            Season::Unspecified => Season::Flat,
            season if shape.seasons().contains(&season) => season,
            season => {
                let chinese = "不分枯计价时丰枯类型只能为平或空".into();
                object(fields::SEASON, "does not fit prices without seasons", chinese);
                season
            }
        };
        let period = match (self.period, shape.periods()) {
            (Period::Unspecified, [only]) => *only,
            (Period::Unspecified, _) => {
                let chinese = "分时计价时分时时段类型不能为空".into();
                object(fields::PERIOD, "is required with a time of use", chinese);
                Period::Unspecified
            }
            (period, fitting) if fitting.contains(&period) => period,
            (period, fitting) => {
                let titles: Vec<_> = fitting.iter().map(|p| p.title()).collect();
                let chinese = format!("分时时段与{}不符，应为{}", shape.time_of_use.title(), titles.join("、"));
                object(fields::PERIOD, "is no period of the time of use", chinese);
                period
            }
        };
        let tier = match self.tier {
            Tier::Unspecified if shape.ladder == Ladder::None => Tier::First,
            Tier::Unspecified => {
                object(fields::TIER, "is required with a ladder", "有阶梯时阶梯级次类型不能为空".into());
                Tier::Unspecified
            }
            tier if (tier as i32) <= shape.tiers => tier,
            tier => {
                let chinese = format!("阶梯级次超过阶梯数{}", shape.tiers);
                object(fields::TIER, "is beyond the number of tiers", chinese);
                tier
            }
        };
        if !self.limits.are_forward() {
            let chinese = "阶梯上限值应大于阶梯下限值（0表示无上限）".into();
            object(fields::UPPER_LIMIT, "is not above the lower limit (0 means without end)", chinese);
        } else if shape.ladder == Ladder::None && self.limits != TierLimits::default() {
            let chinese = "无阶梯时阶梯上下限值应为0".into();
            object(fields::UPPER_LIMIT, "and the lower limit are 0 without a ladder", chinese);
        }
        (season, period, tier)
    }
}
