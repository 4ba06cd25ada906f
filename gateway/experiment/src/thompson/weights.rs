//! From how often each variant is the best one to weights in basis points.

use weighbridge_config::split::POINTS;

/// The weights closest to `best` (shares that sum to 1) that give none less than `floor`, half
/// or more than double of what it has. `points` are those in force; they sum to 10,000 and none
/// is below the floor.
pub fn next(points: &[u32], best: &[f64], floor: u32) -> Vec<u32> {
    let bounds: Vec<(f64, f64)> = points
        .iter()
        .map(|had| {
            let least = floor.min(*had).max(had.div_ceil(2));
            (f64::from(least), f64::from((had * 2).min(POINTS)))
        })
        .collect();
    let wanted = |shift: f64| -> Vec<f64> {
        let moved = best.iter().map(|share| share * f64::from(POINTS) + shift);
        moved.zip(&bounds).map(|(to, (least, most))| to.clamp(*least, *most)).collect()
    };
    // The sum grows with the shift: from the sum of the lower bounds, at most the whole, to
    // that of the upper ones, at least the whole.
    let (mut low, mut high) = (-2.0 * f64::from(POINTS), 2.0 * f64::from(POINTS));
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        match wanted(middle).iter().sum::<f64>() < f64::from(POINTS) {
            true => low = middle,
            false => high = middle,
        }
    }
    whole(&wanted(high), &bounds)
}

/// Rounds down, then gives what is left to those with the largest rest that may take it.
fn whole(exact: &[f64], bounds: &[(f64, f64)]) -> Vec<u32> {
    let mut points: Vec<u32> = exact.iter().map(|to| to.floor() as u32).collect();
    let mut left = POINTS.saturating_sub(points.iter().sum());
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()));
    while left > 0 {
        let before = left;
        for place in &order {
            if left > 0 && f64::from(points[*place]) + 1.0 <= bounds[*place].1 {
                points[*place] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_follow_the_best_within_bounds() {
        assert_eq!(next(&[5000, 5000], &[0.3, 0.7], 500), [3000, 7000]);
        assert_eq!(next(&[5000, 5000], &[0.0, 1.0], 500), [2500, 7500]);
        assert_eq!(next(&[2500, 7500], &[0.0, 1.0], 500), [1250, 8750]);
        assert_eq!(next(&[700, 9300], &[0.0, 1.0], 500), [500, 9500]);
        assert_eq!(next(&[500, 9500], &[1.0, 0.0], 500), [1000, 9000]);
        assert_eq!(next(&[3334, 3333, 3333], &[0.0, 0.0, 1.0], 500), [1667, 1667, 6666]);
    }

    proptest! {
        #[test]
        fn they_are_a_whole_and_keep_their_bounds(
            parts in prop::collection::vec(0u32..1000, 2..=8),
            best in prop::collection::vec(0u32..1000, 8),
            floor in 100u32..=1250,
        ) {
            let count = parts.len() as u32;
            let floor = floor.min(POINTS / count);
            let room = POINTS - floor * count;
            let sum = parts.iter().sum::<u32>().max(1);
            let mut points: Vec<u32> = parts.iter().map(|p| floor + p * room / sum).collect();
            points[0] += POINTS - points.iter().sum::<u32>();
            let all = best[..parts.len()].iter().sum::<u32>().max(1);
            let best: Vec<f64> =
                best[..parts.len()].iter().map(|b| f64::from(*b) / f64::from(all)).collect();
            let to = next(&points, &best, floor);
            prop_assert_eq!(to.iter().sum::<u32>(), POINTS);
            for (to, had) in to.iter().zip(&points) {
                prop_assert!(*to >= floor && *to * 2 >= *had && *to <= had * 2, "{had} to {to}");
            }
        }
    }
}
