//! The conformance cases of `conformance/ratelimit.yaml`, and the ways into Hivemind that are held to
//! them.
//!
//! A [`Backend`] is one way in: the decision alone, or the Rate Limit Service of a running meshd. [`run`]
//! puts the cases to it and compares; a case that a backend cannot be asked is named, never passed over.

mod case;
mod decision;
mod run;
mod service;

pub use case::{
    Case, Descriptor, Empty, Expect, ExpectError, ExpectLimit, ExpectStatus, Limit, Step, cases,
};
pub use decision::DecisionBackend;
pub use run::{Answer, AnswerStatus, Backend, Refusal, Report, run};
pub use service::ServiceBackend;
