//! Whether the registry and the model store agree.

use std::path::Path;

use serde_json::Value;
use weighbridge_config::Digest;

/// Asserts that the bytes of every file of these models' versions are in the store of
/// `data_dir`, whole.
///
/// # Panics
/// When a blob is missing or is not what its name says.
pub fn assert_holds(data_dir: &Path, models: &[Value]) {
    let versions =
        models.iter().flat_map(|model| model["versions"].as_array().into_iter().flatten());
    for version in versions {
        let files = version["manifest"]["files"].as_array().expect("a manifest names files");
        for file in files {
            let digest = file["sha256"].as_str().expect("a file has a digest");
            let path = data_dir.join("store/blobs/sha256").join(&digest[..2]).join(digest);
            let bytes = std::fs::read(&path)
                .unwrap_or_else(|e| panic!("{} of {version}: {e}", path.display()));
            assert_eq!(Digest::of(&bytes).to_string(), digest, "{version}");
            assert_eq!(Some(bytes.len() as u64), file["size"].as_u64(), "{version}");
        }
    }
}
