//! The line of one stream.

use std::fmt::{self, Display, Formatter};

use super::number::{Count, Evidence, percent, points};
use crate::assessment::{Assessment, Scores, StreamEvidence};
use crate::counts::Observed;
use crate::decide::Decision;
use crate::stream::Stream;
use crate::verdict::{AnswerTimes, Effect, Verdict};

pub(super) struct Line<'a> {
    pub(super) verdict: &'a Verdict,
    /// Of the stream.
    pub(super) place: usize,
}

/// What is counted.
pub(super) fn unit(seen: &Assessment) -> &'static str {
    match seen.observed {
        Observed::Request => "requests",
        Observed::Key => "keys",
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let of = &self.verdict.streams()[self.place];
        write!(f, "  {:<7} ", of.stream.word())?;
        self.values(f, of)?;
        write!(f, "   evidence {}", Evidence(of.log_e))?;
        write!(f, "; {} was required", Evidence(of.log_e_required))?;
        let is_open = !matches!(self.verdict.decision, Decision::RollBack(_));
        if is_open && of.log_v_required > 0.0 {
            self.promotion(f, of)?;
        }
        self.mark(f, of)
    }
}

impl Line<'_> {
    fn values(&self, f: &mut Formatter<'_>, of: &StreamEvidence) -> fmt::Result {
        let (canary, stable) = (&of.seen.canary, &of.seen.stable);
        let scale = self.verdict.latency.rollback_scale;
        match of.stream {
            Stream::Diff => write!(f, "{} of the answers differ", rate(canary))?,
            Stream::Rank => {
                write!(f, "mean rank {} after ÷{scale}", mean(canary))?;
                write!(f, " vs {}", mean(stable))?;
            }
            Stream::P95 | Stream::P99 => {
                self.answer_times(f, of.stream)?;
                write!(f, "{} beyond stable's {}", rate(canary), of.stream.word())?;
                write!(f, " after ÷{scale} vs {}", rate(stable))?;
            }
            _ => write!(f, "{} vs {}", rate(canary), rate(stable))?,
        }
        let margin = of.rollback_margin;
        if of.stream == Stream::Diff {
            return write!(f, "; limit {} %", percent(margin));
        }
        if let Some(effect) = self.verdict.effects.get(self.place) {
            if let Some(difference) = effect.difference {
                write!(f, "   {} pp", points(difference))?;
            }
            interval(f, effect)?;
        }
        write!(f, "; {}", Verdict::limit(margin))
    }

    fn answer_times(&self, f: &mut Formatter<'_>, stream: Stream) -> fmt::Result {
        let Some(times) = &self.verdict.about.answer_times else { return Ok(()) };
        let of = |times: &AnswerTimes| match stream {
            Stream::P99 => times.p99_ns,
            _ => times.p95_ns,
        };
        let ms = |times: &AnswerTimes| of(times) as f64 / 1e6;
        write!(f, "{:.1} ms vs {:.1} ms, ", ms(&times.canary), ms(&times.stable))
    }

    fn promotion(&self, f: &mut Formatter<'_>, of: &StreamEvidence) -> fmt::Result {
        write!(f, "   not worse than ")?;
        if of.stream.is_latency() {
            let slower = 100.0 * (self.verdict.latency.promote_scale - 1.0);
            write!(f, "+{slower:.0} % and ")?;
        }
        write!(f, "{} pp {}", points(of.promote_margin), Evidence(of.log_v))?;
        write!(f, "; {} is required", Evidence(of.log_v_required))
    }

    fn mark(&self, f: &mut Formatter<'_>, of: &StreamEvidence) -> fmt::Result {
        let is_rollback = matches!(self.verdict.decision, Decision::RollBack(_));
        if self.verdict.decided_by() == Some(of.stream) {
            return write!(f, "   ✗ decided, p ≤ {}", p_value(of.p_value()));
        }
        if of.regressed() {
            return f.write_str("   ✗");
        }
        if of.log_e >= of.log_e_required {
            let (seen, wanted) = (Count(of.floor.seen), Count(of.floor.wanted));
            return write!(f, "   {seen} of {wanted} needed observations");
        }
        f.write_str(match (is_rollback || of.log_v_required <= 0.0, of.proved()) {
            (true, _) => "   ok",
            (false, true) => "   ✓ proved",
            (false, false) => "   open",
        })
    }
}

fn rate(of: &Scores) -> String {
    let (bad, n) = (Count(of.sum.round() as u64), Count(of.n));
    let share = of.mean().map_or("–".to_owned(), percent);
    format!("{share} % ({bad}/{n})")
}

fn mean(of: &Scores) -> String {
    let mean = of.mean().map_or("–".to_owned(), percent);
    format!("{mean} % (of {})", Count(of.n))
}

fn interval(f: &mut Formatter<'_>, effect: &Effect) -> fmt::Result {
    match (effect.low, effect.high) {
        (Some(low), Some(high)) => write!(f, ", 95 % CS {}…{}", points(low), points(high)),
        (Some(low), None) => write!(f, ", 95 % CS above {}", points(low)),
        (None, Some(high)) => write!(f, ", 95 % CS below {}", points(high)),
        (None, None) => write!(f, ", 95 % CS open"),
    }
}

fn p_value(p: f64) -> String {
    if p < 1e-4 { format!("10^{:.0}", p.log10().ceil().max(-300.0)) } else { format!("{p:.4}") }
}
