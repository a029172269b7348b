//! What meshd tells about itself.

pub mod log;
pub mod sampler;
pub mod throttle;
