//! Values that are right alone and wrong together.

use super::Settings;

/// Two settings that do not fit each other.
pub(super) struct Clash {
    /// The setting that is blamed.
    pub(super) key: &'static str,
    /// The setting that it does not fit.
    pub(super) with: &'static str,
    /// What is wanted of the first, as a phrase that ends in front of the second one's name.
    pub(super) wanted: &'static str,
}

/// Every clash of `settings`.
pub(super) fn clashes(settings: &Settings) -> Vec<Clash> {
    let Settings { limits, serving, engine, store, .. } = settings;
    let mut clashes = Vec::new();
    let mut want = |holds: bool, key, wanted, with| {
        if !holds {
            clashes.push(Clash { key, with, wanted });
        }
    };
    let Settings { server, admin, .. } = settings;
    let pair = "wanted if and only if there is";
    want(
        server.tls_key.is_some() == server.tls_certificate.is_some(),
        "server.tls_key",
        pair,
        "server.tls_certificate",
    );
    want(
        admin.tls_key.is_some() == admin.tls_certificate.is_some(),
        "admin.tls_key",
        pair,
        "admin.tls_certificate",
    );
    want(!same_socket(settings), "admin.listen", "wanted another port than", "server.listen");
    want(
        serving.timeout <= limits.max_timeout,
        "serving.timeout",
        "wanted at most",
        "limits.max_timeout",
    );
    // A batch that waits as long as its requests may take would answer none of them.
    want(
        serving.max_queue_delay < serving.timeout,
        "serving.max_queue_delay",
        "wanted less than",
        "serving.timeout",
    );
    // A blob is stored before its version is vetted and gets its row.
    want(
        store.blob_grace > engine.vet_timeout,
        "store.blob_grace",
        "wanted more than",
        "engine.vet_timeout",
    );
    clashes
}

/// Whether binding the second listener must fail. An unspecified address takes its port on all
/// addresses. Port 0 is a new port each time.
fn same_socket(settings: &Settings) -> bool {
    let (data, admin) = (settings.server.listen, settings.admin.listen);
    let overlap =
        data.ip() == admin.ip() || data.ip().is_unspecified() || admin.ip().is_unspecified();
    data.port() == admin.port() && data.port() != 0 && overlap
}
