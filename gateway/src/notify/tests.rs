//! Deliveries to a real listener in this process. Everything goes to loopback, which the policy
//! of these tests allows.
#![expect(clippy::disallowed_methods, reason = "receivers of a test end with its runtime")]

mod receiver;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use weighbridge_config::settings::SecretFile;

use super::post::Lookup;
use super::*;
use receiver::{Receiver, TlsReceiver};

/// So quick that a test does not wait for it.
const QUICK: Pace = Pace {
    attempts: 4,
    first_wait: Duration::from_millis(1),
    longest: Duration::from_secs(20),
    attempt: Duration::from_secs(10),
    at_stop: Duration::ZERO,
};

struct Sending {
    notifier: Notifier,
    secret: String,
    _folder: tempfile::TempDir,
}

/// How a notifier of a test differs from the usual one.
struct Differing {
    allow: &'static str,
    pace: Pace,
    most_pending: usize,
    lookup: Lookup,
    roots: Vec<reqwest::Certificate>,
}

impl Default for Differing {
    fn default() -> Self {
        let (allow, lookup) = ("127.0.0.0/8", post::system_lookup());
        Self { allow, pace: QUICK, most_pending: 100, lookup, roots: Vec::new() }
    }
}

fn sending(differing: Differing) -> Sending {
    let Differing { allow, pace, most_pending, lookup, roots } = differing;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::hold(folder.path()).unwrap();
    let source = Source::open(&SecretFile::Auto, &data_dir).unwrap();
    let secret = std::fs::read_to_string(folder.path().join("webhook-secret")).unwrap();
    let policy = Arc::new(AddressPolicy::new(allow.parse().unwrap()));
    let post = Post::new(Arc::clone(&policy), lookup, roots);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let notifier = Notifier::with(policy, post, source, pace, most_pending, tasks, stop);
    Sending { notifier, secret: secret.trim().to_owned(), _folder: folder }
}

impl Sending {
    /// Delivers one message and says how that ended.
    async fn deliver(&self, url: &str) -> Ending {
        let target = self.notifier.policy().target(url).unwrap();
        let message = Message {
            event: "rollout.promoted".to_owned(),
            delivery: "wd-1".to_owned(),
            body: Bytes::from_static(b"{}"),
        };
        self.notifier.0.deliver(&target, &message).await
    }

    /// Waits until nothing is under way.
    async fn settled(&self) {
        self.notifier.0.tasks.close();
        self.notifier.0.tasks.wait().await;
    }
}

fn notification(urls: &[&str], on: &[Transition]) -> Notification {
    let webhook = |url: &&str| Webhook { url: (*url).to_owned(), on: on.to_vec() };
    let webhooks = urls.iter().map(webhook).collect();
    let body = json!({"model": "fraud", "verdict": {"text": "PROMOTED \u{2713}"}});
    Notification { webhooks, transition: Transition::Promoted, body }
}

/// Resolves each name to the next of `answers`, the last one again and again.
fn lookup(answers: &[&[&str]]) -> Lookup {
    let parsed = |addresses: &&[&str]| -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
    };
    let answers: Vec<Vec<SocketAddr>> = answers.iter().map(parsed).collect();
    let asked = AtomicUsize::new(0);
    Arc::new(move |_| {
        let nth = asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        Box::pin(std::future::ready(Ok(answers[nth].clone())))
    })
}

#[tokio::test]
async fn a_message_is_sent_until_it_is_taken_and_its_signature_holds_each_time() {
    let receiver = Receiver::start(&[503, 429, 500, 204]).await;
    let sending = sending(Differing::default());
    sending.notifier.notify(notification(&[&receiver.url("/hook?key=1")], &[]));
    sending.settled().await;
    let came = receiver.came();
    assert_eq!(came.len(), 4);
    let body = &came[0].body;
    assert_eq!(serde_json::from_slice::<Value>(body).unwrap(), notification(&[], &[]).body);
    for request in &came {
        let header = |name: &str| request.headers[name].to_str().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?key=1"));
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("weighbridge-event"), "rollout.promoted");
        assert_eq!(header("weighbridge-delivery"), came[0].headers["weighbridge-delivery"]);
        assert_eq!(&request.body, body);
        let (time, _) = header("weighbridge-signature").split_once(',').unwrap();
        let time: u64 = time.strip_prefix("t=").unwrap().parse().unwrap();
        assert!(crate::now_ms() / 1000 - time < 60);
        assert_eq!(header("weighbridge-signature"), signature::sign(&sending.secret, time, body));
    }
}

#[tokio::test]
async fn each_receiver_that_wants_the_transition_gets_a_message_of_its_own() {
    let receiver = Receiver::start(&[200]).await;
    let sending = sending(Differing::default());
    let urls = [receiver.url("/a"), receiver.url("/b")];
    let urls = [urls[0].as_str(), urls[1].as_str()];
    sending.notifier.notify(notification(&urls, &[Transition::Started, Transition::Promoted]));
    sending.notifier.notify(notification(&urls, &[Transition::RolledBack]));
    sending.notifier.notify(notification(&["http://10.0.0.1/forbidden-by-now"], &[]));
    sending.settled().await;
    let came = receiver.came();
    let mut paths: Vec<&str> = came.iter().map(|request| request.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/a", "/b"]);
    let id = |nth: usize| &came[nth].headers["weighbridge-delivery"];
    assert_ne!(id(0), id(1));
}

#[tokio::test]
async fn redirects_are_not_followed_and_refusals_not_repeated() {
    for status in [301, 302, 307, 308, 400, 401, 404, 410] {
        let receiver = Receiver::start(&[status]).await;
        let ending = sending(Differing::default()).deliver(&receiver.url("/hook")).await;
        assert_eq!((ending.outcome, ending.attempts), (Outcome::Refused, 1), "{status}");
        assert!(ending.reason.contains(&status.to_string()), "{}", ending.reason);
        let came = receiver.came();
        assert_eq!((came.len(), came[0].path.as_str()), (1, "/hook"), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_tried_again_and_given_up() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-path", gone.local_addr().unwrap());
    drop(gone);
    let ending = sending(Differing::default()).deliver(&url).await;
    assert_eq!((ending.outcome, ending.attempts), (Outcome::GaveUp, QUICK.attempts));
    assert!(ending.reason.contains("refused"), "{}", ending.reason);
    assert!(!ending.reason.contains("secret-path"), "{}", ending.reason);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_given_up_in_time_and_one_that_never_ends_is_not_read() {
    let silent = Receiver::start(&[receiver::SILENT]).await;
    let pace = Pace { attempt: Duration::from_millis(50), attempts: 2, ..QUICK };
    let ending =
        sending(Differing { pace, ..Differing::default() }).deliver(&silent.url("/")).await;
    assert_eq!(
        (ending.outcome, ending.reason.as_str()),
        (Outcome::GaveUp, "no answer within 50ms")
    );
    assert_eq!(silent.came().len(), 2);

    let endless = Receiver::start(&[receiver::ENDLESS]).await;
    let ending = sending(Differing::default()).deliver(&endless.url("/")).await;
    assert_eq!((ending.outcome, ending.attempts), (Outcome::Delivered, 1));
    endless.closed().await;
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_dropped_without_waiting() {
    let silent = Receiver::start(&[receiver::SILENT]).await;
    let sending = sending(Differing { most_pending: 2, ..Differing::default() });
    let url = silent.url("/");
    for _ in 0..5 {
        sending.notifier.notify(notification(&[&url], &[]));
    }
    assert_eq!(sending.notifier.0.tasks.len(), 2);
    silent.until_came(2).await;
    sending.notifier.0.stop.cancel();
    sending.settled().await;
    assert_eq!(silent.came().len(), 2, "the others were dropped");
    assert_eq!(sending.notifier.0.pending.available_permits(), 2, "there is room again");
}

#[tokio::test]
async fn no_more_attempts_are_made_at_once_than_the_bound() {
    let silent = Receiver::start(&[receiver::SILENT]).await;
    // Nobody is given up meanwhile, however busy the machine is.
    let pace = Pace { attempt: Duration::from_secs(60), ..QUICK };
    let sending = sending(Differing { pace, ..Differing::default() });
    let url = silent.url("/");
    for _ in 0..MOST_AT_ONCE + 4 {
        sending.notifier.notify(notification(&[&url], &[]));
    }
    // That the others wait is shown with `retry`, whose clock can be stopped.
    silent.until_came(MOST_AT_ONCE).await;
    assert_eq!(sending.notifier.0.slots.available_permits(), 0);
    assert_eq!(sending.notifier.0.tasks.len(), MOST_AT_ONCE + 4);
}

#[tokio::test]
async fn names_are_asked_at_the_addresses_that_are_permitted() {
    let receiver = Receiver::start(&[200]).await;
    let url = format!("http://receiver.test:{}/", receiver.address.port());
    let lookup_of =
        |answers: &[&[&str]]| Differing { lookup: lookup(answers), ..Differing::default() };

    let mixed = lookup_of(&[&["10.0.0.1", "::1", "127.0.0.1", "169.254.169.254"]]);
    let ending = sending(mixed).deliver(&url).await;
    assert_eq!((ending.outcome, ending.attempts), (Outcome::Delivered, 1));
    assert_eq!(receiver.came()[0].headers["host"], url["http://".len()..url.len() - 1]);

    for (address, told) in [
        ("169.254.169.254", "169.254.169.254 is a link-local address"),
        ("::ffff:10.0.0.1", "10.0.0.1 is a private address"),
        ("8.8.8.8", "wanted https://"),
    ] {
        let ending = sending(lookup_of(&[&[address]])).deliver(&url).await;
        assert_eq!((ending.outcome, ending.attempts), (Outcome::Forbidden, 1), "{address}");
        assert!(ending.reason.contains(told), "{}", ending.reason);
    }
    let ending = sending(lookup_of(&[&[]])).deliver(&url).await;
    assert_eq!((ending.outcome, ending.attempts), (Outcome::GaveUp, QUICK.attempts));
    assert_eq!(receiver.came().len(), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_address_between_attempts_is_checked_each_time() {
    let receiver = Receiver::start(&[500, 200]).await;
    let url = format!("http://receiver.test:{}/", receiver.address.port());
    let lookup = lookup(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let ending = sending(Differing { lookup, ..Differing::default() }).deliver(&url).await;
    assert_eq!((ending.outcome, ending.attempts), (Outcome::Forbidden, 2));
    assert_eq!(receiver.came().len(), 1, "no connection of the first attempt is used again");
}

#[tokio::test]
async fn over_tls_the_certificate_must_be_that_of_the_name() {
    let receiver = TlsReceiver::start().await;
    let root = || vec![reqwest::Certificate::from_pem(include_bytes!("tests/root.pem")).unwrap()];
    let with =
        |roots| Differing { roots, lookup: lookup(&[&["127.0.0.1"]]), ..Differing::default() };
    let url = |host: &str| format!("https://{host}:{}/hook", receiver.address.port());

    for host in ["receiver.test", "127.0.0.1"] {
        let ending = sending(with(root())).deliver(&url(host)).await;
        assert_eq!(ending.outcome, Outcome::Delivered, "{host}: {}", ending.reason);
    }
    assert_eq!(receiver.taken(), 2);
    for (host, roots) in [("other.test", root()), ("receiver.test", Vec::new())] {
        let ending = sending(with(roots)).deliver(&url(host)).await;
        assert_eq!(ending.outcome, Outcome::GaveUp, "{host}");
        // On a machine without any roots the system's verifier says so.
        let told = ["certificate", "CA certificates"].iter().any(|t| ending.reason.contains(t));
        assert!(told, "{}", ending.reason);
    }
    let forbidden = Differing { allow: "none", ..with(root()) };
    let ending = sending(forbidden).deliver(&url("receiver.test")).await;
    assert_eq!(ending.outcome, Outcome::Forbidden, "{}", ending.reason);
    assert_eq!(receiver.taken(), 2);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_waited_for() {
    let receiver = Receiver::start(&[StatusCode::OK.as_u16()]).await;
    let sending = sending(Differing::default());
    std::fs::remove_file(sending._folder.path().join("webhook-secret")).unwrap();
    let ending = sending.deliver(&receiver.url("/")).await;
    assert_eq!((ending.outcome, ending.attempts), (Outcome::GaveUp, QUICK.attempts));
    assert!(ending.reason.contains("webhook-secret"), "{}", ending.reason);
    assert!(receiver.came().is_empty(), "nothing is sent without a signature");
}
