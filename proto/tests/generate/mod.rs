//! How the committed code comes from the `.proto` files: shared by the test that compares and the
//! example that rewrites.

use std::error::Error;
use std::path::{Path, PathBuf};

use tonic_prost_build::FileDescriptorSet;

/// The files that define the services Hivemind has; what they import comes along.
const SERVED: [&str; 1] = ["envoy/service/ratelimit/v3/rls.proto"];

/// The files of services Hivemind calls, and of what it is sent by them. Reflection knows nothing of
/// them.
const CALLED: [&str; 2] = [
    "envoy/service/discovery/v3/ads.proto",
    "ratelimit/config/ratelimit/v3/rls_conf.proto",
];

/// Name of the encoded descriptor set among the generated files.
const DESCRIPTOR_SET: &str = "descriptor_set.bin";

/// Where the generated code is committed.
pub(crate) fn committed_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated")
}

/// Writes all generated files into `out_dir`, which must exist.
pub(crate) fn generate(out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = compile(&[&SERVED[..], &CALLED[..]].concat(), true)?.file_descriptor_set();
    entries_as_bytes(&mut files);
    tonic_prost_build::configure()
        .out_dir(out_dir)
        // The crate is for messages: who connects brings a channel of their own.
        .build_transport(false)
        // Slices of the datagram or frame they came in, instead of copies.
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;

    // Reflection has no use for comments and positions, and they are most of the bytes.
    let served = compile(&SERVED, false)?;
    std::fs::write(
        out_dir.join(DESCRIPTOR_SET),
        served.encode_file_descriptor_set(),
    )?;
    Ok(())
}

/// Compiles files and what they import, with or without comments and positions.
fn compile(roots: &[&str], source_info: bool) -> Result<protox::Compiler, Box<dyn Error>> {
    let includes = [Path::new(env!("CARGO_MANIFEST_DIR")).join("proto")];
    let mut compiler = protox::Compiler::new(includes)?;
    compiler
        .include_imports(true)
        .include_source_info(source_info)
        .open_files(roots)?;
    Ok(compiler)
}

/// Makes the code take keys and values of descriptor entries as bytes, which look the same on the wire.
///
/// Values come from request headers, and Envoy passes them on as they are: with strings, a header
/// that is not UTF-8 would fail the whole call, and so would let anyone get around a limit that
/// fails open. The descriptor set for reflection keeps the strings of Envoy's API.
fn entries_as_bytes(files: &mut FileDescriptorSet) {
    use prost_types::field_descriptor_proto::Type;

    let entries = files
        .file
        .iter_mut()
        .flat_map(|file| &mut file.message_type)
        .filter(|message| message.name() == "RateLimitDescriptor")
        .flat_map(|message| &mut message.nested_type)
        .filter(|message| message.name() == "Entry");
    for field in entries.flat_map(|entry| &mut entry.field) {
        field.set_type(Type::Bytes);
    }
}
