//! Servers of our own, for the tests of what talks to servers.

use std::fs;
use std::net::SocketAddr;

use axum::Router;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A server on a free port of loopback, until it is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Server {
    /// Serves `app`.
    pub fn start(app: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, _runtime: runtime }
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The data folder of a gateway whose admin API this is, with lines as the gateway writes them.
    pub fn data_folder(&self, key: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("admin-url"), format!("{}\n", self.url())).unwrap();
        fs::write(folder.path().join("admin-key"), format!("{key}\n")).unwrap();
        folder
    }
}
