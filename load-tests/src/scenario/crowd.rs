//! The load of a scenario: random rows, and a look at each answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::random::Random;
use crate::steady::open_loop::{Answer, Ended, Traffic};

use super::rows::ROWS;

/// So many kinds of answers that were not as they should be are told.
const EXAMPLES: usize = 5;

/// What the conductor tells the load.
#[derive(Debug, Default)]
pub struct Signal {
    over: AtomicBool,
    mood: AtomicUsize,
}

impl Signal {
    /// Nothing more is to be sent.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// From now on rows of kind number `mood` are sent.
    pub fn turn(&self, mood: usize) {
        self.mood.store(mood, Ordering::Relaxed);
    }
}

/// What came back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The answer that the version named in the header gives.
    Right(Source),
    /// Any other answer with status 200.
    Wrong(Source),
    /// Another status.
    Refused(u16),
    /// No answer: the kind of failure.
    Lost(&'static str),
}

/// Who answered, by the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub version: u64,
    /// The canary in whose stead it answered.
    pub rescued_from: Option<u64>,
}

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct Seen {
    pub intended: Instant,
    pub sent: Instant,
    pub at: Instant,
    /// The kind of row.
    pub mood: usize,
    pub outcome: Outcome,
    /// What the gateway says of the way within.
    pub timing: Option<Timing>,
}

/// How long a request waited in the gateway, and how long the run took that it was in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    pub queue: Duration,
    pub compute: Duration,
}

impl Timing {
    /// From a header `server-timing: queue;dur=0.41, compute;dur=5.2` (milliseconds).
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let of = |name: &str| {
            let mut parts = text.split(',').map(str::trim);
            let ms = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix(";dur="))?;
            Duration::try_from_secs_f64(ms.parse::<f64>().ok()? / 1e3).ok()
        };
        Some(Self { queue: of("queue")?, compute: of("compute")? })
    }
}

impl Seen {
    /// Who answered, rightly or not.
    pub fn source(&self) -> Option<Source> {
        match self.outcome {
            Outcome::Right(source) | Outcome::Wrong(source) => Some(source),
            Outcome::Refused(_) | Outcome::Lost(_) => None,
        }
    }

    /// Whether the coin had chosen `version`, as far as the answer tells.
    pub fn was_for(&self, version: u64) -> bool {
        self.source().is_some_and(|source| source.rescued_from.unwrap_or(source.version) == version)
    }

    /// How the user failed; `None` for any answer of status 200.
    pub fn failure(&self) -> Option<Cow<'static, str>> {
        match self.outcome {
            Outcome::Right(_) | Outcome::Wrong(_) => None,
            Outcome::Refused(status) => Some(format!("status {status}").into()),
            Outcome::Lost(kind) => Some(kind.into()),
        }
    }

    /// From the intended time to the answer.
    pub fn latency(&self) -> Duration {
        self.at.saturating_duration_since(self.intended)
    }
}

/// Sends random rows of the kind that the signal asks for, and keeps what came of each.
#[derive(Debug)]
pub struct Crowd<'a> {
    signal: &'a Signal,
    random: Random,
    /// What each version answers.
    values: BTreeMap<u64, f32>,
    pub seen: Vec<Seen>,
    /// Of each kind of answer that was wrong or refused the first, in words.
    pub examples: BTreeMap<String, String>,
}

impl<'a> Crowd<'a> {
    /// `values`: what each version answers to every row.
    pub fn new(signal: &'a Signal, seed: u64, values: BTreeMap<u64, f32>) -> Self {
        let random = Random::new(seed);
        Self { signal, random, values, seen: Vec::new(), examples: BTreeMap::new() }
    }

    fn look(&mut self, answer: &Answer<'_>) -> Outcome {
        let outcome = match answer.status {
            200 => check(answer, &self.values),
            status => Err((Outcome::Refused(status), format!("status {status}"))),
        };
        outcome.unwrap_or_else(|(outcome, why)| {
            if self.examples.len() < EXAMPLES && !self.examples.contains_key(&why) {
                let said = String::from_utf8_lossy(answer.body.unwrap_or_default());
                self.examples.insert(why, said.chars().take(500).collect());
            }
            outcome
        })
    }
}

impl Traffic for Crowd<'_> {
    fn next(&mut self) -> Option<usize> {
        if self.signal.over.load(Ordering::Relaxed) {
            return None;
        }
        let row = (self.random.bits() % ROWS as u64) as usize;
        Some(self.signal.mood.load(Ordering::Relaxed) * ROWS + row)
    }

    fn ended(&mut self, request: &Ended<'_>) {
        let outcome = match &request.answer {
            Ok(answer) => self.look(answer),
            Err(kind) => Outcome::Lost(kind),
        };
        let timing = request.answer.as_ref().ok().and_then(|answer| Timing::parse(answer.timing?));
        let Ended { intended, sent, at, .. } = *request;
        let mood = request.request / ROWS;
        self.seen.push(Seen { intended, sent, at, mood, outcome, timing });
    }
}

/// What of an answer is looked at.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model_version: Cow<'a, str>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    shape: Vec<u64>,
    data: Vec<f32>,
}

/// Whether the answer is that of the version that its header names; if not, why.
fn check(answer: &Answer<'_>, values: &BTreeMap<u64, f32>) -> Result<Outcome, (Outcome, String)> {
    let number =
        |header: Option<&[u8]>| -> Option<u64> { std::str::from_utf8(header?).ok()?.parse().ok() };
    // Version 0 does not exist: an answer that names none is nobody's.
    let version = number(answer.version).unwrap_or_default();
    let source = Source { version, rescued_from: number(answer.rescued_from) };
    let wrong = |why: String| Err((Outcome::Wrong(source), why));
    let Some(value) = values.get(&version) else {
        return wrong(format!("weighbridge-served-version names version {version}"));
    };
    let body = match serde_json::from_slice::<Body<'_>>(answer.body.unwrap_or_default()) {
        Ok(body) => body,
        Err(error) => return wrong(format!("not an answer ({error})")),
    };
    if body.model_version != version.to_string() {
        let named = body.model_version;
        return wrong(format!("the header names version {version}, the body {named}"));
    }
    match &body.outputs[..] {
        [Output { shape, data }] if shape == &[1, 1] && data == &[*value] => {
            Ok(Outcome::Right(source))
        }
        _ => wrong(format!("version {version} answers {value}, not this")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"model_name":"m","model_version":"2","outputs":[
        {"name":"y","datatype":"FP32","shape":[1,1],"data":[2.0]}]}"#;

    fn crowd(signal: &Signal) -> Crowd<'_> {
        Crowd::new(signal, 1, BTreeMap::from([(1, 1.0), (2, 2.0)]))
    }

    fn answer<'a>(version: &'a str, rescued_from: Option<&'a str>, body: &'a str) -> Answer<'a> {
        Answer {
            status: 200,
            version: Some(version.as_bytes()),
            rescued_from: rescued_from.map(str::as_bytes),
            variant: None,
            timing: None,
            retry_after: None,
            body: Some(body.as_bytes()),
        }
    }

    #[test]
    fn an_answer_has_to_be_that_of_the_version_in_its_header() {
        let signal = Signal::default();
        let mut crowd = crowd(&signal);
        let second = Source { version: 2, rescued_from: None };
        assert_eq!(crowd.look(&answer("2", None, ANSWER)), Outcome::Right(second));
        let stables = ANSWER.replace("\"2\"", "\"1\"").replace("2.0", "1.0");
        let rescued = Source { version: 1, rescued_from: Some(2) };
        assert_eq!(crowd.look(&answer("1", Some("2"), &stables)), Outcome::Right(rescued));
        assert!(crowd.examples.is_empty());
        for (version, body) in [
            ("1", ANSWER.to_owned()),
            ("3", ANSWER.replace("\"2\"", "\"3\"")),
            ("2", ANSWER.replace("2.0", "1.0")),
            ("2", ANSWER.replace("[1,1]", "[1]")),
            ("2", ANSWER.replace("2.0", "null")),
            ("", ANSWER.to_owned()),
            ("4", ANSWER.to_owned()),
        ] {
            let outcome = crowd.look(&answer(version, None, &body));
            assert!(matches!(outcome, Outcome::Wrong(_)), "{version:?} {body}: {outcome:?}");
        }
        let kinds: Vec<&String> = crowd.examples.keys().collect();
        assert_eq!(kinds.len(), EXAMPLES, "as many as are told, each kind once: {kinds:?}");
    }

    #[test]
    fn the_way_within_is_read_from_the_header() {
        let timing = Timing::parse(b"queue;dur=0.41, compute;dur=5").unwrap();
        assert_eq!(timing.queue, Duration::from_micros(410));
        assert_eq!(timing.compute, Duration::from_millis(5));
        for wrong in
            ["", "queue;dur=1", "queue;dur=-1, compute;dur=1", "queue;dur=x, compute;dur=1"]
        {
            assert_eq!(Timing::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_signal_decides_what_is_sent_and_until_when() {
        let signal = Signal::default();
        let mut crowd = crowd(&signal);
        assert!((0..100).all(|_| crowd.next().is_some_and(|row| row < ROWS)));
        signal.turn(1);
        assert!((0..100).all(|_| crowd.next().is_some_and(|row| (ROWS..2 * ROWS).contains(&row))));
        signal.end();
        assert_eq!(crowd.next(), None);
    }

    #[test]
    fn the_coin_is_read_from_the_headers() {
        let now = Instant::now();
        let seen =
            |outcome| Seen { intended: now, sent: now, at: now, mood: 0, outcome, timing: None };
        let source = |version, rescued_from| Source { version, rescued_from };
        assert!(seen(Outcome::Right(source(2, None))).was_for(2));
        assert!(seen(Outcome::Right(source(1, Some(2)))).was_for(2));
        assert!(!seen(Outcome::Right(source(1, None))).was_for(2));
        assert!(!seen(Outcome::Lost("timeout")).was_for(2));
        assert_eq!(seen(Outcome::Refused(500)).failure().as_deref(), Some("status 500"));
        assert_eq!(seen(Outcome::Wrong(source(1, None))).failure(), None);
    }
}
