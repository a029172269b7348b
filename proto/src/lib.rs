//! The protobuf messages Hivemind speaks, with generated code that is committed: building needs
//! neither `protoc` nor a build script.
//!
//! The modules follow the packages of Envoy's API, whose wire format the messages share. Change a
//! file under `proto/`, then run `cargo run -p hivemind-proto --example regenerate`; a test compares.

#![forbid(unsafe_code)]

/// A module `v3` of what was generated for a package, free of lints about hand-written code.
macro_rules! generated {
    ($package:literal) => {
        /// Version 3.
        #[allow(
            missing_docs,
            missing_debug_implementations,
            unreachable_pub,
            unused_qualifications,
            clippy::all
        )]
        #[allow(clippy::use_self, clippy::or_fun_call)]
        pub mod v3 {
            include!(concat!("generated/", $package, ".rs"));
        }
    };
}

/// All files as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor_set.bin");

/// Envoy's API.
pub mod envoy {
    /// Configuration of Envoy.
    pub mod config {
        /// Common parts.
        pub mod core {
            generated!("envoy.config.core.v3");
        }
    }
    /// What extensions of Envoy exchange.
    pub mod extensions {
        /// Shared by several extensions.
        pub mod common {
            /// Rate limiting.
            pub mod ratelimit {
                generated!("envoy.extensions.common.ratelimit.v3");
            }
        }
    }
    /// Services of Envoy's world.
    pub mod service {
        /// Configuration from a management server (xDS).
        pub mod discovery {
            generated!("envoy.service.discovery.v3");
        }
        /// The Rate Limit Service.
        pub mod ratelimit {
            generated!("envoy.service.ratelimit.v3");
        }
    }
    /// Types used all over.
    pub mod r#type {
        generated!("envoy.r#type.v3");
    }
}

/// Google's common messages.
pub mod google {
    /// Errors of gRPC.
    #[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
    pub mod rpc {
        include!("generated/google.rpc.rs");
    }
}

/// The API of envoyproxy/ratelimit.
pub mod ratelimit {
    /// Its configuration.
    pub mod config {
        /// Rules as a management server sends them.
        pub mod ratelimit {
            generated!("ratelimit.config.ratelimit.v3");
        }
    }
}
