//! Makes Rust of the protocol's definition, without a C++ compiler for it.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script nothing otherwise")]
fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let files = protox::compile(["inference.proto"], ["proto"])?;
    // What the reflection service shows.
    fs::write(out.join("inference.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // Raw tensors are parts of the message that came, not copies. Texts become elements.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        .codec_path("crate::codec::BoundedCodec")
        .build_client(true)
        .build_transport(false)
        // Answers look alike from one run to the next.
        .btree_map(".")
        .compile_fds(files)?;
    Ok(())
}
