//! Golden vectors: those of the design (`docs/rollouts.md` repeats them) and our own, computed
//! from the formulas with another program (Python, numpy). Natural logarithms.

use std::time::Duration;

use weighbridge_config::rollout::{Percent, RateMargins, Reward, RolloutSpec, ShadowStage, Slo};
use weighbridge_judge::{
    Assessment, Diff, Judge, LEVELS, Latencies, Observed, Outcomes, Pair, Pairs, Rewards,
    ShadowJudge, Stream, StreamEvidence, Tail, TailPart,
};

/// The share of the first start, which the vectors without starts leave out.
const FIRST_START: f64 = -std::f64::consts::LN_2;

const STABLE: [u64; LEVELS] = [200, 300, 480, 500, 290, 110, 80, 19, 3];
const CANARY: [u64; LEVELS] = [10, 12, 22, 25, 18, 8, 9, 5, 2];
const FASTER: [u64; LEVELS] = [150, 220, 380, 360, 210, 60, 55, 9, 1];

fn spec() -> RolloutSpec {
    let shadow = ShadowStage { requests: 0, ..ShadowStage::default() };
    RolloutSpec { shadow, ..RolloutSpec::default() }
}

/// The step of the default spec that has this weight.
fn step_of(spec: &RolloutSpec, weight: Percent) -> usize {
    spec.steps.iter().position(|step| *step == weight).expect("a default step")
}

fn judge(spec: &RolloutSpec, observed: Observed, weight: Percent) -> Judge {
    let mut judge = Judge::new(spec, observed);
    judge.begin_epoch(step_of(spec, weight), weight);
    judge
}

/// Of (requests, errors).
fn outcomes((n, err): (u64, u64)) -> Outcomes {
    Outcomes { ok: n - err, err, ..Outcomes::default() }
}

fn errors(canary: (u64, u64), stable: (u64, u64)) -> Pair<Outcomes> {
    Pair { canary: outcomes(canary), stable: outcomes(stable) }
}

fn levels(canary: [u64; LEVELS], stable: [u64; LEVELS]) -> Pair<Latencies> {
    let of = |levels| Latencies { rollback: levels, promote: levels, ..Latencies::default() };
    Pair { canary: of(canary), stable: of(stable) }
}

fn of(seen: &Assessment, stream: Stream) -> StreamEvidence {
    *seen.streams.iter().find(|of| of.stream == stream).expect("a judged stream")
}

#[track_caller]
fn same(came: f64, wanted: f64, digits: i32) {
    let off = (came - wanted).abs();
    assert!(off <= 0.5001 * 10_f64.powi(-digits), "{came} instead of {wanted}");
}

#[test]
fn rollback_of_errors() {
    let cases = [
        (5, (420, 9), (7980, 8), 6.386484529584749),
        (5, (3, 3), (60, 0), 7.151808860055726),
        (1, (3, 3), (300, 0), 11.208231556114402),
        (50, (6, 6), (7, 0), 6.284257713269767),
        (50, (5000, 10), (5000, 10), -2.402118073678396),
        (50, (100, 100), (100, 100), -1.999995644204759),
    ];
    for (weight, canary, stable, wanted) in cases {
        let weight = Percent::whole(weight);
        let mut judge = judge(&spec(), Observed::Request, weight);
        judge.absorb_outcomes(weight, &errors(canary, stable), false);
        let err = of(&judge.assess(&Tail::default()), Stream::Err);
        same(err.log_e - FIRST_START, wanted, 9);
        assert_eq!(err.seen.canary.n, canary.0);
        same(err.log_e_required, 250_f64.ln(), 9);
    }
}

#[test]
fn promotion_of_errors() {
    // At 1 % the margin is 2 pp (0.1 % of all traffic, next weight 5 %), at 50 % it is 0.5 pp.
    let cases = [
        (1, (230, 0), (22_770, 23), 0.02, 3.0674336374198616),
        (50, (2500, 2), (2500, 3), 0.005, 7.199990245996737),
    ];
    for (weight, canary, stable, margin, wanted) in cases {
        let weight = Percent::whole(weight);
        let mut judge = judge(&spec(), Observed::Request, weight);
        judge.absorb_outcomes(weight, &errors(canary, stable), false);
        let err = of(&judge.assess(&Tail::default()), Stream::Err);
        same(err.promote_margin, margin, 12);
        same(err.log_v, wanted, 9);
        same(err.log_v_required, 20_f64.ln(), 9);
    }
}

#[test]
fn rollback_of_latency() {
    let design = ([4, 8, 14, 18, 16, 9, 7, 3, 1], [190, 285, 475, 475, 285, 95, 76, 17, 2]);
    let cases = [
        (5, design, [Some(3.848053561607733), None, None]),
        (
            5,
            (CANARY, STABLE),
            [Some(0.6816752455943016), Some(2.5163283193769623), Some(2.7314102879778352)],
        ),
        (
            50,
            (CANARY, STABLE),
            [Some(-1.6011249559442042), Some(-1.2754979514876021), Some(-1.0192650246609274)],
        ),
    ];
    for (weight, (canary, stable), wanted) in cases {
        let weight = Percent::whole(weight);
        let mut judge = judge(&spec(), Observed::Request, weight);
        judge.absorb_latencies(weight, &levels(canary, stable));
        let seen = judge.assess(&Tail::default());
        for (stream, wanted) in [Stream::Rank, Stream::P95, Stream::P99].into_iter().zip(wanted) {
            if let Some(wanted) = wanted {
                same(of(&seen, stream).log_e - FIRST_START, wanted, 9);
            }
        }
    }
}

#[test]
fn promotion_of_latency() {
    let cases = [
        (5, [5.983416410397047, 6.075797621916826, 16.03481897628701]),
        (50, [0.7609144326978428, 0.5219062899204836, 1.8324111749605252]),
    ];
    for (weight, wanted) in cases {
        let weight = Percent::whole(weight);
        let mut judge = judge(&spec(), Observed::Request, weight);
        judge.absorb_latencies(weight, &levels(FASTER, STABLE));
        let seen = judge.assess(&Tail::default());
        for (stream, wanted) in [Stream::Rank, Stream::P95, Stream::P99].into_iter().zip(wanted) {
            same(of(&seen, stream).log_v, wanted, 9);
        }
    }
}

#[test]
fn optional_streams() {
    let spec = RolloutSpec {
        client_errors: Some(RateMargins::default()),
        slo: Some(Slo { latency: Duration::from_millis(200), margins: RateMargins::default() }),
        reward: Some(Reward {
            metric: "clicked".to_owned(),
            good_at_least: 1.0,
            margins: RateMargins::default(),
        }),
        ..spec()
    };
    let refused = |n: u64, client_error| Outcomes {
        ok: n - client_error,
        client_error,
        ..Outcomes::default()
    };
    let late = |n: u64, slo_missed| Latencies {
        slo_missed,
        slo_met: n - slo_missed,
        ..Latencies::default()
    };
    let bad = |n: u64, bad| Rewards { good: n - bad, bad };
    let look = |weight, n: [Pair<(u64, u64)>; 3]| {
        let weight = Percent::whole(weight);
        let mut judge = judge(&spec, Observed::Request, weight);
        let [c, l, r] = n;
        let c = Pair {
            canary: refused(c.canary.0, c.canary.1),
            stable: refused(c.stable.0, c.stable.1),
        };
        let l = Pair { canary: late(l.canary.0, l.canary.1), stable: late(l.stable.0, l.stable.1) };
        let r = Pair { canary: bad(r.canary.0, r.canary.1), stable: bad(r.stable.0, r.stable.1) };
        judge.absorb_outcomes(weight, &c, false);
        judge.absorb_latencies(weight, &l);
        judge.absorb_rewards(weight, &r);
        let seen = judge.assess(&Tail::default());
        [Stream::ClientErrors, Stream::Slo, Stream::Reward].map(|stream| of(&seen, stream))
    };
    let pair = |canary, stable| Pair { canary, stable };
    let none = pair((0, 0), (0, 0));

    let worse = look(5, [pair((400, 60), (7600, 610)), pair((380, 31), (7400, 150)), none]);
    same(worse[0].log_e - FIRST_START, 5.514336021010983, 9);
    same(worse[1].log_e - FIRST_START, 12.652502985853566, 9);
    // α shared by 0.4, 6 × 0.2 over 1.6.
    same(worse[0].log_e_required, 800_f64.ln(), 9);
    let fine = look(5, [pair((4000, 320), (76_000, 6100)), pair((3800, 70), (74_000, 1500)), none]);
    same(fine[0].log_v, -1.0484332441734026, 9);
    same(fine[1].log_v, 2.1380743097251687, 9);
    same(
        look(25, [none, none, pair((300, 285), (900, 810))])[2].log_e - FIRST_START,
        0.8951742176678774,
        9,
    );
    same(
        look(25, [none, none, pair((30_000, 26_500), (90_000, 81_000))])[2].log_v,
        38.147992902537844,
        9,
    );
}

#[test]
fn keys_count_their_first_error() {
    let keys = |n: u64, unit_err| Outcomes { ok: n, unit_err, ..Outcomes::default() };
    let cases = [
        (5, keys(100, 5), keys(1900, 3), 7.740082848188218),
        (50, keys(900, 40), keys(1000, 12), 4.164682560563348),
    ];
    for (weight, canary, stable, wanted) in cases {
        let weight = Percent::whole(weight);
        let mut judge = judge(&spec(), Observed::Key, weight);
        judge.absorb_outcomes(weight, &Pair { canary, stable }, false);
        let seen = judge.assess(&Tail::default());
        same(of(&seen, Stream::Err).log_e - FIRST_START, wanted, 9);
    }
}

#[test]
fn evidence_starts_again() {
    let spec = spec();
    let mut judge = judge(&spec, Observed::Request, Percent::whole(5));
    let look = |judge: &mut Judge| of(&judge.assess(&Tail::default()), Stream::Err).log_e;
    judge.absorb_outcomes(Percent::whole(5), &errors((200, 0), (4000, 4)), false);
    same(look(&mut judge), -1.7275886666300226, 9);
    judge.open_starts(299_999);
    same(look(&mut judge), -1.7275886666300226, 9);
    judge.open_starts(300_000);
    judge.absorb_outcomes(Percent::whole(5), &errors((100, 12), (1900, 2)), false);
    same(look(&mut judge), 22.76725112774576, 9);
    // A window without a look is not made up for: one start, the third.
    judge.open_starts(1_000_000);
    judge.absorb_outcomes(Percent::whole(25), &errors((300, 9), (900, 1)), false);
    same(look(&mut judge), 30.22739729123671, 9);
}

#[test]
fn latency_evidence_starts_again() {
    let weight = Percent::whole(5);
    let mut judge = judge(&spec(), Observed::Request, weight);
    judge.absorb_latencies(weight, &levels(FASTER, STABLE.map(|n| 19 * n)));
    same(of(&judge.assess(&Tail::default()), Stream::Rank).log_e, -3.8588294237950023, 9);
    judge.open_starts(300_000);
    judge.absorb_latencies(weight, &levels(CANARY, STABLE));
    same(of(&judge.assess(&Tail::default()), Stream::Rank).log_e, -1.0311567773318662, 9);
}

#[test]
fn evidence_adds_over_weights() {
    let mut judge = judge(&spec(), Observed::Request, Percent::whole(1));
    judge.absorb_outcomes(Percent::whole(1), &errors((100, 2), (9900, 9)), false);
    judge.begin_epoch(1, Percent::whole(5));
    judge.absorb_outcomes(Percent::whole(5), &errors((300, 7), (5700, 6)), false);
    same(of(&judge.assess(&Tail::default()), Stream::Err).log_e, 6.084933815252839, 9);
}

#[test]
fn guard() {
    let absolute = |limit, (n, err), starts: &[(u64, u64)]| {
        let mut spec = spec();
        spec.guard.error_rate = limit;
        let weight = Percent::whole(5);
        let mut judge = judge(&spec, Observed::Request, weight);
        judge.absorb_outcomes(weight, &errors((n, err), (0, 0)), true);
        for (place, more) in starts.iter().enumerate() {
            judge.open_starts(30_000 * (place as u64 + 1));
            judge.absorb_outcomes(weight, &errors(*more, (0, 0)), true);
        }
        judge.assess(&Tail::default()).guard.absolute_log_e
    };
    let cases = [
        (0.1, (4, 4), 8.365504954121196),
        (0.1, (33, 15), 12.219228541834488),
        (0.1, (240, 60), 20.77326932841759),
        (0.02, (60, 9), 9.255473462534198),
    ];
    for (limit, canary, wanted) in cases {
        same(absolute(limit, canary, &[]) - FIRST_START, wanted, 9);
    }
    same(absolute(0.1, (500, 0), &[]), -93.24021993865719, 9);
    same(absolute(0.1, (500, 0), &[(10, 6)]), 4.252755809686056, 9);
    same(absolute(0.1, (500, 0), &[(10, 6), (5, 5)]), 12.891556587836824, 9);
}

#[test]
fn guard_has_relative_evidence_over_its_own_starts() {
    let weight = Percent::whole(5);
    let mut judge = judge(&spec(), Observed::Request, weight);
    let parts = [errors((200, 0), (4000, 4)), errors((100, 12), (1900, 2))];
    judge.absorb_outcomes(weight, &parts[0], true);
    judge.open_starts(30_000);
    judge.absorb_outcomes(weight, &parts[1], false);
    let seen = judge.assess(&Tail::default());
    // As `err` with a start there; `err` itself has none yet, and has not seen the warm-up.
    same(seen.guard.relative_log_e, 22.76725112774576, 9);
    assert!(of(&seen, Stream::Err).log_e > 22.76725112774576);
    assert_eq!(seen.counted.canary.n(), 100);
    assert_eq!(seen.total.canary.n(), 300);
}

#[test]
fn split() {
    let cases = [
        (500, (400, 9600), 9.070277234245225),
        (500, (500, 9500), -1.2004667529578228),
        (100, (0, 900), 2.6005707317335567),
        (1, (3, 20_000), -1.9956970831255716),
    ];
    for (points, (canary, stable), wanted) in cases {
        let weight = Percent::points(points);
        let mut judge = Judge::new(&spec(), Observed::Request);
        judge.begin_epoch(0, weight);
        judge.absorb_outcomes(weight, &errors((canary, 0), (stable, 0)), false);
        same(judge.assess(&Tail::default()).split_log_e, wanted, 8);
    }
}

#[test]
fn shadow_stage() {
    let look = |pairs, diff, max_share| {
        let mut spec = RolloutSpec::default();
        spec.outputs.max_share = max_share;
        let mut judge = ShadowJudge::new(&spec);
        judge.absorb(&pairs, &diff);
        let seen = judge.assess();
        // α shared by 0.4, 3 × 0.2, 2 × 0.1 over 1.2.
        same(seen.streams[0].log_e_required, 1200_f64.ln(), 9);
        (seen.streams[0].log_e, seen.streams[1].log_e)
    };
    let pairs = [
        ((11, 0, 0, 0), 5.692610563083889),
        ((22, 4, 1900, 74), 2.9870928773233674),
        ((2, 3, 1995, 0), -1.0370973723990144),
    ];
    for ((canary_err, stable_err, both_ok, both_err), wanted) in pairs {
        let pairs = Pairs { both_ok, canary_err, stable_err, both_err };
        same(look(pairs, Diff::default(), 0.01).0, wanted, 9);
    }
    let diffs = [
        ((3, 0), 0.01, 12.571099726979744),
        ((48, 952), 0.01, 35.79516636259386),
        ((20, 1980), 0.01, -8.164315864301127),
        ((30, 70), 0.2, 1.2647393328468746),
    ];
    for ((differ, same_answers), max_share, wanted) in diffs {
        let diff = Diff { differ, same: same_answers };
        same(look(Pairs::default(), diff, max_share).1, wanted, 9);
    }
}

#[test]
fn effect_is_what_neither_test_rejects() {
    let weight = Percent::whole(5);
    let mut judge = judge(&spec(), Observed::Request, weight);
    judge.absorb_outcomes(weight, &errors((312, 8), (5878, 6)), false);
    judge.absorb_latencies(weight, &levels(CANARY, STABLE));
    let seen = judge.assess(&Tail::default());
    // The verdict of the design: 373 : 1, and +0.4 to +6.4 pp.
    same(of(&seen, Stream::Err).log_e, 5.9213799080383795, 9);
    same(of(&seen, Stream::Err).log_e.exp(), 372.925962520065, 6);
    let effects = judge.effects(&Tail::default());
    same(effects[0].low.expect("a lower end"), 0.004349340462375981, 4);
    same(effects[0].high.expect("an upper end"), 0.06402102874123548, 4);
    same(effects[2].low.expect("a lower end"), 0.00044271966444545325, 4);
    same(effects[2].high.expect("an upper end"), 0.22273945760072147, 4);
}

#[test]
fn pending_requests_are_completed_for_the_canary() {
    let weight = Percent::whole(5);
    let mut judge = judge(&spec(), Observed::Request, weight);
    // Three canary errors are settled; behind them stable's requests are still open.
    judge.absorb_outcomes(weight, &errors((3, 3), (20, 0)), false);
    let settled = of(&judge.assess(&Tail::default()), Stream::Err).log_e;
    let part = |canary, stable, open: u64| TailPart {
        weight,
        warm_up: Pair::default(),
        counted: errors(canary, stable),
        open: Pair { canary: 0, stable: open },
    };
    let outage = Tail { parts: vec![part((2, 0), (40, 40), 40)] };
    let seen = judge.assess(&outage);
    // What is settled stays proved; what is open is no error that anyone has seen.
    same(of(&seen, Stream::Err).log_e, settled, 12);
    assert_eq!(of(&seen, Stream::Err).seen.stable.sum, 0.0);
    assert_eq!((seen.open.stable, seen.counted.stable.err), (40, 40));
    // Errors that are known already need not wait for their second to be settled.
    let known = Tail { parts: vec![part((3, 3), (40, 0), 0)] };
    let seen = judge.assess(&known);
    let mut all = Judge::new(&spec(), Observed::Request);
    all.absorb_outcomes(weight, &errors((6, 6), (60, 0)), false);
    same(of(&seen, Stream::Err).log_e, of(&all.assess(&Tail::default()), Stream::Err).log_e, 12);
    assert!(seen.guard.fires());
    // With all of stable's open, the same errors say nothing about the canary.
    let mut fresh = Judge::new(&spec(), Observed::Request);
    fresh.begin_epoch(1, weight);
    let shared = Tail { parts: vec![part((6, 6), (120, 120), 120)] };
    let seen = fresh.assess(&shared);
    assert!(seen.guard.is_breached() && !seen.guard.fires());
    assert!(!of(&seen, Stream::Err).regressed());
}
