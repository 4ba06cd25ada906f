//! Makes Rust of the protocol's definition, without a C++ compiler for it.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let files = protox::compile(["inference.proto"], ["proto"])?;
    // What the reflection service shows.
    fs::write(out.join("inference.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // Raw tensors are parts of the message that came, not copies.
        .bytes(".inference")
        .build_client(true)
        .build_transport(false)
        // Answers look alike from one run to the next.
        .btree_map(".")
        .compile_fds(files)?;
    Ok(())
}
