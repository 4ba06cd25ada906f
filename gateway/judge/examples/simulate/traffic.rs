//! Synthetic traffic: that of the simulation in `docs/rollouts.md`, seeded.
//!
//! Log-normal answer times (median 40 ms, σ 0.5) of which 2 % take eight times as long, errors
//! at a base rate, one coin per request.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weighbridge_config::rollout::Percent;

/// Requests per second: 100 000 an hour.
pub const PER_S: f64 = 100_000.0 / 3600.0;

/// What happens to both variants alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// Slow common noise of answer times: ±15 %, remembered for 30 s.
    Noise,
    /// Noise; from minute 20 five minutes of threefold answer times with two of 5 % errors.
    Burst,
    /// Noise; from minute 20 every request fails, for a minute.
    Outage,
    /// Within the hour answer times double and errors become five times as frequent.
    Drift,
}

/// What is wrong with the canary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// Its error rate, if not that of stable.
    pub err: Option<f64>,
    /// Its answer times, times this.
    pub scale: f64,
    /// The share of its answers that take ten times as long.
    pub tail: f64,
    /// When it begins.
    pub from_s: f64,
}

/// Nothing.
pub const NO_FAULT: Fault = Fault { err: None, scale: 1.0, tail: 0.0, from_s: 0.0 };

/// One request and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub at_s: f64,
    pub is_canary: bool,
    /// Whether its answer time is compared.
    pub is_compared: bool,
    pub is_err: bool,
    pub latency_ns: u64,
}

/// An endless stream of requests.
#[derive(Debug)]
pub struct Traffic {
    random: StdRng,
    weather: Weather,
    base_err: f64,
    fault: Fault,
    n: u64,
    second: u64,
    noise: f64,
    spare: Option<f64>,
}

impl Traffic {
    pub fn new(seed: u64, weather: Weather, base_err: f64, fault: Fault) -> Self {
        let mut traffic = Self {
            random: StdRng::seed_from_u64(seed),
            weather,
            base_err,
            fault,
            n: 0,
            second: 0,
            noise: 0.0,
            spare: None,
        };
        traffic.noise = traffic.normal() * NOISE;
        traffic
    }

    /// The next request, of which the canary gets a share of `weight`, and stable's control
    /// `control` of the others.
    pub fn next(&mut self, weight: Percent, control: f64) -> Request {
        let at_s = self.n as f64 / PER_S;
        self.n += 1;
        while self.second < at_s as u64 {
            self.second += 1;
            let keep = (-1.0_f64 / 30.0).exp();
            self.noise = keep * self.noise + self.normal() * NOISE * (1.0 - keep * keep).sqrt();
        }
        let is_canary = self.random.random::<f64>() < weight.share();
        let is_compared = is_canary || self.random.random::<f64>() < control;
        let (slower, base_err) = self.common(at_s);
        let is_faulty = is_canary && at_s >= self.fault.from_s;
        let fault = if is_faulty { self.fault } else { NO_FAULT };
        let err = fault.err.unwrap_or(base_err);
        let mut ms = slower * self.calm_ms() * fault.scale;
        if fault.tail > 0.0 && self.random.random::<f64>() < fault.tail {
            ms *= 10.0;
        }
        let is_err = err > 0.0 && self.random.random::<f64>() < err;
        Request { at_s, is_canary, is_compared, is_err, latency_ns: (ms * 1e6) as u64 }
    }

    /// An answer time of a day without weather, in milliseconds.
    pub fn calm_ms(&mut self) -> f64 {
        let ms = 40.0 * (0.5 * self.normal()).exp();
        if self.random.random::<f64>() < 0.02 { 8.0 * ms } else { ms }
    }

    /// The factor on all answer times and the error rate of both variants.
    fn common(&self, at_s: f64) -> (f64, f64) {
        let noise = self.noise.exp();
        let within = |from: f64, to: f64| (from..to).contains(&at_s);
        match self.weather {
            Weather::Calm => (1.0, self.base_err),
            Weather::Noise => (noise, self.base_err),
            Weather::Burst => {
                let slower = if within(1200.0, 1500.0) { 3.0 } else { 1.0 };
                (noise * slower, if within(1300.0, 1420.0) { 0.05 } else { self.base_err })
            }
            Weather::Outage => (noise, if within(1200.0, 1260.0) { 1.0 } else { self.base_err }),
            Weather::Drift => {
                let hours = at_s / 3600.0;
                (2.0_f64.powf(hours), self.base_err * (1.0 + 4.0 * hours))
            }
        }
    }

    /// The polar method; every second number is the other half of a pair.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let x = 2.0 * self.random.random::<f64>() - 1.0;
            let y = 2.0 * self.random.random::<f64>() - 1.0;
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }
}

/// The standard deviation of common noise, in logarithms.
const NOISE: f64 = 0.15;
