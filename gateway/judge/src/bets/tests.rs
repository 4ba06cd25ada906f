use proptest::prelude::*;
use weighbridge_config::rollout::{Percent, RateMargins, RolloutSpec};

use super::*;
use crate::counts::Observed;
use crate::stream::Stream;

const LIVE: [Stream; 7] = [
    Stream::Err,
    Stream::Rank,
    Stream::P95,
    Stream::P99,
    Stream::ClientErrors,
    Stream::Slo,
    Stream::Reward,
];

/// E[factor] of each bet, if scores come with these shares.
fn expected(factors: &Factors, canary: &[f64], stable: &[f64], share: f64) -> Vec<f64> {
    let mean = |shares: &[f64], logs: &[f64]| -> f64 {
        shares.iter().zip(logs).map(|(p, log)| p * log.exp()).sum()
    };
    let bet = |bet: &Pair<Vec<f64>>| {
        share * mean(canary, &bet.canary) + (1.0 - share) * mean(stable, &bet.stable)
    };
    factors.bets.iter().map(bet).collect()
}

fn mean(shares: &[f64], scores: &[f64]) -> f64 {
    shares.iter().zip(scores).map(|(p, z)| p * z).sum()
}

/// Shares of scores whose mean is `wanted`: those given, drawn towards the best or the worst.
fn with_mean(shares: &[f64], scores: &[f64], wanted: f64) -> Option<Vec<f64>> {
    let (came, last) = (mean(shares, scores), scores.len() - 1);
    let end = if wanted < came { 0 } else { last };
    let part = (wanted - came) / (scores[end] - came);
    if !(0.0..=1.0).contains(&part) {
        return None;
    }
    let mut moved: Vec<f64> = shares.iter().map(|p| p * (1.0 - part)).collect();
    moved[end] += part;
    Some(moved)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// At the margin no bet of any stream is expected to win or to lose; within it, the bets of
    /// the test whose hypothesis holds are expected to lose.
    #[test]
    fn no_bet_is_expected_to_win_at_the_margin(
        stream in 0..LIVE.len(),
        points in 1..10_000_u32,
        raw in prop::collection::vec(0.001..1.0_f64, 9),
        others in prop::collection::vec(0.001..1.0_f64, 9),
        margin in prop_oneof![Just(0.0), Just(0.002), 0.0..0.5_f64],
        off in 0.0..0.3_f64,
    ) {
        let stream = LIVE[stream];
        let share = Percent::points(points).share();
        let (scores, centres) = (stream.scores(), stream.centres(Observed::Request));
        let of = |raw: &[f64]| -> Vec<f64> {
            let raw = &raw[..scores.len()];
            let sum: f64 = raw.iter().sum();
            raw.iter().map(|p| p / sum).collect()
        };
        let (stable, other) = (of(&raw), of(&others));
        let at = mean(&stable, scores) + margin;
        let rollback = Factors::rollback(centres, scores, margin, share);
        let promote = Factors::promote(centres, scores, margin, share);
        if let Some(canary) = with_mean(&other, scores, at) {
            for factors in [&rollback, &promote] {
                for e in expected(factors, &canary, &stable, share) {
                    prop_assert!((e - 1.0).abs() < 1e-9, "{stream:?} at {share}: {e}");
                }
            }
        }
        if let Some(better) = with_mean(&other, scores, at - off) {
            for e in expected(&rollback, &better, &stable, share) {
                prop_assert!(e < 1.0 + 1e-9);
            }
        }
        if let Some(worse) = with_mean(&other, scores, at + off) {
            for e in expected(&promote, &worse, &stable, share) {
                prop_assert!(e < 1.0 + 1e-9);
            }
        }
    }

    /// Pairs of the shadow stage need no coin, and every factor is finite: one request decides
    /// nothing for ever.
    #[test]
    fn no_factor_ruins_a_bet(
        stream in 0..LIVE.len(),
        points in 1..10_000_u32,
        margin in -0.999..0.5_f64,
    ) {
        let stream = LIVE[stream];
        let share = Percent::points(points).share();
        let (scores, centres) = (stream.scores(), stream.centres(Observed::Request));
        let all = [
            Factors::rollback(centres, scores, margin, share),
            Factors::promote(centres, scores, margin, share),
        ];
        for bet in all.iter().flat_map(|factors| &factors.bets) {
            prop_assert!(bet.canary.iter().chain(&bet.stable).all(|log| log.is_finite()));
        }
    }
}

#[test]
fn keys_bet_on_errors_only() {
    let centres = Stream::Err.centres(Observed::Key);
    let margin = Stream::Err.rollback_margin(&RolloutSpec::default(), Observed::Key);
    let factors = Factors::rollback(centres, Stream::Err.scores(), margin, 0.05);
    assert_eq!(factors.len(), 8);
    for bet in &factors.bets {
        assert_eq!(
            (bet.canary[0], bet.stable[0]),
            (0.0, 0.0),
            "a key without an error says nothing"
        );
    }
}

#[test]
fn shares_of_alpha_sum_to_one() {
    let margins = Some(RateMargins::default());
    for (shadow, client_errors) in [(0, None), (2000, None), (0, margins.clone()), (2000, margins)]
    {
        let mut spec = RolloutSpec { client_errors, ..RolloutSpec::default() };
        spec.shadow.requests = shadow;
        let live: f64 = Stream::judged(&spec).iter().map(|stream| stream.share(&spec)).sum();
        let shadow = if shadow > 0 { 2.0 * Stream::shadow_share(&spec) } else { 0.0 };
        assert!((live + shadow - 1.0).abs() < 1e-12, "{live} + {shadow}");
    }
}

#[test]
fn promotion_margins_follow_the_harm_budget() {
    let spec = RolloutSpec::default();
    let of = |stream: Stream| [0, 1, 2, 3].map(|step| stream.promote_margin(&spec, step));
    let same = |came: [f64; 4], wanted: [f64; 4]| {
        assert!(came.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{came:?}");
    };
    same(of(Stream::Err), [0.02, 0.005, 0.005, 0.005]);
    same(of(Stream::Rank), [0.1, 0.02, 0.01, 0.01]);
    same(of(Stream::P95), [0.1, 0.02, 0.01, 0.01]);
    same(of(Stream::P99), [0.1, 0.02, 0.01, 0.005]);
}
