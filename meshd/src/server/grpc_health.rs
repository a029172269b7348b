//! Keeps `grpc.health.v1` in step with the state of health.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::health::Health;

/// The service names that are answered for: the whole server, and the name envoyproxy/ratelimit
/// gives its service.
const SERVICES: [&str; 2] = ["", "ratelimit"];

/// Reports the state of health as it is now.
pub async fn report(health: &Health, reporter: &HealthReporter) {
    let status = if health.now().are_ready() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Reports `health` now and after every change, for ever.
pub async fn follow(health: Health, reporter: HealthReporter) {
    // First, so that no change falls between a report and the next.
    let mut changes = health.subscribe();
    report(&health, &reporter).await;
    while changes.changed().await.is_ok() {
        report(&health, &reporter).await;
    }
}
