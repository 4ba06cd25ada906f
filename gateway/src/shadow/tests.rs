//! The door and the thread together, with stand-ins for models.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weighbridge_config::rollout::Percent;
use weighbridge_config::settings::Shadow;
use weighbridge_config::{ByteSize, Tensor};
use weighbridge_routing::{Decision, Variant};

use super::testing::*;
use super::*;
use crate::serving::loaded::{LoadedVersion, RunError};
use crate::serving::not_taken::QueueFull;
use crate::serving::submit::SubmitError;

#[test]
fn each_routed_request_is_copied_to_each_shadow_and_compared() {
    let mirror = mirror(settings());
    let (live, same, other) =
        (version(1, times(2.0)), version(2, times(2.0)), version(3, times(2.1)));
    let shadows = [shadow(&same), shadow(&other)];
    for step in 0..50u8 {
        ask(&mirror, &shadows, &live, &[f32::from(step), 1.0]);
    }
    until("all are compared", || shadows.iter().all(|s| s.sink.counts().pairs() == 50));
    let wanted = PairCounts { both_ok: 50, ..PairCounts::default() };
    assert_eq!(shadows[0].sink.counts(), wanted);
    assert_eq!(shadows[1].sink.counts(), PairCounts { differ: 50, ..wanted });
    assert!(shadows.iter().all(|s| s.sink.copied() == 50));
    until("nothing is held", || mirror.status().waiting == 0);
    assert_eq!(mirror.status().memory_bytes, 0);
}

#[test]
fn requests_that_ask_for_a_version_and_those_that_it_answers_itself_are_not_copied() {
    let mirror = mirror(settings());
    let (live, own) = (version(1, times(2.0)), version(2, times(2.0)));
    let (inputs, shadows) = ([floats(&[1, 2], &[1.0, 2.0])], [shadow(&own)]);
    let pinned = Decision { variant: Variant::Pinned, ..routed(1) };
    assert!(mirror.copies(&shadows, &pinned, &live, &inputs, 1).is_none());
    assert!(mirror.copies(&shadows, &routed(2), &own, &inputs, 1).is_none());
    assert!(mirror.copies(&[], &routed(1), &live, &inputs, 1).is_none());
    // Chosen before another version had to answer for the one that was asked.
    let copies = mirror.copies(&shadows, &routed(1), &live, &inputs, 1).unwrap();
    copies.pair(&own, Ok(&answer(inputs.to_vec())), || "r".to_owned());
    assert_eq!((shadows[0].sink.copied(), shadows[0].sink.counts().pairs()), (0, 0));
}

#[test]
fn each_shadow_has_a_coin_of_its_own_with_its_share() {
    const ASKED: u64 = 40_000;
    let mirror = mirror(settings());
    let (live, inputs) = (version(1, times(2.0)), [floats(&[1, 2], &[1.0, 2.0])]);
    let target = |v, points| shadow_of(&version(v, times(2.0)), Percent::points(points));
    let shadows = [target(2, 1000), target(3, 250), target(4, 0), target(5, 10_000)];
    for _ in 0..ASKED {
        // Given up at once: counted as chosen, whether the budget had room or not.
        drop(mirror.copies(&shadows, &routed(1), &live, &inputs, 1));
    }
    let chosen = |of: &ShadowTarget| -> u64 {
        Dropped::ALL.iter().map(|reason| of.sink.dropped(*reason)).sum()
    };
    // Six standard deviations.
    for (target, share) in shadows.iter().zip([0.1f64, 0.025, 0.0, 1.0]) {
        let (mean, all) = (share * ASKED as f64, ASKED as f64);
        let bound = 6.0 * (all * share * (1.0 - share)).sqrt();
        assert!((chosen(target) as f64 - mean).abs() <= bound, "{share}: {}", chosen(target));
    }
}

#[test]
fn what_does_not_fit_the_budget_is_shed_at_the_door() {
    let mirror = mirror(settings());
    let (live, dear) = (version(1, times(2.0)), with_cost(2, times(2.0), 3.6e9));
    let (shadows, inputs) = ([shadow(&dear)], [floats(&[1, 2], &[1.0, 2.0])]);
    until("some credit is there", || {
        mirror.copies(&shadows, &routed(1), &live, &inputs, 1).is_some_and(|copies| {
            copies.pair(&live, Ok(&answer(inputs.to_vec())), || "r".to_owned());
            true
        })
    });
    // The run took microseconds, so its hour is given back once it has ended.
    until("what was paid too much is given back", || {
        mirror.copies(&shadows, &routed(1), &live, &inputs, 1).is_some()
    });
    let before = shadows[0].sink.dropped(Dropped::Budget);
    let held = mirror.copies(&shadows, &routed(1), &live, &inputs, 1);
    let more = mirror.copies(&shadows, &routed(1), &live, &inputs, 1);
    assert!(held.is_some() && more.is_none());
    assert_eq!(shadows[0].sink.dropped(Dropped::Budget), before + 1);
}

#[test]
fn the_queue_is_bounded_in_copies_and_in_memory() {
    let live = version(1, times(2.0));
    let (target, inputs) = ([shadow(&version(2, times(2.0)))], [floats(&[1, 2], &[1.0, 2.0])]);
    let short = mirror(Shadow { queue: 2, ..settings() });
    let copies = || short.copies(&target, &routed(1), &live, &inputs, 1);
    let mut held = Vec::new();
    until("two are taken", || {
        held.extend(copies());
        held.len() == 2
    });
    assert!(copies().is_none());
    assert_eq!(target[0].sink.dropped(Dropped::Queue), 1);
    held.clear();
    until("their places are free again", || copies().is_some());

    let target = [shadow(&version(2, times(2.0)))];
    let small = mirror(Shadow { memory: ByteSize::kib(1), ..settings() });
    let (fits, too_large) = (floats(&[100, 2], &[1.0; 200]), floats(&[150, 2], &[1.0; 300]));
    let copies = |input: &Tensor| {
        let inputs = [input.clone()];
        small.copies(&target, &routed(1), &live, &inputs, 100)
    };
    let before = target[0].sink.dropped(Dropped::Memory);
    assert!(copies(&too_large).is_none());
    assert_eq!(target[0].sink.dropped(Dropped::Memory), before + 1);
    // Its answer is counted too.
    let taken = copies(&fits).unwrap();
    taken.pair(&live, Ok(&answer(vec![fits.clone()])), || "r".to_owned());
    assert_eq!(target[0].sink.dropped(Dropped::Memory), before + 2);
    assert_eq!((target[0].sink.copied(), small.status().memory_bytes), (0, 0));
}

#[test]
fn requests_without_an_outcome_of_their_model_are_given_up() {
    let mirror = mirror(settings());
    let live = version(1, times(2.0));
    let (target, inputs) = ([shadow(&version(2, times(2.0)))], [floats(&[1, 2], &[1.0, 2.0])]);
    let outcomes = [
        SubmitError::Full(QueueFull { waiting: 1, limit: 1 }),
        SubmitError::DeadlinePassed,
        SubmitError::Stopped,
    ];
    for outcome in &outcomes {
        let copies = mirror.copies(&target, &routed(1), &live, &inputs, 1).unwrap();
        copies.pair(&live, Err(outcome), || "r".to_owned());
    }
    assert_eq!(target[0].sink.dropped(Dropped::Unanswered), 3);
    assert_eq!((target[0].sink.copied(), mirror.status().waiting), (0, 0));
}

/// Fails on 13, panics on 666, else echoes.
fn moody(x: &Tensor) -> Result<Tensor, RunError> {
    let holds = |value: f32| matches!(x.data(), weighbridge_config::TensorData::Fp32(v) if v.contains(&value));
    assert!(!holds(666.0), "the model panics on 666");
    match holds(13.0) {
        true => Err(RunError("13 cannot be served".to_owned())),
        false => Ok(x.clone()),
    }
}

#[test]
fn failures_and_panics_of_either_side_are_counted_and_stop_nothing() {
    let mirror = mirror(settings());
    let (live, own) = (version(1, Model(moody)), version(2, Model(moody)));
    let steady = version(3, times(1.0));
    let shadows = [shadow(&own), shadow(&steady)];
    for value in [1.0, 13.0, 2.0] {
        ask(&mirror, &shadows, &live, &[value, 0.0]);
    }
    for value in [13.0, 666.0, 3.0] {
        ask(&mirror, &shadows, &steady, &[value, 0.0]);
    }
    until("all are compared", || shadows[0].sink.counts().pairs() == 6);
    until("all are compared", || shadows[1].sink.counts().pairs() == 3);
    let wanted = PairCounts { both_ok: 3, shadow_err: 2, both_err: 1, ..PairCounts::default() };
    assert_eq!(shadows[0].sink.counts(), wanted);
    let wanted = PairCounts { both_ok: 2, live_err: 1, ..PairCounts::default() };
    assert_eq!(shadows[1].sink.counts(), wanted);
    let last = shadows[0].sink.results().last_error.unwrap();
    assert!(last.error.contains("panicked"), "{last:?}");
    assert_eq!(shadows[0].sink.exemplars().len(), 2);
    assert_eq!(shadows[0].sink.off(), None);
}

#[test]
fn large_requests_are_run_in_pieces_of_a_batch() {
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let own = version(
        2,
        Model(move |x: &Tensor| {
            seen.fetch_max(x.rows(), Ordering::Relaxed);
            Ok(mapped(x, |v| v * 2.0))
        }),
    );
    let (mirror, live, shadows) = (mirror(settings()), version(1, times(2.0)), [shadow(&own)]);
    let values: Vec<f32> = (0..200u8).map(f32::from).collect();
    ask(&mirror, &shadows, &live, &values);
    until("it is compared", || shadows[0].sink.counts().both_ok == 1);
    assert_eq!(shadows[0].sink.counts().differ, 0);
    assert_eq!(largest.load(Ordering::Relaxed), 8, "max_batch_size");
}

/// Computes for a while, by the processor's clock of the thread and not by the wall's.
fn busy(rounds: u64) -> Model<impl Fn(&Tensor) -> Result<Tensor, RunError>> {
    Model(move |x: &Tensor| {
        let mut state = 1u64;
        for _ in 0..rounds {
            state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
        }
        std::hint::black_box(state);
        Ok(x.clone())
    })
}

#[test]
fn compute_time_is_compared_on_the_same_requests() {
    let (mirror, live) = (mirror(settings()), version(1, busy(300_000)));
    let shadows = [shadow(&version(2, busy(900_000))), shadow(&version(3, busy(300_000)))];
    let timed = |of: &ShadowTarget| of.sink.results().compute.map_or(0, |c| c.pairs);
    until("some pairs are timed", || {
        ask(&mirror, &shadows, &live, &[1.0, 2.0]);
        shadows.iter().all(|s| timed(s) >= 4)
    });
    let ratio = |of: &ShadowTarget| of.sink.results().compute.map_or(0.0, |c| c.ratio);
    assert!((2.0..4.5).contains(&ratio(&shadows[0])), "{}", ratio(&shadows[0]));
    assert!((0.6..1.7).contains(&ratio(&shadows[1])), "{}", ratio(&shadows[1]));
}

/// A model that blocks until it is let go.
fn hanging() -> (Arc<LoadedVersion>, crossbeam_channel::Sender<()>, Arc<AtomicUsize>) {
    let (open, gate) = crossbeam_channel::bounded::<()>(0);
    let entered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&entered);
    let model = Model(move |x: &Tensor| {
        count.fetch_add(1, Ordering::SeqCst);
        // Ends when the test lets go.
        let _ = gate.recv();
        Ok(x.clone())
    });
    (version(2, model), open, entered)
}

/// Runs `test` while the mirror is watched, then stops it and waits for its thread.
fn watched(settings: Shadow, test: impl FnOnce(&Mirror)) {
    let mirror = Arc::new(mirror(settings));
    let stop = CancellationToken::new();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_time().worker_threads(1).build().unwrap();
    let (own, stopped) = (Arc::clone(&mirror), stop.clone());
    let watching = runtime.spawn(async move { own.watch(stopped).await });
    test(&mirror);
    stop.cancel();
    let ended = async { tokio::time::timeout(Duration::from_secs(10), watching).await };
    runtime.block_on(ended).expect("a stop ends").expect("no panic");
}

#[test]
fn a_run_that_hangs_is_written_off_and_the_other_shadows_go_on() {
    let limit = Duration::from_millis(40);
    watched(Shadow { run_limit: limit, ..settings() }, |mirror| {
        let (hangs, open, _) = hanging();
        let live = version(1, times(1.0));
        let shadows = [shadow(&hangs), shadow(&version(3, times(1.0)))];
        ask(mirror, &shadows, &live, &[1.0, 2.0]);
        until("it is switched off", || shadows[0].sink.off().is_some());
        assert!(shadows[0].sink.off().unwrap().contains("40ms"), "{:?}", shadows[0].sink.off());
        assert_eq!(shadows[0].sink.counts().shadow_err, 1, "its failure counts");
        assert_eq!(mirror.status().stuck_threads, 1);
        for _ in 0..5 {
            ask(mirror, &shadows, &live, &[1.0, 2.0]);
        }
        until("the other one goes on", || shadows[1].sink.counts().both_ok == 6);
        assert_eq!(shadows[0].sink.dropped(Dropped::Off), 5);
        assert_eq!(shadows[0].report(None).state, report::State::Off);
        drop(open);
        until("the thread that hung has ended", || mirror.status().stuck_threads == 0);
        assert_eq!(shadows[0].sink.counts().pairs(), 1, "what came late is not counted");
    });
}

#[test]
fn with_too_many_threads_that_hang_nothing_is_copied_any_more() {
    let limit = Duration::from_millis(40);
    watched(Shadow { run_limit: limit, ..settings() }, |mirror| {
        let live = version(1, times(1.0));
        let mut gates = Vec::new();
        for _ in 0..4 {
            let (hangs, open, entered) = hanging();
            let shadows = [shadow(&hangs)];
            ask(mirror, &shadows, &live, &[1.0, 2.0]);
            until("it is switched off", || shadows[0].sink.off().is_some());
            assert_eq!(entered.load(Ordering::SeqCst), 1);
            gates.push(open);
        }
        until("all are off", || mirror.status().off.is_some());
        let shadows = [shadow(&version(3, times(1.0)))];
        ask(mirror, &shadows, &live, &[1.0, 2.0]);
        assert_eq!(shadows[0].sink.dropped(Dropped::Off), 1);
        let report = shadows[0].report(mirror.status().off.as_deref());
        assert!(report.reason.unwrap().contains("4 runs"));
        drop(gates);
        until("they have ended", || mirror.status().stuck_threads == 0);
    });
}

#[test]
fn a_live_version_that_hangs_when_it_is_timed_is_not_held_against_the_shadow() {
    let limit = Duration::from_millis(40);
    watched(Shadow { run_limit: limit, ..settings() }, |mirror| {
        let (hangs, open, _) = hanging();
        let shadows = [shadow(&version(3, times(1.0)))];
        let pair = || {
            let inputs = [floats(&[1, 2], &[1.0, 2.0])];
            let copies = mirror.copies(&shadows, &routed(2), &hangs, &inputs, 1);
            if let Some(copies) = copies {
                copies.pair(&hangs, Ok(&answer(inputs.to_vec())), || "r".to_owned());
            }
        };
        pair();
        until("its run is written off", || mirror.status().stuck_threads == 1);
        pair();
        until("pairs go on, untimed", || shadows[0].sink.counts().both_ok >= 1);
        assert_eq!((shadows[0].sink.off(), shadows[0].sink.counts().shadow_err), (None, 0));
        drop(open);
        until("the thread that hung has ended", || mirror.status().stuck_threads == 0);
    });
}

#[test]
fn a_stop_does_not_wait_for_copies_that_wait() {
    watched(settings(), |mirror| {
        let (live, shadows) = (version(1, times(1.0)), [shadow(&version(2, busy(1_000_000)))]);
        for _ in 0..1000 {
            ask(mirror, &shadows, &live, &[1.0, 2.0]);
        }
    });
}

#[test]
fn a_version_in_quarantine_is_not_run_and_says_why() {
    let (mirror, live) = (mirror(settings()), version(1, times(1.0)));
    let shadows = [shadow(&version(2, times(1.0)))];
    shadows[0].version.put_in_quarantine("a live run of it hung".to_owned());
    ask(&mirror, &shadows, &live, &[1.0, 2.0]);
    assert_eq!(shadows[0].sink.dropped(Dropped::Off), 1);
    let report = shadows[0].report(None);
    assert_eq!(
        (report.state, report.reason.as_deref()),
        (report::State::Off, Some("a live run of it hung"))
    );
}

mod settings_of_models {
    use std::collections::BTreeMap;

    use serde_json::json;
    use weighbridge_registry::Model;

    use super::*;
    use crate::rollout::snapshot::EffectiveSettings;
    use crate::shadow::target::{Sinks, refusal};

    /// A model with versions 1 and 2 ready and 3 archived.
    fn model(settings: serde_json::Value) -> Model {
        let version = |number: u32, state: &str| {
            json!({
                "model": "m", "version": number, "digest": "ab".repeat(32),
                "manifest": {"format": 1, "files": [{
                    "path": "model.onnx", "role": "model", "size": 1, "sha256": "ab".repeat(32),
                }]},
                "state": state, "report": null, "info": {}, "created_at": 0,
                "created_by": "system", "checked_at": null,
            })
        };
        serde_json::from_value(json!({
            "name": "m", "revision": 1, "settings": settings, "route": null,
            "previous_route": null, "aliases": {}, "created_at": 0,
            "versions": [version(1, "ready"), version(2, "ready"), version(3, "archived")],
        }))
        .unwrap()
    }

    fn targets(sinks: &mut Sinks, model: &Model) -> Vec<ShadowTarget> {
        let effective = EffectiveSettings::of(model, &Default::default());
        let loaded = BTreeMap::from([(number(2), version(2, times(1.0)))]);
        sinks.retain(std::slice::from_ref(model));
        sinks.targets(model, &effective, &loaded)
    }

    #[test]
    fn shadows_that_cannot_be_are_refused_by_name() {
        let told = |settings| refusal(&model(json!({})), &model(settings).settings);
        assert_eq!(told(json!({})), None);
        assert_eq!(told(json!({"shadows": {"2": 10.0}})), None);
        assert_eq!(told(json!({"idempotent": false})), None);
        for (settings, facts) in [
            (
                json!({"shadows": {"2": 5, "9": 2.5}}),
                &["shadows = \"2=5,9=2.5\"", "no version 9", "1, 2, 3"][..],
            ),
            (json!({"shadows": {"3": 5}}), &["version 3 of m is archived"]),
            (json!({"shadows": {"2": 5}, "idempotent": false}), &["idempotent", "shadows"]),
        ] {
            let refusal = told(settings).unwrap();
            assert!(facts.iter().all(|fact| refusal.contains(fact)), "{refusal}");
        }
    }

    #[test]
    fn counts_stay_while_the_setting_names_the_version() {
        let mut sinks = Sinks::default();
        let first = targets(&mut sinks, &model(json!({"shadows": {"2": 10.0, "3": 5.0}})));
        assert_eq!(first.len(), 1, "what is not loaded cannot run");
        assert_eq!(first[0].share, Percent::whole(10));
        let more = json!({"shadows": {"2": 50.0}, "allow_nan": true, "max_batch_size": 4});
        let second = targets(&mut sinks, &model(more));
        assert!(Arc::ptr_eq(&first[0].sink, &second[0].sink));
        assert_eq!(second[0].share, Percent::whole(50));
        assert!(second[0].rules.allow_nan && second[0].rules.max_batch_size == 4);
        let not_twice = json!({"shadows": {"2": 50.0}, "idempotent": false});
        assert!(targets(&mut sinks, &model(not_twice)).is_empty());
        let third = targets(&mut sinks, &model(json!({"shadows": {"2": 50.0}})));
        assert!(!Arc::ptr_eq(&first[0].sink, &third[0].sink), "it was none meanwhile");
    }
}
