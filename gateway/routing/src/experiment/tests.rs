use proptest::prelude::*;

use super::*;

fn table(id: &str, points: &[u32]) -> Assignment {
    Assignment::new(id, None, 0, Intervals::new(points).unwrap(), BTreeMap::new())
}

fn variant(table: &Assignment, unit: &str) -> usize {
    match table.place(Unit::Key(unit), None) {
        Place::Variant(place, Chosen::Unit) => place,
        other => panic!("{unit}: {other:?}"),
    }
}

/// The three points were computed with a SipHash-2-4 of another language when experiments
/// were made: a unit's variant never changes with a release.
#[test]
fn golden_points_never_change() {
    let golden = [
        ("ex-00000000000000a1", "checkout", "alice", [285, 4598, 3132]),
        ("ex-00000000000000a1", "checkout", "user-42", [3875, 4759, 5000]),
        ("ex-00000000000000b2", "search", "alice", [4194, 6763, 7555]),
        ("ex-00000000000000b2", "search", "Zoë Müller", [7331, 8307, 424]),
        ("ex-00000000000000b2", "l", "", [8003, 3590, 2361]),
    ];
    for (id, layer, unit, [variant, holdout, in_layer]) in golden {
        let own = |salt: String| point_of_key(&salt, unit.as_bytes());
        let points = [
            own(format!("experiment/{id}")),
            own(format!("holdout/{id}")),
            own(format!("layer/{layer}")),
        ];
        assert_eq!(points, [variant, holdout, in_layer], "{id} {layer} {unit}");
        // The table uses those points: cuts just before and behind each.
        let at = |points: &[u32]| self::variant(&table(id, points), unit);
        assert_eq!(at(&[variant, POINTS - variant]), 1);
        assert_eq!(at(&[variant + 1, POINTS - variant - 1]), 0);
        let both = || Intervals::new(&[5000, 5000]).unwrap();
        let held = |holdout| Assignment::new(id, None, holdout, both(), BTreeMap::new());
        assert_ne!(held(holdout).place(Unit::Key(unit), None), Place::Holdout);
        assert_eq!(held(holdout + 1).place(Unit::Key(unit), None), Place::Holdout);
        let slice = |from, share| {
            let layer = Some((layer, Slice { from, share }));
            Assignment::new(id, layer, 0, both(), BTreeMap::new()).place(Unit::Key(unit), None)
        };
        assert_ne!(slice(in_layer, 1), Place::Outside);
        assert_eq!(slice(in_layer + 1, POINTS), Place::Outside);
        assert_eq!(slice(0, in_layer), Place::Outside);
    }
}

#[test]
fn forced_beats_override_beats_layer_beats_holdout() {
    let intervals = Intervals::new(&[5000, 5000]).unwrap();
    let overrides = BTreeMap::from([("vip".to_owned(), 1)]);
    let nowhere = Some(("l", Slice { from: 0, share: 0 }));
    let outside = Assignment::new("e", nowhere, POINTS, intervals.clone(), overrides.clone());
    let place = |unit, forced| outside.place(unit, forced);
    assert_eq!(place(Unit::Key("vip"), Some(0)), Place::Variant(0, Chosen::Forced));
    assert_eq!(place(Unit::Key("vip"), None), Place::Variant(1, Chosen::Override));
    assert_eq!(place(Unit::Key("alice"), None), Place::Outside);
    assert_eq!(place(Unit::Missing(7), None), Place::Outside);
    let held = Assignment::new("e", None, POINTS, intervals, overrides);
    assert_eq!(held.place(Unit::Key("alice"), None), Place::Holdout);
    assert_eq!(held.place(Unit::Key("vip"), None), Place::Variant(1, Chosen::Override));
}

#[test]
fn a_request_without_a_unit_draws_its_variant() {
    let table = table("e", &[3000, 7000]);
    let mut seen = [0u32; 2];
    for coin in 0..10_000 {
        match table.place(Unit::Missing(coin), None) {
            Place::Variant(place, Chosen::Request) => seen[place] += 1,
            other => panic!("{other:?}"),
        }
    }
    // Binomial with standard deviation 46.
    assert!(seen[0].abs_diff(3000) < 230, "{seen:?}");
}

/// Were two of the points dependent, units of one variant of an experiment would not spread
/// over those of another by its weights.
#[test]
fn salts_make_independent_draws() {
    let (one, other) = (table("ex-1", &[5000, 5000]), table("ex-2", &[2000, 8000]));
    let held = Intervals::new(&[5000, 5000]).unwrap();
    let held = Assignment::new("ex-1", None, 2500, held, BTreeMap::new());
    let sliced = Intervals::new(&[5000, 5000]).unwrap();
    let slice = Some(("l", Slice { from: 0, share: 2500 }));
    let sliced = Assignment::new("ex-1", slice, 0, sliced, BTreeMap::new());
    let (mut both, mut in_holdout, mut in_layer) = (0u32, 0u32, 0u32);
    for n in 0..40_000 {
        let unit = format!("user-{n}");
        if variant(&one, &unit) == 0 {
            both += u32::from(variant(&other, &unit) == 0);
            in_holdout += u32::from(held.place(Unit::Key(&unit), None) == Place::Holdout);
            in_layer += u32::from(sliced.place(Unit::Key(&unit), None) != Place::Outside);
        }
    }
    // 40,000 times 0.5 times 0.2 or 0.25; five standard deviations are 300 and 335.
    assert!(both.abs_diff(4000) < 300, "{both}");
    assert!(in_holdout.abs_diff(5000) < 335, "{in_holdout}");
    assert!(in_layer.abs_diff(5000) < 335, "{in_layer}");
}

#[test]
fn free_places_of_a_layer_are_found() {
    let slice = |from, share| Slice { from, share };
    assert_eq!(Slice::first_free(2500, &[]), Some(slice(0, 2500)));
    let taken = [slice(6000, 1000), slice(0, 2500)];
    assert_eq!(Slice::first_free(3500, &taken), Some(slice(2500, 3500)));
    assert_eq!(Slice::first_free(3000, &taken), Some(slice(2500, 3000)));
    assert_eq!(Slice::first_free(3501, &taken), None);
    assert_eq!(Slice::first_free(POINTS, &[]), Some(slice(0, POINTS)));
    assert_eq!(Slice::first_free(1, &[slice(0, POINTS)]), None);
}

#[test]
fn weights_that_are_no_whole_are_refused() {
    assert_eq!(Intervals::new(&[5000, 4999]), Err(InvalidIntervals { sum: 9_999 }));
    let two = Intervals::new(&[5000, 5000]).unwrap();
    assert!(two.reweighted(&[10_000]).is_err());
    assert!(two.reweighted(&[6000, 6000]).is_err());
    assert!(Intervals::from_segments(&[(2, POINTS)], 2).is_err());
}

/// Weights of `variants` variants in basis points.
fn weights(variants: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..1000u32, variants).prop_map(|parts| {
        let sum: u32 = parts.iter().sum::<u32>().max(1);
        let mut points: Vec<u32> = parts.iter().map(|p| p * POINTS / sum).collect();
        let given: u32 = points.iter().sum();
        points[0] += POINTS - given;
        points
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn who_does_not_shrink_loses_nobody_and_the_fewest_move(
        changes in (2..=8usize).prop_flat_map(|n| prop::collection::vec(weights(n), 2..6)),
    ) {
        let mut now = Intervals::new(&changes[0]).unwrap();
        for wanted in &changes[1..] {
            let (had, next) = (now.points(), now.reweighted(wanted).unwrap());
            prop_assert_eq!(&next.points(), wanted);
            let mut moved = 0;
            for point in 0..POINTS {
                let (before, after) = (now.variant_at(point), next.variant_at(point));
                if before != after {
                    prop_assert!(wanted[before] < had[before], "{before} at {point}");
                    prop_assert!(wanted[after] > had[after], "{after} at {point}");
                    moved += 1;
                }
            }
            let gained: u32 = wanted.iter().zip(&had).map(|(w, h)| w.saturating_sub(*h)).sum();
            prop_assert_eq!(moved, gained);
            let segments = next.segments();
            prop_assert_eq!(&Intervals::from_segments(&segments, wanted.len()).unwrap(), &next);
            now = next;
        }
    }

    #[test]
    fn experiments_of_a_layer_never_share_a_unit(
        shares in prop::collection::vec(1..4000u32, 1..8),
        first_unit in any::<u32>(),
    ) {
        let mut taken: Vec<Slice> = Vec::new();
        for share in shares {
            taken.extend(Slice::first_free(share, &taken));
        }
        let tables: Vec<Assignment> = (0..).zip(&taken).map(|(n, slice): (u32, _)| {
            let both = Intervals::new(&[5000, 5000]).unwrap();
            Assignment::new(&format!("ex-{n}"), Some(("l", *slice)), 0, both, BTreeMap::new())
        }).collect();
        for n in 0..300 {
            let unit = format!("user-{}", u64::from(first_unit) + n);
            let within = tables.iter().filter(|t| t.place(Unit::Key(&unit), None) != Place::Outside);
            prop_assert!(within.count() <= 1);
        }
    }

    #[test]
    fn a_unit_in_the_layer_is_placed_as_without_it(unit in "[a-z0-9]{1,20}") {
        let both = || Intervals::new(&[5000, 5000]).unwrap();
        let whole = Some(("l", Slice { from: 0, share: POINTS }));
        let layered = Assignment::new("e", whole, 0, both(), BTreeMap::new());
        let free = Assignment::new("e", None, 0, both(), BTreeMap::new());
        prop_assert_eq!(layered.place(Unit::Key(&unit), None), free.place(Unit::Key(&unit), None));
    }
}
