//! Which loaded versions make room for another: a pure decision.
//!
//! What is [`Hold::Needed`] never goes. Of the rest, versions that are merely kept go before
//! those that requests have asked for, and of each kind the least recently used first.

use std::time::Instant;

/// How firmly a version is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// Something may need it at any moment: it stays.
    Needed,
    /// It is loaded when a request asks for it.
    OnDemand,
    /// It is there because there was room.
    Kept,
}

/// A version in memory, or on its way there.
#[derive(Debug, Clone)]
pub(super) struct Resident<K> {
    pub key: K,
    pub bytes: u64,
    pub hold: Hold,
    pub last_used: Instant,
    /// Until then it is not put away for a version that is held on demand as well; `None` while
    /// it is being loaded, when it cannot be put away at all.
    pub stays_until: Option<Instant>,
}

/// There is no room, and none can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// Bytes that the version takes.
    pub wanted: u64,
    /// Bytes that the loaded versions take.
    pub used: u64,
    /// Those of them that may not be put away now.
    pub fixed: u64,
    pub budget: u64,
}

/// Chooses what to put away so that `wanted` more bytes fit into `budget` for a version that will
/// be held as `hold`. A version that is merely kept drives nobody out.
pub(super) fn make_room<K: Clone>(
    residents: &[Resident<K>],
    budget: u64,
    wanted: u64,
    hold: Hold,
    now: Instant,
) -> Result<Vec<K>, NoRoom> {
    let used: u64 = residents.iter().map(|r| r.bytes).sum();
    let mut over = used.saturating_add(wanted).saturating_sub(budget);
    let mut may_go: Vec<&Resident<K>> = residents.iter().filter(|r| may_go(r, hold, now)).collect();
    let fixed = used - may_go.iter().map(|r| r.bytes).sum::<u64>();
    may_go.sort_by_key(|r| (std::cmp::Reverse(r.hold), r.last_used));
    let mut going = Vec::new();
    for resident in may_go {
        if over == 0 {
            break;
        }
        over = over.saturating_sub(resident.bytes);
        going.push(resident.key.clone());
    }
    if over == 0 { Ok(going) } else { Err(NoRoom { wanted, used, fixed, budget }) }
}

fn may_go<K>(resident: &Resident<K>, newcomer: Hold, now: Instant) -> bool {
    let Some(stays_until) = resident.stays_until else { return false };
    match (newcomer, resident.hold) {
        (_, Hold::Needed) | (Hold::Kept, _) => false,
        (Hold::OnDemand, Hold::OnDemand) => now >= stays_until,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const BUDGET: u64 = 100;

    fn resident(
        key: char,
        bytes: u64,
        hold: Hold,
        used: u64,
        stays: u64,
        t: Instant,
    ) -> Resident<char> {
        let at = |s| t + Duration::from_secs(s);
        Resident { key, bytes, hold, last_used: at(used), stays_until: Some(at(stays)) }
    }

    #[test]
    fn what_goes_first() {
        let t = Instant::now();
        let all = [
            resident('n', 40, Hold::Needed, 0, 0, t),
            resident('d', 20, Hold::OnDemand, 1, 10, t),
            resident('e', 10, Hold::OnDemand, 2, 10, t),
            resident('k', 10, Hold::Kept, 9, 0, t),
            resident('l', 10, Hold::Kept, 3, 0, t),
        ];
        let room =
            |wanted, hold, now| make_room(&all, BUDGET, wanted, hold, t + Duration::from_secs(now));
        let table = [
            (10, Hold::Kept, 20, Ok(vec![])),
            (11, Hold::Kept, 20, Err(90)),
            (15, Hold::OnDemand, 5, Ok(vec!['l'])),
            (30, Hold::OnDemand, 5, Ok(vec!['l', 'k'])),
            (31, Hold::OnDemand, 5, Err(70)),
            (31, Hold::OnDemand, 10, Ok(vec!['l', 'k', 'd'])),
            (31, Hold::Needed, 5, Ok(vec!['l', 'k', 'd'])),
            (60, Hold::Needed, 5, Ok(vec!['l', 'k', 'd', 'e'])),
            (61, Hold::Needed, 5, Err(40)),
        ];
        for (wanted, hold, now, expected) in table {
            let got = room(wanted, hold, now).map_err(|e| e.fixed);
            assert_eq!(got, expected, "{wanted} bytes as {hold:?} after {now} s");
        }
        let loading = [Resident { stays_until: None, ..all[3].clone() }];
        assert!(make_room(&loading, 5, 0, Hold::Needed, t).is_err(), "a load cannot be put away");
    }

    proptest! {
        #[test]
        fn what_is_left_fits_and_nothing_goes_in_vain(
            kinds in proptest::collection::vec((1u64..40, 0u8..3, 0u64..50, 0u64..50), 0..12),
            wanted in 0u64..60, by in 0u8..3, now in 0u64..60,
        ) {
            let t = Instant::now();
            let hold = |n| [Hold::Needed, Hold::OnDemand, Hold::Kept][usize::from(n)];
            let all: Vec<_> = kinds.iter().enumerate().map(|(i, (bytes, kind, used, stays))| {
                let key = char::from(b'a' + i as u8);
                resident(key, *bytes, hold(*kind), *used, *stays, t)
            }).collect();
            let used: u64 = all.iter().map(|r| r.bytes).sum();
            match make_room(&all, BUDGET, wanted, hold(by), t + Duration::from_secs(now)) {
                Ok(going) => {
                    let of = |key: &char| all.iter().find(|r| r.key == *key).unwrap();
                    let freed: u64 = going.iter().map(|k| of(k).bytes).sum();
                    prop_assert!(used - freed + wanted <= BUDGET);
                    prop_assert!(going.iter().all(|k| of(k).hold != Hold::Needed));
                    let last = going.last().map_or(0, |k| of(k).bytes);
                    prop_assert!(going.is_empty() || used - freed + last + wanted > BUDGET);
                }
                Err(no) => {
                    prop_assert!(no.fixed + wanted > BUDGET);
                    prop_assert_eq!(no.used, used);
                }
            }
        }
    }
}
