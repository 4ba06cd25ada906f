//! The demo models (`gateway/demo`), trained on the data sets that scikit-learn carries and
//! built into the binary.

use serde::Deserialize;
use weighbridge_config::{ModelName, Version};
use weighbridge_registry::VersionInfo;

/// A model built into the binary.
#[derive(Debug)]
pub struct DemoModel {
    pub name: ModelName,
    pub version: Version,
    pub onnx: &'static [u8],
    pub info: VersionInfo,
}

#[derive(Deserialize)]
struct Listing {
    models: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: ModelName,
    version: Version,
    file: String,
    description: String,
    #[serde(default)]
    class_names: Vec<String>,
}

const LISTING: &str = include_str!("../demo/models/manifest.json");

const FILES: [(&str, &[u8]); 6] = [
    ("digits-v1.onnx", include_bytes!("../demo/models/digits-v1.onnx")),
    ("digits-v2.onnx", include_bytes!("../demo/models/digits-v2.onnx")),
    ("breast_cancer-v1.onnx", include_bytes!("../demo/models/breast_cancer-v1.onnx")),
    ("breast_cancer-v2.onnx", include_bytes!("../demo/models/breast_cancer-v2.onnx")),
    ("diabetes-v1.onnx", include_bytes!("../demo/models/diabetes-v1.onnx")),
    ("diabetes-v2.onnx", include_bytes!("../demo/models/diabetes-v2.onnx")),
];

/// All demo models, lowest version first.
pub fn models() -> Result<Vec<DemoModel>, serde_json::Error> {
    let listing: Listing = serde_json::from_str(LISTING)?;
    let found = listing.models.into_iter().filter_map(|listed| {
        let (_, onnx) = FILES.iter().find(|(file, _)| *file == listed.file)?;
        let info = VersionInfo {
            description: Some(listed.description),
            source: Some("gateway/demo/train.py".to_owned()),
            class_names: listed.class_names,
            ..VersionInfo::default()
        };
        Some(DemoModel { name: listed.name, version: listed.version, onnx, info })
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_listed_model_is_built_in() {
        let models = super::models().unwrap();
        assert_eq!(models.len(), super::FILES.len());
        assert!(models.iter().all(|m| m.onnx.len() > 100));
    }
}
