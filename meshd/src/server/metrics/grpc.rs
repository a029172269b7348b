//! What the gRPC port says of itself.

use std::fmt;

use super::families::{Families, UNLABELLED};
use crate::server::tls::Tls;

/// Writes the metrics of TLS; without samples when it is off.
pub(super) fn encode(tls: Option<&Tls>, families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "hivemind_grpc_certificate_expiry_timestamp_seconds",
        "When the certificate of the gRPC port ends, in Unix time",
        tls.map(|tls| (UNLABELLED, tls.expiry_unix_s())),
    )?;
    let failures = tls.map(Tls::failures).into_iter().flatten();
    families.counter(
        "hivemind_grpc_handshakes_failed",
        "TLS handshakes on the gRPC port that came to nothing, by cause",
        failures.map(|(cause, count)| ([("cause", cause.name())], count)),
    )
}
