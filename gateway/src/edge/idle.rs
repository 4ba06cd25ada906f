//! Connections that take a place and ask nothing, or do not read what they asked for. HTTP/2 lets
//! the peer keep them open for as long as it likes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::edge::answer::{Answer, Parcel};
use crate::edge::permits::Carried;
use crate::telemetry::events;

/// How long a connection may be without a request that has been useful before. Clients of gRPC keep
/// theirs, and open another when they are told to.
const RESTING: Duration = Duration::from_secs(120);
/// How long one that rests may take to end well: HTTP/2 waits for a word of the peer.
const GOODBYE: Duration = Duration::from_secs(2);
/// The part of all connections that gives way at once: they are looked for one by one.
const GIVE_WAY: usize = 64;

/// The connections of one listener, so many at most.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    places: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Activity>>,
    next: AtomicU64,
}

/// The place of a connection.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    id: u64,
    pub activity: Activity,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// None is open.
    pub fn new(most: usize) -> Arc<Self> {
        let (places, open, next) = (Arc::new(Semaphore::new(most)), Mutex::default(), 0.into());
        Arc::new(Self { most, places, open, next })
    }

    /// A place if one is free, for a connection that has to ask something within `patience`.
    pub fn try_enter(self: &Arc<Self>, patience: Duration) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.place(permit, patience))
    }

    /// The same; where all are taken, those on which nothing is asked give way.
    pub async fn enter(self: &Arc<Self>, patience: Duration) -> Place {
        loop {
            if let Some(place) = self.try_enter(patience) {
                return place;
            }
            self.make_room();
            // Those that were told may be asked something just then.
            let free = timeout(GOODBYE, Arc::clone(&self.places).acquire_owned()).await;
            if let Ok(Ok(permit)) = free {
                return self.place(permit, patience);
            }
        }
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit, patience: Duration) -> Place {
        let (id, activity) = (self.next.fetch_add(1, Ordering::Relaxed), Activity::new(patience));
        self.lock().insert(id, activity.clone());
        Place { connections: Arc::clone(self), id, activity, _permit: permit }
    }

    /// Those that never asked anything go first, then those whose last request is the oldest.
    fn make_room(&self) {
        let open = self.lock();
        let resting = open.values().filter_map(|activity| Some((activity.rests()?, activity)));
        let mut resting: Vec<_> = resting.collect();
        let leave = (self.most / GIVE_WAY).clamp(1, resting.len().max(1));
        if leave < resting.len() {
            resting.select_nth_unstable_by_key(leave, |(order, _)| *order);
        }
        for (_, activity) in resting.into_iter().take(leave) {
            activity.tell_to_leave();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Activity>> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole map.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

/// The requests of one connection.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    leave: Notify,
}

#[derive(Debug)]
struct State {
    open: usize,
    /// Since when none is open.
    since: Instant,
    /// How long that may last.
    patience: Duration,
    has_asked: bool,
    is_told_to_leave: bool,
    /// Those of the open requests that are not handed over.
    answers: Vec<(u64, Arc<Parcel>)>,
    next: u64,
}

impl Activity {
    /// Of a connection that has just been opened, and has to ask something within `patience`.
    pub fn new(patience: Duration) -> Self {
        let state = State {
            open: 0,
            since: Instant::now(),
            patience,
            has_asked: false,
            is_told_to_leave: false,
            answers: Vec::new(),
            next: 0,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), leave: Notify::new() }))
    }

    /// A request has come; it lasts until the answer is through.
    pub fn begin(&self) -> Asking {
        let mut state = self.lock();
        state.open += 1;
        state.patience = RESTING.max(state.patience);
        state.has_asked = true;
        state.is_told_to_leave = false;
        Asking { activity: self.clone(), answer: None }
    }

    /// When the connection has rested for too long; none while it does not rest.
    fn ends(&self) -> Option<Instant> {
        let state = self.lock();
        (state.open == 0).then(|| state.since + state.patience)
    }

    /// Whether the connection rests and may be told to leave: those with the lowest value first.
    fn rests(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        (state.open == 0 && !state.is_told_to_leave).then_some((state.has_asked, state.since))
    }

    fn tell_to_leave(&self) {
        self.lock().is_told_to_leave = true;
        self.0.leave.notify_one();
    }

    /// Resolves when the connection rests and another one needs its place.
    pub async fn told_to_leave(&self) {
        loop {
            self.0.leave.notified().await;
            if self.lock().is_told_to_leave {
                return;
            }
        }
    }

    fn has_asked(&self) -> bool {
        self.lock().has_asked
    }

    /// Gives up the answers that nobody has read on since `then`. A connection on which nothing
    /// else is going on has rested for long enough.
    fn give_up_unread(&self, then: Instant) -> usize {
        let mut state = self.lock();
        let is_unread = |(_, parcel): &mut (u64, Arc<Parcel>)| parcel.is_unread_since(then);
        let unread: Vec<_> = state.answers.extract_if(.., is_unread).collect();
        state.open -= unread.len();
        if !unread.is_empty() && state.open == 0 {
            (state.since, state.patience) = (Instant::now(), Duration::ZERO);
        }
        drop(state);
        for (_, parcel) in &unread {
            parcel.give_up();
        }
        unread.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned lock would still hold whole counts.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request and its answer.
#[derive(Debug)]
pub struct Asking {
    activity: Activity,
    answer: Option<u64>,
}

impl Asking {
    /// The answer has come; what it carries is held until it is handed over.
    pub fn answered(mut self, mut response: Response) -> http::Response<Answer> {
        let carried = response.extensions_mut().remove::<Carried>();
        response.map(|body: Body| {
            let parcel = Arc::new(Parcel::new(body, carried));
            let mut state = self.activity.lock();
            let id = state.next;
            state.next += 1;
            state.answers.push((id, Arc::clone(&parcel)));
            drop(state);
            self.answer = Some(id);
            Answer::new(parcel, self)
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // Dropped after the lock: what an answer holds may take a while to let go.
        let _gone;
        let mut state = self.activity.lock();
        if let Some(id) = self.answer {
            let place = state.answers.iter().position(|(answer, _)| *answer == id);
            // One that was given up has been counted off.
            let Some(place) = place else { return };
            _gone = state.answers.swap_remove(place);
        }
        state.open -= 1;
        state.since = Instant::now();
    }
}

/// Serves `connection` until it ends; it is asked to when `closing` resolves, when it has rested for
/// too long, or when another one needs its place. Answers that are not read on for
/// `answer_timeout` are given up.
pub async fn attend<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    answer_timeout: Duration,
    closing: impl Future<Output = ()>,
) {
    let (mut connection, mut closing) = (pin!(connection), pin!(closing));
    let (mut is_asked, mut left_at) = (false, None);
    loop {
        let now = Instant::now();
        if let Some(then) = now.checked_sub(answer_timeout) {
            match activity.give_up_unread(then) {
                0 => {}
                unread => events::answers_unread(unread),
            }
        }
        let again = now + answer_timeout;
        let look = activity.ends().map_or(again, |end| end.min(again));
        tokio::select! {
            // What has come already is served before the connection is asked to end.
            biased;
            // A broken connection is the peer's affair: nobody is left to be told.
            _ = connection.as_mut() => return,
            () = closing.as_mut(), if !is_asked => {
                is_asked = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.told_to_leave(), if left_at.is_none() => {
                if !activity.has_asked() {
                    return;
                }
                left_at = Some(Instant::now() + GOODBYE);
            }
            () = sleep_until(look), if left_at.is_none() => {
                let now = Instant::now();
                if activity.ends().is_some_and(|end| end <= now) {
                    left_at = Some(now + GOODBYE);
                }
            }
            () = sleep_until(left_at.unwrap_or(look)), if left_at.is_some() => {
                if activity.ends().is_some() {
                    return;
                }
                // Something was asked just then.
                left_at = None;
            }
        }
        if left_at.is_some() && !is_asked {
            is_asked = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_when_no_request_is_open() {
        let activity = Activity::new(PATIENCE);
        assert_eq!(activity.ends(), Some(Instant::now() + PATIENCE));
        let (one, two) = (activity.begin(), activity.begin());
        drop(one);
        assert_eq!(activity.ends(), None, "one is still open");
        drop(two);
        assert_eq!(activity.ends(), Some(Instant::now() + RESTING), "it has been useful");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_a_request_until_it_is_handed_over_or_given_up() {
        let activity = Activity::new(PATIENCE);
        let answered = |body: &'static str| activity.begin().answered(Response::new(body.into()));
        let (one, two) = (answered("one"), answered("two"));
        drop(one);
        tokio::time::advance(SECOND).await;
        let three = answered("three");
        let not_answered = activity.begin();
        assert_eq!(activity.give_up_unread(Instant::now() - SECOND), 1, "the second");
        assert_eq!(activity.give_up_unread(Instant::now() - SECOND), 0, "and only once");
        drop(two);
        assert_eq!(activity.give_up_unread(Instant::now()), 1, "the third");
        assert_eq!(activity.ends(), None, "one is not answered");
        drop(three);
        assert_eq!(activity.ends(), None);
        drop(not_answered);
        assert_eq!(activity.ends(), Some(Instant::now() + RESTING));

        let four = answered("four");
        assert_eq!(activity.give_up_unread(Instant::now()), 1);
        assert_eq!(activity.ends(), Some(Instant::now()), "nothing else is going on");
        drop(four);
        assert_eq!(activity.lock().open, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_never_asked_give_way_first_and_those_that_ask_never() {
        let connections = Connections::new(4);
        let enter = async || {
            tokio::time::advance(SECOND).await;
            connections.try_enter(PATIENCE)
        };
        let (busy, useful) = (enter().await.unwrap(), enter().await.unwrap());
        let (silent, newest) = (enter().await.unwrap(), enter().await.unwrap());
        assert!(enter().await.is_none());
        let asking = busy.activity.begin();
        drop(useful.activity.begin());
        let told = |place: &Place| place.activity.told_to_leave().now_or_never().is_some();
        let mut came = Vec::new();
        for (leaves, place) in [("silent", silent), ("newest", newest), ("useful", useful)] {
            let mut newcomer = std::pin::pin!(connections.enter(PATIENCE));
            assert!(newcomer.as_mut().now_or_never().is_none(), "all places are taken");
            assert!(!told(&busy), "{leaves}");
            assert!(told(&place), "{leaves}");
            drop(place);
            // It asks at once, or it would be the next to leave.
            let place = newcomer.await;
            came.push((place.activity.begin(), place));
        }
        drop((asking, busy));
        assert!(enter().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_something_just_then_need_not_leave() {
        let connections = Connections::new(1);
        let place = connections.try_enter(PATIENCE).unwrap();
        place.activity.tell_to_leave();
        let asking = place.activity.begin();
        assert!(place.activity.told_to_leave().now_or_never().is_none());
        drop(asking);
        let mut newcomer = std::pin::pin!(connections.enter(PATIENCE));
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(place.activity.told_to_leave().now_or_never().is_some());
        drop(place);
        newcomer.await;
    }
}
