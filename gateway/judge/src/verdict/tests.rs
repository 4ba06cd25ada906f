use super::*;
use crate::counts::{Latencies, Observed, Outcomes, TailPart};
use crate::decide::{Cause, Grounds, HoldReason, Standing, decide};
use crate::shadow::{Diff, Pairs, ShadowJudge, decide_shadow};
use weighbridge_config::rollout::{OnRegression, ShadowStage};

fn spec() -> RolloutSpec {
    let shadow = ShadowStage { requests: 0, ..ShadowStage::default() };
    RolloutSpec { shadow, ..RolloutSpec::default() }
}

fn about() -> About {
    About {
        model: "fraud-scorer".to_owned(),
        from: Version::try_from(41).expect("a version"),
        to: Version::try_from(42).expect("a version"),
        attempt: 1,
        elapsed_ms: 223_000,
        rescued: 6,
        answer_times: None,
    }
}

fn situation(step: usize) -> Situation {
    Situation {
        step,
        standing: Standing::Running,
        frozen: false,
        at_step_ms: 780_000,
        since_canary_ms: 0,
        expected_per_s: 1.4,
        told: false,
        abort: None,
    }
}

fn outcomes(canary: (u64, u64), stable: (u64, u64)) -> Pair<Outcomes> {
    let of = |(n, err)| Outcomes { ok: n - err, err, ..Outcomes::default() };
    Pair { canary: of(canary), stable: of(stable) }
}

fn judge(spec: &RolloutSpec, step: usize) -> Judge {
    let mut judge = Judge::new(spec, Observed::Request);
    judge.begin_epoch(step, spec.steps[step]);
    judge
}

fn levels(levels: [u64; 9]) -> Latencies {
    Latencies { rollback: levels, promote: levels, ..Latencies::default() }
}

fn verdict(judge: &mut Judge, spec: &RolloutSpec, tail: &Tail, now: Situation) -> Verdict {
    let seen = judge.assess(tail);
    let decision = decide(spec, &seen, &now);
    let verdict = Verdict::live(judge, tail, seen, now, decision, about());
    // The ledger keeps it: JSON and back reads the same.
    let json = serde_json::to_string(&verdict).expect("JSON");
    let back: Verdict = serde_json::from_str(&json).expect("what was written");
    assert_eq!((back.to_string(), &back.decision), (verdict.to_string(), &verdict.decision));
    verdict
}

#[test]
fn a_rollback_reads_as_designed() {
    let spec = spec();
    let mut judge = judge(&spec, 1);
    judge.absorb_outcomes(spec.steps[1], &outcomes((312, 8), (5878, 6)), false);
    let latencies = Pair {
        canary: levels([28, 46, 70, 78, 50, 16, 12, 3, 1]),
        stable: levels([580, 880, 1470, 1470, 880, 300, 230, 56, 6]),
    };
    judge.absorb_latencies(spec.steps[1], &latencies);
    let verdict = verdict(&mut judge, &spec, &Tail::default(), situation(1));
    let text = verdict.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "ROLLED BACK  fraud-scorer 42 → 41   step 2/4 (5 %)   attempt 1   after 312 canary / 6 190 total requests, 3 m 43 s"
    );
    assert_eq!(
        lines[1],
        "  err     2.56 % (8/312) vs 0.10 % (6/5 878)   +2.5 pp, 95 % CS +0.4…+6.4; limit +0.2 pp   evidence 373 : 1; 250 : 1 was required   ✗ decided, p ≤ 0.0027"
    );
    assert!(lines[2].starts_with("  rank    mean rank 51.4 % (of 304) after ÷1.1 vs 50.1 % (of 5 872)   +1.3 pp, 95 % CS "), "{text}");
    assert!(lines[2].ends_with("; 500 : 1 was required   ok"), "{text}");
    assert!(lines[3].contains("5.26 % (16/304) beyond stable's p95 after ÷1.1 vs 4.97 % (292/5 872)   +0.3 pp, 95 % CS "), "{text}");
    assert!(lines[3].contains("; limit +1.0 pp   evidence "), "{text}");
    assert_eq!(
        lines[5],
        "  users hit: 2 failed requests (6 rescued by stable)   next: weighbridge rollout why fraud-scorer"
    );
    let json = serde_json::to_value(&verdict).expect("JSON");
    assert_eq!(json["decision"], "roll_back");
    assert_eq!(json["because"]["cause"], "regression");
    assert_eq!(json["because"]["stream"], "err");
    assert_eq!(json["seen"]["stage"], "live");
    assert_eq!(json["seen"]["streams"][0]["seen"]["canary"]["n"], 312);
}

#[test]
fn the_guard_says_what_it_saw() {
    let mut spec = spec();
    spec.guard.relative = 20.0;
    let mut judge = judge(&spec, 1);
    let part = TailPart {
        weight: spec.steps[1],
        warm_up: outcomes((4, 4), (100, 20)),
        counted: Pair::default(),
        open: Pair { canary: 0, stable: 20 },
    };
    judge.absorb_outcomes(spec.steps[1], &outcomes((1, 1), (0, 0)), true);
    let tail = Tail { parts: vec![part] };
    let text = verdict(&mut judge, &spec, &tail, situation(1)).to_string();
    assert!(text.starts_with("ROLLED BACK  fraud-scorer 42 → 41"), "{text}");
    assert!(
        text.contains("\n  guard   100 % of the canary's requests failed (5/5)   evidence "),
        "{text}"
    );
    assert!(text.contains("; 1 000 : 1 was required; that stable does not fail too "), "{text}");
    assert!(text.contains(", 20 : 1 was required   ✗ decided"), "{text}");
    assert!(text.contains("users hit: 0 failed requests (6 rescued by stable)"), "{text}");
}

#[test]
fn holds_say_why() {
    let spec = spec();
    let silent = Situation { since_canary_ms: 60_000, expected_per_s: 0.28, ..situation(0) };
    let text = verdict(&mut judge(&spec, 0), &spec, &Tail::default(), silent).to_string();
    assert!(
        text.starts_with("HOLD  no-data: no canary request finished for 1 m (weight 1 %, expected 0.28 req/s)\n  fraud-scorer 41 → 42   step 1/4 (1 %)   attempt 1   after 0 canary / 0 total requests"),
        "{text}"
    );
    assert!(
        text.contains("  err     – % (0/0) vs – % (0/0), 95 % CS open; limit +0.2 pp"),
        "{text}"
    );

    let mut lost = judge(&spec, 1);
    lost.absorb_outcomes(spec.steps[1], &outcomes((400, 0), (9600, 0)), false);
    let text = verdict(&mut lost, &spec, &Tail::default(), situation(1)).to_string();
    assert!(
        text.starts_with("HOLD  split: 4.00 % of the counted requests were the canary's (400/10 000), drawn were 5 % at this step; evidence 8 693 : 1; 1 000 : 1 was required"),
        "{text}"
    );

    let mut outage = judge(&spec, 1);
    outage.absorb_outcomes(spec.steps[1], &outcomes((30, 30), (570, 570)), false);
    let verdict = verdict(&mut outage, &spec, &Tail::default(), situation(1));
    assert_eq!(verdict.decision, Decision::Hold(HoldReason::CommonCause));
    let text = verdict.to_string();
    assert!(text.starts_with("HOLD  common-cause: the canary fails 100 % (30/30), stable 100 % (570/570); that it is the canary alone has evidence "), "{text}");
    assert!(text.contains("guard   100 % of the canary's requests failed (30/30)"), "{text}");
}

#[test]
fn steps_and_their_end() {
    let spec = spec();
    let good = |step: usize| {
        let mut judge = judge(&spec, step);
        let weight = spec.steps[step];
        judge.absorb_outcomes(weight, &outcomes((5000, 1), (5000, 6)), false);
        let quick = [900, 1000, 1300, 950, 650, 130, 60, 10, 0];
        let usual = [500, 750, 1250, 1250, 750, 250, 200, 45, 5];
        let latencies = Pair { canary: levels(quick), stable: levels(usual) };
        judge.absorb_latencies(weight, &latencies);
        judge
    };
    let advanced = verdict(&mut good(2), &spec, &Tail::default(), situation(2));
    assert_eq!(advanced.decision, Decision::Hold(HoldReason::Split), "even counts at 25 %");
    let promoted = verdict(&mut good(3), &spec, &Tail::default(), situation(3));
    assert_eq!(promoted.decision, Decision::Promote(Grounds::Proved));
    let text = promoted.to_string();
    assert!(
        text.starts_with("PROMOTED 50 → 100 %: all 4 checks proved \"not worse\" (weakest: "),
        "{text}"
    );
    assert!(text.contains("; 20 : 1 was required), 5 000 canary requests, 13 m\n"), "{text}");
    assert!(text.contains("   not worse than +20 % and +1.0 pp "), "{text}");
    assert!(text.contains("   not worse than +0.5 pp "), "{text}");
    assert_eq!(text.matches("✓ proved").count(), 4, "{text}");
}

#[test]
fn what_is_open_has_an_estimate() {
    let spec = spec();
    let mut judge = judge(&spec, 0);
    let running = verdict(&mut judge, &spec, &Tail::default(), situation(0));
    assert_eq!(running.decision, Decision::Stay);
    // 0.1 % of errors and the latency of stable need some hundred canary requests at 1 %.
    let seconds = running.eta_s.expect("an estimate");
    assert!((100..1000).contains(&seconds), "{seconds} s at 1.4 req/s");
    let text = running.to_string();
    assert!(text.starts_with("RUNNING\n  fraud-scorer 41 → 42"), "{text}");
    assert!(text.contains("proof: in ≈ "), "{text}");

    let slow = Situation { expected_per_s: 0.005, ..situation(0) };
    let text = verdict(&mut judge, &spec, &Tail::default(), slow).to_string();
    assert!(
        text.contains("raise the weight, add a shadow stage or loosen a margin to have it sooner"),
        "{text}"
    );
    let never = Situation { expected_per_s: 0.0, ..situation(0) };
    let text = verdict(&mut judge, &spec, &Tail::default(), never).to_string();
    assert!(text.contains("proof: not in sight at the current rates"), "{text}");
    for (standing, word) in [
        (Standing::Paused, "PAUSED"),
        (Standing::Held, "HELD until somebody decides"),
        (Standing::WaitsForApproval, "WAITS FOR APPROVAL"),
    ] {
        let now = Situation { standing, ..situation(0) };
        let text = verdict(&mut judge, &spec, &Tail::default(), now).to_string();
        assert!(text.starts_with(word), "{text}");
    }
    let now = Situation { frozen: true, ..situation(0) };
    let text = verdict(&mut judge, &spec, &Tail::default(), now).to_string();
    assert!(text.starts_with("FROZEN  guard and rollback stay on"), "{text}");
}

#[test]
fn an_estimate_comes_true() {
    let spec = spec();
    let mut judge = judge(&spec, 3);
    let now = Situation { at_step_ms: 120_000, expected_per_s: 100.0, ..situation(3) };
    let mut estimate = 0;
    let usual = [10, 15, 25, 25, 15, 5, 4, 1, 0];
    let scaled = [20, 20, 25, 20, 8, 4, 3, 0, 0];
    // The estimate after the first second is about the time that it takes.
    let mut seconds = 0;
    while judge.eta_s(&now) != Some(0) {
        seconds += 1;
        assert!(seconds < 1000);
        judge.absorb_outcomes(spec.steps[3], &outcomes((100, 0), (100, 0)), false);
        let stable = levels(usual);
        let canary = Latencies { promote: scaled, ..levels(usual) };
        judge.absorb_latencies(spec.steps[3], &Pair { canary, stable });
        if seconds == 1 {
            estimate = judge.eta_s(&now).expect("an estimate");
        }
    }
    assert!((seconds / 2..=2 * seconds).contains(&estimate), "{estimate} s for {seconds} s");
}

#[test]
fn by_hand_regressed_held() {
    let mut spec = spec();
    let by_hand = Situation { abort: Some("wrong file (ann)".to_owned()), ..situation(0) };
    let text = verdict(&mut judge(&spec, 0), &spec, &Tail::default(), by_hand).to_string();
    assert!(text.contains("\n  by hand: wrong file (ann)\n"), "{text}");

    let broken = |spec: &RolloutSpec| {
        let mut judge = judge(spec, 1);
        judge.absorb_outcomes(spec.steps[1], &outcomes((420, 20), (7980, 8)), false);
        judge
    };
    spec.on_regression = OnRegression::Notify;
    let told = verdict(&mut broken(&spec), &spec, &Tail::default(), situation(1));
    assert!(matches!(told.decision, Decision::Regressed(Cause::Regression { .. })));
    let text = told.to_string();
    assert!(text.starts_with("REGRESSED  it goes on: on_regression = notify\n"), "{text}");
    assert!(text.contains("✗ decided"), "{text}");
    spec.on_regression = OnRegression::Hold;
    let held = verdict(&mut broken(&spec), &spec, &Tail::default(), situation(1));
    let text = held.to_string();
    assert!(
        text.starts_with("HELD until somebody decides  regression: err (on_regression = hold)\n"),
        "{text}"
    );
}

#[test]
fn shadow_stage() {
    let spec = RolloutSpec::default();
    let look = |pairs: Pairs, diff: Diff| {
        let mut judge = ShadowJudge::new(&spec);
        judge.absorb(&pairs, &diff);
        let (seen, now) = (judge.assess(), Situation { at_step_ms: 61_000, ..situation(0) });
        let decision = decide_shadow(&spec, &seen, &now);
        Verdict::shadow(&spec, seen, now, decision, about())
    };
    let other = look(Pairs { both_ok: 100, ..Pairs::default() }, Diff { differ: 60, same: 40 });
    let text = other.to_string();
    assert!(
        text.starts_with("ROLLED BACK  fraud-scorer 42 → 41   shadow stage   attempt 1   after 100 compared copies, 3 m 43 s\n"),
        "{text}"
    );
    assert!(
        text.contains(
            "  diff    60.0 % (60/100) of the answers differ; limit 1.00 %   evidence 10^"
        ),
        "{text}"
    );
    let done = look(Pairs { both_ok: 2000, ..Pairs::default() }, Diff { differ: 2, same: 1998 });
    let text = done.to_string();
    assert!(
        text.starts_with(
            "ADVANCED shadow → 1 %: shadow stage complete, 2 000 copies compared, 1 m 1 s\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("   ok"), "{text}");
}
