//! The figures of a comparison, and the table that shows them.

use std::fmt;

use serde::Serialize;

/// One server at one number of connections in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub server: &'static str,
    pub connections: usize,
    pub round: usize,
    pub answers: u64,
    pub errors: u64,
    pub requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_seconds_per_1000: f64,
    pub rss_mib: f64,
    pub mean_batch: Option<f64>,
    pub generator_us_per_request: f64,
}

/// Median, least and greatest over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self { median, min, max })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.min, self.max)
    }
}

/// One server at one number of connections: medians over the rounds, errors added up.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub server: &'static str,
    pub requests_per_second: Spread,
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub cpu_seconds_per_1000: Spread,
    pub rss_mib: Spread,
    pub mean_batch: Option<Spread>,
    pub generator_us_per_request: Spread,
    pub errors: u64,
}

/// Gateway over bare, round by round.
#[derive(Debug, Clone, Serialize)]
pub struct Ratios {
    pub requests_per_second: Spread,
    pub p50: Spread,
    pub p99: Spread,
    pub cpu: Spread,
    /// Gateway less bare.
    pub p50_difference_us: Spread,
}

/// All that was measured at one number of connections.
#[derive(Debug, Clone, Serialize)]
pub struct Level {
    pub connections: usize,
    pub lines: Vec<Line>,
    pub gateway_over_bare: Option<Ratios>,
}

/// How a start went.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    pub server: &'static str,
    /// `first`, or `again` on the data folder of the first.
    pub start: &'static str,
    pub ready_ms: f64,
    /// After one answered request.
    pub rss_mib: f64,
}

/// The whole comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub request_bytes: usize,
    pub rounds: usize,
    pub seconds: f64,
    pub starts: Vec<Start>,
    pub levels: Vec<Level>,
    /// Why the mean batch is missing, if it is.
    pub batches_missing: Option<String>,
    /// The figures are of the rounds before Ctrl-C.
    pub interrupted: bool,
    /// Every single measurement, for whoever wants another summary.
    pub samples: Vec<Sample>,
}

impl Level {
    /// Summarises the samples taken at `connections`.
    pub fn of(connections: usize, samples: &[Sample]) -> Self {
        let here = || samples.iter().filter(move |sample| sample.connections == connections);
        let of = |server| here().filter(move |sample| sample.server == server);
        let lines = ["bare", "gateway"].into_iter().filter_map(|server| {
            let over = |figure: fn(&Sample) -> f64| Spread::of(of(server).map(figure));
            Some(Line {
                server,
                requests_per_second: over(|sample| sample.requests_per_second)?,
                p50_us: over(|sample| sample.p50_us)?,
                p99_us: over(|sample| sample.p99_us)?,
                cpu_seconds_per_1000: over(|sample| sample.cpu_seconds_per_1000)?,
                rss_mib: over(|sample| sample.rss_mib)?,
                mean_batch: Spread::of(of(server).filter_map(|sample| sample.mean_batch)),
                generator_us_per_request: over(|sample| sample.generator_us_per_request)?,
                errors: of(server).map(|sample| sample.errors).sum(),
            })
        });
        let pairs: Vec<(&Sample, &Sample)> = of("bare")
            .filter_map(|bare| Some((bare, of("gateway").find(|g| g.round == bare.round)?)))
            .collect();
        Self { connections, lines: lines.collect(), gateway_over_bare: Ratios::of(&pairs) }
    }
}

impl Ratios {
    fn of(pairs: &[(&Sample, &Sample)]) -> Option<Self> {
        let ratio = |figure: fn(&Sample) -> f64| {
            let each = pairs.iter().map(|(bare, gateway)| figure(gateway) / figure(bare));
            Spread::of(each.filter(|ratio| ratio.is_finite()))
        };
        Some(Self {
            requests_per_second: ratio(|sample| sample.requests_per_second)?,
            p50: ratio(|sample| sample.p50_us)?,
            p99: ratio(|sample| sample.p99_us)?,
            cpu: ratio(|sample| sample.cpu_seconds_per_1000)?,
            p50_difference_us: Spread::of(
                pairs.iter().map(|(bare, gateway)| gateway.p50_us - bare.p50_us),
            )?,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "one row of 512 floats as JSON ({} bytes a request), {} rounds of {} s each, servers \
             in turn; medians\n",
            self.request_bytes, self.rounds, self.seconds
        )?;
        writeln!(
            f,
            "{:>5}  {:<8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>6} {:>11} {:>6}",
            "conns",
            "server",
            "req/s",
            "p50 us",
            "p99 us",
            "CPU s/1k",
            "RSS MiB",
            "batch",
            "gen us/req",
            "errors"
        )?;
        for level in &self.levels {
            for line in &level.lines {
                write_line(f, level.connections, line)?;
            }
            if let Some(ratios) = &level.gateway_over_bare {
                writeln!(
                    f,
                    "       gateway/bare, median (min-max): req/s {}, p50 {}, p99 {}, CPU {}; \
                     p50 {:+.0} us",
                    ratios.requests_per_second,
                    ratios.p50,
                    ratios.p99,
                    ratios.cpu,
                    ratios.p50_difference_us.median
                )?;
            }
        }
        writeln!(f)?;
        for start in &self.starts {
            writeln!(
                f,
                "start  {:<8} {:<6} ready after {:>7.1} ms, {:>6.1} MiB after one request",
                start.server, start.start, start.ready_ms, start.rss_mib
            )?;
        }
        match &self.batches_missing {
            Some(reason) => writeln!(f, "batch sizes are missing: {reason}"),
            None => Ok(()),
        }
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, connections: usize, line: &Line) -> fmt::Result {
    let batch = line.mean_batch.map_or_else(|| "-".to_owned(), |b| format!("{:.1}", b.median));
    writeln!(
        f,
        "{connections:>5}  {:<8} {:>9.0} {:>9.1} {:>9.1} {:>9.4} {:>8.1} {batch:>6} {:>11.2} {:>6}",
        line.server,
        line.requests_per_second.median,
        line.p50_us.median,
        line.p99_us.median,
        line.cpu_seconds_per_1000.median,
        line.rss_mib.median,
        line.generator_us_per_request.median,
        line.errors
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(server: &'static str, round: usize, rate: f64, p50_us: f64) -> Sample {
        Sample {
            server,
            connections: 16,
            round,
            answers: 1,
            errors: 1,
            requests_per_second: rate,
            p50_us,
            p99_us: p50_us * 2.0,
            cpu_seconds_per_1000: 0.1,
            rss_mib: 80.0,
            mean_batch: (server == "gateway").then_some(4.0),
            generator_us_per_request: 8.0,
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let samples = [
            sample("bare", 0, 100.0, 10.0),
            sample("gateway", 0, 200.0, 30.0),
            sample("gateway", 1, 100.0, 15.0),
            sample("bare", 1, 200.0, 10.0),
            sample("bare", 2, 100.0, 20.0),
            sample("gateway", 2, 120.0, 10.0),
        ];
        let level = Level::of(16, &samples);
        assert_eq!(level.lines.len(), 2);
        assert_eq!(level.lines[0].errors, 3);
        assert!(level.lines[0].mean_batch.is_none() && level.lines[1].mean_batch.is_some());
        let ratios = level.gateway_over_bare.unwrap();
        assert_eq!(ratios.requests_per_second, Spread { median: 1.2, min: 0.5, max: 2.0 });
        assert_eq!(ratios.p50_difference_us.median, 5.0);
        let alone = Level::of(16, &samples[..1]);
        assert!(alone.gateway_over_bare.is_none());
        assert!(Level::of(1, &samples).lines.is_empty());
    }

    #[test]
    fn the_median_of_an_even_number_is_between() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([]), None);
    }
}
