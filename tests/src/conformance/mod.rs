//! The cases in `conformance/`, and the ways into Hivemind that are held to them.
//!
//! A [`Backend`] is one way in: the decision alone, the Rate Limit Service of a running meshd, or the
//! module in an Envoy. [`run`] puts the cases to it and compares; a case that a backend cannot be asked
//! is named, never passed over.

mod case;
mod daemon;
mod decision;
mod module;
mod routes;
mod run;
mod service;
mod summary;

pub use case::{
    Case, Descriptor, Expect, ExpectError, ExpectLimit, ExpectStatus, FILES, Limit, Step, cases,
};
pub use decision::DecisionBackend;
pub use module::{Decided, ModuleBackend};
pub use run::{Answer, AnswerLimit, AnswerStatus, Backend, Refusal, Report, run};
pub use service::ServiceBackend;
pub use summary::{Closest, Policy, Summary};
