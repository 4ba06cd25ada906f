//! Draws from what is believed about the variants.

use crate::moments::Moments;

/// What is believed about the mean of a variant; larger draws are better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Belief {
    /// A rate: `sign` −1 where low rates are good.
    Beta { ones: f64, zeros: f64, sign: f64 },
    /// A mean with unknown variance (normal-inverse-gamma).
    Normal { mean: f64, kappa: f64, alpha: f64, beta: f64, sign: f64 },
}

impl Belief {
    pub fn beta(ones: f64, zeros: f64, sign: f64) -> Self {
        Self::Beta { ones, zeros, sign }
    }

    /// From a variant's values. Before them stands one unit's worth of the pooled values of all
    /// variants.
    pub fn normal(of: &Moments, pooled: &Moments, sign: f64) -> Self {
        let (prior, spread) = (pooled.mean, pooled.variance());
        let off = of.mean - prior;
        let kappa = 1.0 + of.n;
        Self::Normal {
            mean: (prior + of.n * of.mean) / kappa,
            kappa,
            alpha: 1.0 + of.n / 2.0,
            beta: spread + 0.5 * of.squares() + 0.5 * of.n * off * off / kappa,
            sign,
        }
    }

    fn draw(&self, random: &mut dyn FnMut() -> u64) -> f64 {
        match *self {
            Self::Beta { ones, zeros, sign } => {
                let (one, zero) = (gamma(ones, random), gamma(zeros, random));
                sign * one / (one + zero)
            }
            Self::Normal { mean, kappa, alpha, beta, sign } => {
                let variance = beta / gamma(alpha, random);
                sign * (mean + (variance / kappa).sqrt() * normal(random))
            }
        }
    }
}

/// How often each is the best one, in `draws` draws.
pub fn best_shares(beliefs: &[Belief], draws: u32, random: &mut dyn FnMut() -> u64) -> Vec<f64> {
    let mut wins = vec![0u32; beliefs.len()];
    for _ in 0..draws {
        let drawn = beliefs.iter().map(|belief| belief.draw(random));
        let best = drawn.enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
        if let Some((place, _)) = best {
            wins[place] += 1;
        }
    }
    wins.iter().map(|won| f64::from(*won) / f64::from(draws)).collect()
}

/// Above 0 and below 1.
fn uniform(random: &mut dyn FnMut() -> u64) -> f64 {
    // 53 bits and a half: neither end is reached.
    ((random() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Marsaglia's polar method.
fn normal(random: &mut dyn FnMut() -> u64) -> f64 {
    loop {
        let (x, y) = (2.0 * uniform(random) - 1.0, 2.0 * uniform(random) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

/// Marsaglia and Tsang's method, for shapes of at least 1.
fn gamma(shape: f64, random: &mut dyn FnMut() -> u64) -> f64 {
    let d = shape.max(1.0) - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let cube = (1.0 + c * x).powi(3);
        if cube > 0.0 && uniform(random).ln() < 0.5 * x * x + d - d * cube + d * cube.ln() {
            return d * cube;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::*;

    fn moments(count: u32, draw: &mut dyn FnMut() -> f64) -> (f64, f64) {
        let mut of = Moments::default();
        (0..count).for_each(|_| of.add(draw()));
        (of.mean, of.variance())
    }

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut random = || rng.random::<u64>();
        let (mean, variance) = moments(200_000, &mut || normal(&mut random));
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        for shape in [1.0, 2.5, 400.0] {
            let (mean, variance) = moments(200_000, &mut || gamma(shape, &mut random));
            assert!((mean / shape - 1.0).abs() < 0.02, "{shape}: {mean}");
            assert!((variance / shape - 1.0).abs() < 0.03, "{shape}: {variance}");
        }
        let beta = Belief::beta(3.0, 7.0, 1.0);
        let (mean, variance) = moments(200_000, &mut || beta.draw(&mut random));
        assert!((mean - 0.3).abs() < 0.003 && (variance / 0.019_09 - 1.0).abs() < 0.03);
        let mut values = Moments::default();
        (0..1000).for_each(|n| values.add(f64::from(n % 10)));
        let belief = Belief::normal(&values, &values, -1.0);
        let (mean, variance) = moments(200_000, &mut || belief.draw(&mut random));
        assert!((mean + 4.5).abs() < 0.01, "{mean}");
        assert!((variance / (values.variance() / 1001.0) - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn the_better_is_the_best_as_often_as_it_should_be() {
        let mut rng = SmallRng::seed_from_u64(8);
        let mut random = || rng.random::<u64>();
        let two = |a, b| [Belief::beta(a, 10.0, 1.0), Belief::beta(b, 10.0, 1.0)];
        let even = best_shares(&two(5.0, 5.0), 20_000, &mut random);
        assert!((even[0] - 0.5).abs() < 0.02 && (even[0] + even[1] - 1.0).abs() < 1e-9);
        assert!(best_shares(&two(40.0, 2.0), 10_000, &mut random)[0] > 0.99);
        // P(Beta(2,1) > Beta(1,1)) is 2/3.
        let known = [Belief::beta(2.0, 1.0, 1.0), Belief::beta(1.0, 1.0, 1.0)];
        assert!((best_shares(&known, 40_000, &mut random)[0] - 2.0 / 3.0).abs() < 0.012);
    }
}
