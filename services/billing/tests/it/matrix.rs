//! Price matrices: complete ones, and the gaps of incomplete ones.

use communal_billing::vocabulary::matrix::{Gap, gaps};
use communal_billing::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Shape, Tier, TierLimits, TimeOfUse, Utility, YesNo,
    periods,
};

fn shape(seasonal: bool, time_of_use: TimeOfUse, ladder: Ladder, tiers: i32) -> Shape {
    Shape {
        account_item: "居民生活".into(),
        utility: Utility::Electricity,
        agreement_price: YesNo::No,
        seasonal,
        heat_basis: HeatBasis::Unspecified,
        property_basis: PropertyBasis::Unspecified,
        time_of_use,
        ladder,
        tiers,
    }
}

/// The complete matrix of a shape, its tiers 100 units each.
fn complete(shape: &Shape) -> Vec<(Dimensions, TierLimits)> {
    let mut rows = Vec::new();
    for &season in shape.seasons() {
        for &period in shape.periods() {
            for number in 1..=shape.tiers {
                let upper = if number == shape.tiers { 0 } else { i64::from(number) * 100 };
                rows.push((
                    Dimensions {
                        account_item: shape.account_item.clone(),
                        agreement_price: shape.agreement_price,
                        season,
                        heat_basis: HeatBasis::None,
                        property_basis: shape.property_basis,
                        time_of_use: shape.time_of_use,
                        period,
                        ladder: shape.ladder,
                        tier: Tier::try_from(number).unwrap(),
                    },
                    TierLimits { lower: i64::from(number - 1) * 100, upper },
                ));
            }
        }
    }
    rows
}

#[test]
fn a_matrix_is_complete_only_with_every_season_period_and_tier() {
    let kinds =
        [(TimeOfUse::One, 1), (TimeOfUse::Two, 2), (TimeOfUse::Three, 3), (TimeOfUse::Four, 4), (TimeOfUse::Five, 5)];
    for (kind, count) in kinds {
        assert_eq!(periods(kind).len(), count);
        for seasonal in [false, true] {
            for (ladder, tiers) in [(Ladder::None, 1), (Ladder::Year, 3), (Ladder::Month, 5)] {
                let shape = shape(seasonal, kind, ladder, tiers);
                let rows = complete(&shape);
                assert_eq!(gaps(&shape, &rows), [], "{kind:?} {seasonal} {ladder:?}");
                for missing in 0..rows.len() {
                    let mut rows = rows.clone();
                    let (dimensions, _) = rows.remove(missing);
                    // Without its one row a matrix is empty; the package's own account item is missing then.
                    assert!(gaps(&shape, &rows).contains(&Gap::Missing(dimensions)), "without row {missing}");
                }
            }
        }
    }
}

#[test]
fn tiers_touch_begin_at_zero_and_only_the_last_has_no_end() {
    let shape = shape(false, TimeOfUse::One, Ladder::Year, 3);
    let with = |index: usize, limits: TierLimits| {
        let mut rows = complete(&shape);
        rows.get_mut(index).unwrap().1 = limits;
        gaps(&shape, &rows)
    };
    let limits = |lower, upper| TierLimits { lower, upper };
    assert!(matches!(with(0, limits(1, 100)).as_slice(), [Gap::Lower(_, 0)]), "first from 0");
    assert!(matches!(with(1, limits(101, 200)).as_slice(), [Gap::Lower(_, 100)]), "a gap of one unit");
    assert!(matches!(with(1, limits(99, 200)).as_slice(), [Gap::Lower(_, 100)]), "an overlap of one unit");
    assert!(matches!(with(2, limits(200, 300)).as_slice(), [Gap::Upper(_)]), "last without end");
    assert!(with(1, limits(100, 0)).iter().any(|gap| matches!(gap, Gap::Upper(_))), "no end in the middle");
}

#[test]
fn prices_that_the_package_does_not_have_any_more_are_strays() {
    let before = shape(true, TimeOfUse::Two, Ladder::None, 1);
    let now = shape(false, TimeOfUse::Two, Ladder::None, 1);
    let gaps = gaps(&now, &complete(&before));
    assert_eq!(gaps.len(), 4);
    assert!(gaps.iter().all(|gap| matches!(gap, Gap::Stray(d) if d.season != Season::Flat)));
}

#[test]
fn all_periods_of_a_season_have_the_same_limits_and_seasons_may_differ() {
    let shape = shape(true, TimeOfUse::Two, Ladder::Year, 2);
    let with = |changed: &dyn Fn(&Dimensions) -> bool| {
        let rows = complete(&shape).into_iter().map(|(d, limits)| match limits {
            TierLimits { lower: 0, upper: 100 } if changed(&d) => (d, TierLimits { lower: 0, upper: 150 }),
            TierLimits { lower: 100, upper: 0 } if changed(&d) => (d, TierLimits { lower: 150, upper: 0 }),
            limits => (d, limits),
        });
        gaps(&shape, &rows.collect::<Vec<_>>())
    };
    let first = TierLimits { lower: 0, upper: 100 };
    let uneven = with(&|d| d.season == Season::Flat && d.period == Period::Valley);
    let places: Vec<_> = uneven.iter().map(|gap| (gap.dimensions().season, gap.dimensions().tier)).collect();
    assert_eq!(places, [(Season::Flat, Tier::First), (Season::Flat, Tier::Second)]);
    assert!(matches!(&uneven[0], Gap::Uneven(d, limits) if d.period == Period::Valley && *limits == first));
    assert_eq!(with(&|d| d.season == Season::Flat), [], "another season may have other limits");
}

#[test]
fn prices_of_another_account_item_are_named() {
    let shape = shape(false, TimeOfUse::One, Ladder::None, 1);
    let mut rows = complete(&shape);
    let foreign = Dimensions { account_item: "商业".into(), ..rows[0].0.clone() };
    rows.push((foreign.clone(), TierLimits::default()));
    assert_eq!(gaps(&shape, &rows), [Gap::ForeignItem(foreign)]);
}

#[test]
fn a_charge_by_area_and_metered_heat_has_both_parts() {
    let shape = Shape { heat_basis: HeatBasis::AreaAndHeat, ..shape(false, TimeOfUse::Two, Ladder::Year, 2) };
    let part = |basis: HeatBasis| {
        let part = shape.part(basis);
        let rows = complete(&part).into_iter().map(|(d, limits)| (Dimensions { heat_basis: basis, ..d }, limits));
        rows.collect::<Vec<_>>()
    };
    let (area, metered) = (part(HeatBasis::Area), part(HeatBasis::Heat));
    assert_eq!((area.len(), metered.len()), (1, 4), "a ladder and a time of use are of what is metered");
    let missing = |rows: &[(Dimensions, TierLimits)]| {
        let gaps = gaps(&shape, rows);
        assert!(gaps.iter().all(|gap| matches!(gap, Gap::Missing(_))), "{gaps:?}");
        gaps.iter().map(|gap| gap.dimensions().heat_basis).collect::<Vec<_>>()
    };
    assert_eq!(missing(&[area.clone(), metered.clone()].concat()), []);
    assert_eq!(missing(&area), [HeatBasis::Heat; 4]);
    assert_eq!(missing(&metered), [HeatBasis::Area]);
}
