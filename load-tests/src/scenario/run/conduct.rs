//! Starts the rollout, lets things happen to it, and watches it from outside.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::admin::{Admin, RolloutView, Why};
use crate::scenario::crowd::Signal;
use crate::scenario::gateway::MODEL;
use crate::scenario::story::Story;
use crate::stop::Stop;

use super::Place;

/// How often the rollout is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Looks that may fail in a row: a busy machine answers late.
const MISSED_LOOKS: u32 = 10;

/// What was seen of the rollout.
#[derive(Debug)]
pub(super) struct Watched {
    /// The last look.
    pub view: RolloutView,
    pub places: Vec<Place>,
    pub held: Option<String>,
    /// Or why there is none.
    pub why: Result<Why>,
}

pub(super) fn conduct(
    story: &Story,
    admin: &Admin,
    canary: u64,
    signal: &Signal,
    stop: &Stop,
) -> Result<Watched> {
    pause(story.lead, stop)?;
    let view = admin.start_rollout(MODEL, canary, &story.spec).context("start the rollout")?;
    let started = Instant::now();
    if let Some(fault) = story.drill {
        admin.drill(MODEL, fault).context("start the drill")?;
    }
    let mut watched =
        Watched { view, places: Vec::new(), held: None, why: Err(anyhow::anyhow!("not asked")) };
    watched.note(started.elapsed());
    let mut missed = 0;
    loop {
        let elapsed = started.elapsed();
        if let Some(outage) = story.outage {
            let lasts = (outage.after..outage.after + outage.length).contains(&elapsed);
            signal.turn(usize::from(lasts));
        }
        let until =
            story.outage.map_or(story.limit, |outage| outage.after + outage.length + outage.watch);
        if watched.view.has_ended() || elapsed >= until {
            break;
        }
        pause(POLL, stop)?;
        match admin.rollout(MODEL) {
            Ok(view) => {
                watched.view = view;
                watched.note(started.elapsed());
                missed = 0;
            }
            Err(error) if missed < MISSED_LOOKS => {
                missed += 1;
                eprintln!("cannot see the rollout ({missed} in a row): {error:#}");
            }
            Err(error) => return Err(error).context("look at the rollout"),
        }
    }
    pause(story.after, stop)?;
    // Once more: the verdict of an ended rollout may follow its state.
    watched.view = admin.rollout(MODEL).context("look at the rollout once more")?;
    watched.why = admin.why(MODEL);
    Ok(watched)
}

impl Watched {
    /// Keeps what is new in the present view.
    fn note(&mut self, at: Duration) {
        let place = self.view.place();
        if self.places.last().is_none_or(|last| last.place != place) {
            self.places.push(Place { at_s: (at.as_secs_f64() * 100.0).round() / 100.0, place });
        }
        if self.held.is_none() && !self.view.has_ended() {
            self.held = self.view.held();
        }
    }
}

/// Sleeps, but no longer than until Ctrl-C.
pub(in crate::scenario) fn pause(length: Duration, stop: &Stop) -> Result<()> {
    const STEP: Duration = Duration::from_millis(20);
    let until = Instant::now() + length;
    loop {
        if stop.is_raised() {
            bail!("interrupted");
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(STEP));
    }
}
