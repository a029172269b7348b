//! Runs hundreds of meshes in one process.

#![forbid(unsafe_code)]
