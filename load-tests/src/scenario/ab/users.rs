//! Users of an experiment: each asks with a name of its own, and tells what came of the answer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use crate::http::Header;
use crate::scenario::gateway::{MODEL, Stage};
use crate::scenario::rows::Rows;
use crate::schedule::{Arrivals, Schedule};
use crate::steady::open_loop::{Ended, OpenLoop, Traffic};
use crate::stop::Stop;

use super::VARIANTS;

/// Requests and pieces of feedback per second.
const RATE: f64 = 500.0;
const CONNECTIONS: usize = 64;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Of what was not as it should be, so much is told.
const EXAMPLES: usize = 5;

/// Who was asked, and what they saw.
#[derive(Debug)]
pub(super) struct Users<'a> {
    stage: &'a Stage,
    seed: u64,
    bodies: Vec<Vec<u8>>,
    /// The variant that each user's first answer named, by number of the user.
    first: Vec<Option<String>>,
    moved: Vec<bool>,
    requests: usize,
    wrong: usize,
    failed: BTreeMap<String, u64>,
    examples: Vec<String>,
}

/// What the users saw, all together.
#[derive(Debug)]
pub(super) struct Asked {
    pub requests: usize,
    pub assigned: BTreeMap<String, usize>,
    pub moved: usize,
    pub wrong: usize,
    pub failed: BTreeMap<String, u64>,
    pub examples: Vec<String>,
}

impl<'a> Users<'a> {
    pub(super) fn new(stage: &'a Stage, seed: u64) -> Self {
        Self {
            stage,
            seed,
            bodies: Rows::Usual.bodies(seed),
            first: Vec::new(),
            moved: Vec::new(),
            requests: 0,
            wrong: 0,
            failed: BTreeMap::new(),
            examples: Vec::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.first.len()
    }

    pub(super) fn variant_of(&self, user: usize) -> Option<&str> {
        self.first.get(user)?.as_deref()
    }

    /// Each of these users asks once.
    pub(super) fn ask(&mut self, users: Range<usize>, stop: &Stop) -> Result<()> {
        let count = self.count().max(users.end);
        self.first.resize(count, None);
        self.moved.resize(count, false);
        let path = format!("/v2/models/{MODEL}/infer");
        let requests = users
            .clone()
            .map(|user| {
                let header = Header::new("x-user-id", self.name(user));
                self.stage.target.post(&path, &[header], &self.bodies[user % self.bodies.len()])
            })
            .collect::<Vec<_>>();
        self.requests += requests.len();
        let mut notes = Vec::with_capacity(requests.len());
        send(self.stage, &requests, self.seed, stop, |number, ended| {
            notes.push((users.start + number, note(ended)));
        })?;
        for (user, note) in notes {
            self.take(user, note);
        }
        Ok(())
    }

    /// Each of these users tells whether it clicked.
    pub(super) fn tell(
        &mut self,
        metric: &str,
        clicks: &[(usize, bool)],
        stop: &Stop,
    ) -> Result<()> {
        let path = format!("/v2/models/{MODEL}/feedback");
        let requests = clicks
            .iter()
            .map(|&(user, clicked)| {
                let unit = self.name(user);
                let key = format!("{unit}/{metric}");
                let body = json!({
                    "unit": unit, "metric": metric, "value": u8::from(clicked),
                    "idempotency_key": key,
                });
                self.stage.target.post(&path, &[], body.to_string().as_bytes())
            })
            .collect::<Vec<_>>();
        let mut refused = Vec::new();
        send(self.stage, &requests, self.seed, stop, |_, ended| {
            let failure = match &ended.answer {
                Ok(answer) if answer.status == 200 && was_taken(answer.body) => return,
                Ok(answer) if answer.status == 200 => ("feedback: not taken".into(), said(ended)),
                Ok(answer) => (format!("feedback: status {}", answer.status), said(ended)),
                Err(kind) => (format!("feedback: {kind}"), String::new()),
            };
            refused.push(failure);
        })?;
        for (kind, said) in refused {
            self.fail(kind, &said);
        }
        Ok(())
    }

    /// What was seen, and nothing is asked any more.
    pub(super) fn finish(self) -> Asked {
        let mut assigned = BTreeMap::new();
        for variant in self.first.into_iter().flatten() {
            *assigned.entry(variant).or_insert(0) += 1;
        }
        Asked {
            requests: self.requests,
            assigned,
            moved: self.moved.iter().filter(|moved| **moved).count(),
            wrong: self.wrong,
            failed: self.failed,
            examples: self.examples,
        }
    }

    /// Names differ from run to run, so that each run draws other variants.
    fn name(&self, user: usize) -> String {
        format!("user-{:x}-{user}", self.seed)
    }

    fn take(&mut self, user: usize, note: Note) {
        let (variant, is_right, said) = match note {
            Note::Answer { variant, is_right, said } => (variant, is_right, said),
            Note::Failure { kind, said } => return self.fail(kind, &said),
        };
        if !is_right {
            self.wrong += 1;
            self.example(format!("user {user}, variant {variant}: {said}"));
        }
        match &self.first[user] {
            None => self.first[user] = Some(variant),
            Some(first) if *first != variant => {
                let told = format!("user {user} was {first} and is {variant}");
                self.moved[user] = true;
                self.example(told);
            }
            Some(_) => {}
        }
    }

    fn fail(&mut self, kind: String, said: &str) {
        self.example(format!("{kind}: {said}"));
        *self.failed.entry(kind).or_insert(0) += 1;
    }

    fn example(&mut self, told: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(told);
        }
    }
}

/// What one answer was.
enum Note {
    Answer { variant: String, is_right: bool, said: String },
    Failure { kind: String, said: String },
}

fn note(ended: &Ended<'_>) -> Note {
    let answer = match &ended.answer {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => {
            return Note::Failure { kind: format!("status {}", answer.status), said: said(ended) };
        }
        Err(kind) => return Note::Failure { kind: (*kind).to_owned(), said: String::new() },
    };
    let text =
        |header: Option<&[u8]>| String::from_utf8_lossy(header.unwrap_or_default()).into_owned();
    let (variant, version) = (text(answer.variant), text(answer.version));
    let is_right = is_right(&variant, &version, answer.body.unwrap_or_default());
    let said = if is_right { String::new() } else { format!("version {version}, {}", said(ended)) };
    Note::Answer { variant, is_right, said }
}

/// Whether the version is the variant's, and the value the version's: version n answers n.
fn is_right(variant: &str, version: &str, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        outputs: Vec<Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        data: Vec<f64>,
    }
    let place = VARIANTS.iter().position(|name| *name == variant);
    let number = place.map(|place| place + 1);
    let body: Option<Body> = serde_json::from_slice(body).ok();
    let value = body.and_then(|body| Some(*body.outputs.first()?.data.first()?));
    number.is_some_and(|number| version == number.to_string() && value == Some(number as f64))
}

/// Whether the gateway knew the unit and the metric.
fn was_taken(body: Option<&[u8]>) -> bool {
    #[derive(Deserialize)]
    struct Taken {
        accepted: u64,
    }
    let taken: Option<Taken> = serde_json::from_slice(body.unwrap_or_default()).ok();
    taken.is_some_and(|taken| taken.accepted == 1)
}

fn said(ended: &Ended<'_>) -> String {
    let body = ended.answer.as_ref().ok().and_then(|answer| answer.body).unwrap_or_default();
    String::from_utf8_lossy(body).chars().take(300).collect()
}

/// Sends each request once, in order, and hands over what came of it.
fn send(
    stage: &Stage,
    requests: &[Vec<u8>],
    seed: u64,
    stop: &Stop,
    take: impl FnMut(usize, &Ended<'_>),
) -> Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    // Ends when all are sent; the time is a bound only.
    let longest = Duration::from_secs_f64(requests.len() as f64 / RATE) * 10 + ANSWER_LIMIT;
    let mut traffic = Each { next: 0, count: requests.len(), take };
    let load = OpenLoop {
        target: &stage.target,
        requests,
        traffic: &mut traffic,
        schedule: Schedule::new(Arrivals::Poisson, RATE, longest, seed)?,
        connections: CONNECTIONS,
        timeout: ANSWER_LIMIT,
    };
    load.run(stop).context("ask as users")?;
    stop.check()
}

/// Each request once, in order.
struct Each<F> {
    next: usize,
    count: usize,
    take: F,
}

impl<F: FnMut(usize, &Ended<'_>)> Traffic for Each<F> {
    fn next(&mut self) -> Option<usize> {
        let number = self.next;
        self.next += 1;
        (number < self.count).then_some(number)
    }

    fn ended(&mut self, request: &Ended<'_>) {
        (self.take)(request.request, request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_to_be_that_of_its_variants_version() {
        let body = br#"{"outputs":[{"data":[2.0]}]}"#;
        assert!(is_right("new", "2", body));
        assert!(was_taken(Some(br#"{"accepted":1,"duplicate":0,"unknown":0,"items":[]}"#)));
        assert!(!was_taken(Some(br#"{"accepted":0,"duplicate":0,"unknown":1}"#)));
        for (variant, version, body) in [
            ("old", "2", &body[..]),
            ("new", "1", body),
            ("stable", "2", body),
            ("new", "2", br#"{"outputs":[{"data":[1.0]}]}"#),
            ("new", "2", b"{}"),
        ] {
            assert!(!is_right(variant, version, body), "{variant} {version}");
        }
    }
}
