//! The difference that one variant makes to another.
//!
//! Each unit contributes `X = (1[treatment]/π − 1[control]/π') (Y − m)`, where `π` and `π'` are
//! the probabilities with which units of its time get the two, and `m` is the mean of the pair's
//! units before it. Its expectation is the difference for that unit whatever `m` is and however
//! the probabilities change, so the running mean of `X` needs no constant weights; `m` takes
//! away the variance that the level of `Y` would bring.
//!
//! Two things are added to the bare formula of [`crate::interval`], both checked by simulation:
//!
//! * **Scale.** Its `ρ²` suits a variance near 1. The first units (the *pilot*) are left out of
//!   the interval and tell the scale by which `ρ²` is divided.
//! * **Guard.** A small variant that has seen few of the rare large values has a variance that
//!   is too small. The variance used is at least that of the pooled values, spread as the
//!   probabilities say.

use serde::{Deserialize, Serialize};

use crate::interval::{half_width, rho_squared};
use crate::moments::Moments;

/// Units that only tell level and scale.
const PILOT: u64 = 50;

/// A unit's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Valued {
    pub variant: usize,
    /// As in [`crate::Observation`].
    pub share: f64,
    pub value: f64,
}

/// The two variants that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub treatment: usize,
    pub control: usize,
}

/// How sure an interval is to be, and when it may be shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// The most that the probability of ever missing the effect may be.
    pub alpha: f64,
    pub n0: f64,
    /// Of each of the two variants, beyond the pilot.
    pub min_units: u64,
}

/// The difference treatment − control, in the metric's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentEffect))]
pub struct Effect {
    pub estimate: f64,
    pub lower: f64,
    pub upper: f64,
    /// The mean of the control, for a relative view.
    pub control_mean: f64,
    /// Units behind the interval, those of other variants included.
    pub units: u64,
}

/// Why there is no interval yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "waits_for", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = EffectUnready))]
pub enum Unready {
    /// Units beyond the pilot; the smaller of the two variants has so many.
    Units { has: u64, wants: u64 },
    /// All values so far are the same.
    Variation,
}

/// The effect on `values`, which stand in the order in which the units were exposed. `shares`
/// are the shares at the start, by variant.
pub fn effect(
    values: &[Valued],
    pair: Pair,
    shares: &[f64],
    demand: Demand,
) -> Result<Effect, Unready> {
    let in_pair = |v: &Valued| v.variant == pair.treatment || v.variant == pair.control;
    let mut past = Moments::default();
    let mut units = values.iter();
    let mut pilot = 0;
    // Ends where enough is known, which depends on nothing that comes later.
    while pilot < PILOT || past.squares() <= 0.0 {
        let Some(unit) = units.next() else {
            return Err(match pilot {
                pilot if pilot < PILOT => Unready::Units { has: 0, wants: demand.min_units },
                _ => Unready::Variation,
            });
        };
        if in_pair(unit) {
            past.add(unit.value);
            pilot += 1;
        }
    }
    let start = |variant: usize| shares.get(variant).copied().unwrap_or(1.0);
    let scale = past.variance() * (1.0 / start(pair.treatment) + 1.0 / start(pair.control));

    let (mut x, mut pooled) = (Moments::default(), Moments::default());
    let (mut treated, mut controlled) = (0u64, 0u64);
    let mut control_values = Moments::default();
    let mut inverse_squares = 0.0;
    for unit in units {
        if !in_pair(unit) {
            x.add(0.0);
            continue;
        }
        let inverse = 1.0 / unit.share;
        let is_treated = unit.variant == pair.treatment;
        let sign = if is_treated { inverse } else { -inverse };
        x.add(sign * (unit.value - past.mean));
        inverse_squares += inverse * inverse;
        past.add(unit.value);
        pooled.add(unit.value);
        match is_treated {
            true => treated += 1,
            false => {
                controlled += 1;
                control_values.add_weighted(unit.value, inverse);
            }
        }
    }
    let has = treated.min(controlled);
    if has < demand.min_units {
        return Err(Unready::Units { has, wants: demand.min_units });
    }
    let guard = pooled.variance() * inverse_squares / x.n;
    let variance = x.variance().max(guard);
    let rho_squared = rho_squared(demand.alpha, demand.n0) / scale;
    let half = half_width(x.n, variance, rho_squared, demand.alpha);
    Ok(Effect {
        estimate: x.mean,
        lower: x.mean - half,
        upper: x.mean + half,
        control_mean: control_values.mean,
        units: x.n as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand { alpha: 0.05, n0: 1000.0, min_units: 100 };
    const PAIR: Pair = Pair { treatment: 1, control: 0 };

    /// Units alternate; values are those of `value`.
    fn units(count: usize, value: impl Fn(usize) -> f64) -> Vec<Valued> {
        (0..count).map(|n| Valued { variant: n % 2, share: 0.5, value: value(n) }).collect()
    }

    #[test]
    fn the_estimate_is_the_difference_and_the_level_costs_nothing() {
        let noise = |n: usize| ((n * 7919) % 101) as f64 / 100.0;
        let at = |level: f64| {
            let values = units(20_000, |n| level + noise(n) + 0.1 * (n % 2) as f64);
            effect(&values, PAIR, &[0.5, 0.5], DEMAND).unwrap()
        };
        let (low, high) = (at(0.0), at(1e6));
        for effect in [low, high] {
            assert!((effect.estimate - 0.1).abs() < 0.005, "{effect:?}");
            assert!(effect.lower > 0.05 && effect.upper < 0.15, "{effect:?}");
            assert_eq!(effect.units, 20_000 - PILOT);
        }
        assert!((low.upper - low.lower - (high.upper - high.lower)).abs() < 1e-6);
        assert!((high.control_mean - 1e6 - 0.5).abs() < 0.01);
    }

    #[test]
    fn another_unit_of_measure_changes_the_numbers_only() {
        let values = units(4000, |n| ((n * 7919) % 101) as f64);
        let milli: Vec<Valued> =
            values.iter().map(|v| Valued { value: v.value * 1e-3, ..*v }).collect();
        let of = |values: &[Valued]| effect(values, PAIR, &[0.5, 0.5], DEMAND).unwrap();
        let (whole, milli) = (of(&values), of(&milli));
        assert!((whole.lower * 1e-3 - milli.lower).abs() < 1e-9);
        assert!((whole.upper * 1e-3 - milli.upper).abs() < 1e-9);
    }

    #[test]
    fn other_variants_are_no_part_of_a_pair() {
        let noise = |n: usize| ((n * 7919) % 101) as f64 / 100.0;
        let values: Vec<Valued> = (0..30_000)
            .map(|n| {
                let value = if n % 3 == 2 { 1e6 } else { noise(n) + (n % 3) as f64 * 0.5 };
                Valued { variant: n % 3, share: 1.0 / 3.0, value }
            })
            .collect();
        let effect = effect(&values, PAIR, &[1.0 / 3.0; 3], DEMAND).unwrap();
        assert!(effect.lower > 0.4 && effect.upper < 0.6, "{effect:?}");
    }

    #[test]
    fn nothing_is_shown_too_early() {
        let of = |values: &[Valued]| effect(values, PAIR, &[0.5, 0.5], DEMAND);
        let wants = 100;
        assert_eq!(of(&[]), Err(Unready::Units { has: 0, wants }));
        let noise = |n: usize| (n % 3) as f64;
        let few = units(PILOT as usize + 199, noise);
        assert_eq!(of(&few), Err(Unready::Units { has: 99, wants }));
        assert!(of(&units(PILOT as usize + 200, noise)).is_ok());
        assert_eq!(of(&units(1000, |_| 0.0)), Err(Unready::Variation));
        // The pilot goes on until something differs.
        let late = units(1000, |n| if n == 600 { 1.0 } else { 0.0 });
        assert!(of(&late).is_ok_and(|effect| effect.units == 399));
    }
}
