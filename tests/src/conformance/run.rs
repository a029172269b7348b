//! Putting cases to a backend, and comparing what comes back.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::case::{Case, Expect, ExpectStatus, Step};
use super::summary::{self, Summary};

/// One way into Hivemind.
pub trait Backend {
    /// Why this backend cannot be asked a case, if it cannot.
    fn inapplicable(&self, case: &Case) -> Option<&'static str>;

    /// Gets ready for the steps of a case: its rules are in force, and nothing is counted yet.
    fn prepare(&mut self, case: &Case) -> impl Future<Output = anyhow::Result<()>>;

    /// Sends a request once.
    fn ask(&mut self, step: &Step) -> impl Future<Output = Result<Answer, Refusal>>;

    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> impl Future<Output = ()>;

    /// What is said about the files of a case, which are to be refused.
    ///
    /// # Errors
    ///
    /// When they were accepted.
    fn refuse(&mut self, case: &Case) -> impl Future<Output = anyhow::Result<String>>;
}

/// The answer to a request. What a backend cannot see is `None` and not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `OK` or `OVER_LIMIT`.
    pub overall: String,
    /// One for each descriptor, in their order.
    pub statuses: Option<Vec<AnswerStatus>>,
    /// The headers the response is to get.
    pub headers: Option<BTreeMap<String, String>>,
    /// The field `metadata` of the dynamic metadata, `{}` where there is none.
    pub metadata: Option<serde_json::Value>,
    /// What the statuses come to, where only that is told.
    pub summary: Option<Summary>,
}

/// What is said about a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerStatus {
    /// `OK` or `OVER_LIMIT`.
    pub code: String,
    /// `None` without a limit.
    pub limit: Option<AnswerLimit>,
    /// Hits left.
    pub remaining: u32,
    /// Seconds to the end of the window; `None` without a limit.
    pub reset_s: Option<u32>,
}

/// A limit in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerLimit {
    /// Hits in a window.
    pub requests_per_unit: u32,
    /// The unit's name in the API.
    pub unit: String,
    /// How many of it a window has.
    pub unit_multiplier: u32,
    /// The rule's name.
    pub name: String,
}

/// An error in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the gRPC status code.
    pub code: String,
    /// What is said.
    pub message: String,
}

/// How a backend did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that were put to it.
    pub asked: usize,
    /// Names of those that it cannot be asked, and why.
    pub inapplicable: Vec<(String, &'static str)>,
    /// What went wrong, beginning with the name of the case.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases asked, {} failed",
            self.asked,
            self.failures.len()
        )?;
        let mut not_asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, reason) in &self.inapplicable {
            not_asked.entry(reason).or_default().push(name);
        }
        for (reason, names) in not_asked {
            let (count, names) = (names.len(), names.join(", "));
            write!(f, "\n- {count} not asked, because {reason}: {names}")?;
        }
        for failure in &self.failures {
            write!(f, "\n- {failure}")?;
        }
        Ok(())
    }
}

/// Puts all cases to a backend, one after the other.
pub async fn run<B: Backend>(backend: &mut B, cases: &[Case]) -> Report {
    let mut report = Report::default();
    for case in cases {
        if let Some(reason) = backend.inapplicable(case) {
            report.inapplicable.push((case.name.clone(), reason));
            continue;
        }
        report.asked += 1;
        let outcome = if case.expect_invalid.is_some() {
            refuse(backend, case).await
        } else {
            ask_all(backend, case).await
        };
        if let Err(failure) = outcome {
            report.failures.push(format!("{}: {failure}", case.name));
        }
    }
    report
}

async fn refuse<B: Backend>(backend: &mut B, case: &Case) -> Result<(), String> {
    let said = backend
        .refuse(case)
        .await
        .map_err(|error| format!("{error:#}"))?;
    match &case.message {
        Some(message) if !said.contains(message.as_str()) => Err(format!(
            "refused without {message:?} in what was said:\n{said}"
        )),
        _ => Ok(()),
    }
}

async fn ask_all<B: Backend>(backend: &mut B, case: &Case) -> Result<(), String> {
    backend
        .prepare(case)
        .await
        .map_err(|error| format!("{error:#}"))?;
    for (step, number) in case.steps.iter().zip(1..) {
        if step.sleep_ms > 0 {
            backend.pass(Duration::from_millis(step.sleep_ms)).await;
        }
        for _ in 1..step.repeat {
            // Only the last answer is compared, but all have to be answers.
            let early = backend.ask(step).await;
            early.map_err(|refusal| format!("step {number}: {refusal:?}"))?;
        }
        let answer = backend.ask(step).await;
        compare(step, &answer).map_err(|mismatch| {
            format!("step {number}: {mismatch}\n    answered: {answer:?}\n    to: {step:?}")
        })?;
    }
    Ok(())
}

/// What is wrong with an answer.
fn compare(step: &Step, answer: &Result<Answer, Refusal>) -> Result<(), String> {
    match (&step.expect, &step.expect_error, answer) {
        (Some(expect), None, Ok(answer)) => compare_answer(expect, answer),
        (None, Some(expect), Err(refusal)) => {
            same("code", &expect.code, &refusal.code)?;
            if refusal.message.contains(&expect.contains) {
                Ok(())
            } else {
                Err(format!("{:?} is not in the message", expect.contains))
            }
        }
        (Some(_), None, Err(_)) => Err("an error instead of an answer".to_owned()),
        (None, Some(_), Ok(_)) => Err("an answer instead of an error".to_owned()),
        (_, _, _) => Err("the case has to expect either an answer or an error".to_owned()),
    }
}

fn compare_answer(expect: &Expect, answer: &Answer) -> Result<(), String> {
    same("overall", &expect.overall, &answer.overall)?;
    if let Some(statuses) = &answer.statuses {
        same(
            "number of statuses",
            &expect.statuses.len(),
            &statuses.len(),
        )?;
        for ((expect, status), number) in expect.statuses.iter().zip(statuses).zip(1..) {
            compare_status(expect, status)
                .map_err(|mismatch| format!("status {number}: {mismatch}"))?;
        }
    }
    if let (Some(expect), Some(headers)) = (&expect.headers, &answer.headers) {
        compare_headers(expect, headers)?;
    }
    if let (Some(expect), Some(metadata)) = (&expect.metadata, &answer.metadata) {
        same("metadata", expect, metadata)?;
    }
    if let Some(summary) = &answer.summary {
        summary::compare(expect, summary)?;
    }
    Ok(())
}

fn compare_headers(
    expect: &BTreeMap<String, String>,
    headers: &BTreeMap<String, String>,
) -> Result<(), String> {
    let names = |headers: &BTreeMap<String, String>| headers.keys().cloned().collect::<Vec<_>>();
    same("names of response headers", &names(expect), &names(headers))?;
    for (name, value) in expect.iter().filter(|(_, value)| *value != "*") {
        same(name, &Some(value), &headers.get(name))?;
    }
    Ok(())
}

fn compare_status(expect: &ExpectStatus, status: &AnswerStatus) -> Result<(), String> {
    same("code", &expect.code, &status.code)?;
    match (&expect.limit, &status.limit) {
        (None, None) => {}
        (Some(expect), Some(limit)) => {
            same(
                "requests_per_unit",
                &expect.requests_per_unit,
                &limit.requests_per_unit,
            )?;
            same("unit", &expect.unit, &limit.unit)?;
            same(
                "unit_multiplier",
                &expect.unit_multiplier,
                &limit.unit_multiplier,
            )?;
            if let Some(expect) = &expect.name {
                same("name", expect, &limit.name)?;
            }
        }
        (expect, limit) => return Err(format!("limit: expected {expect:?}, got {limit:?}")),
    }
    if let Some(remaining) = &expect.remaining {
        same("remaining", remaining, &status.remaining)?;
    }
    if let Some(reset_max) = expect.reset_max
        && !status
            .reset_s
            .is_some_and(|reset_s| (1..=reset_max).contains(&reset_s))
    {
        return Err(format!(
            "reset: expected 1 to {reset_max} s, got {:?}",
            status.reset_s
        ));
    }
    Ok(())
}

/// What is wrong with a value, if it is not the expected one.
pub(super) fn same<T: fmt::Debug + PartialEq>(
    what: &str,
    expect: &T,
    got: &T,
) -> Result<(), String> {
    if expect == got {
        Ok(())
    } else {
        Err(format!("{what}: expected {expect:?}, got {got:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers everything with the same, and refuses nothing.
    struct Fixed(Answer);

    impl Backend for Fixed {
        fn inapplicable(&self, case: &Case) -> Option<&'static str> {
            case.merge_domains.then_some("cannot")
        }

        async fn prepare(&mut self, _: &Case) -> anyhow::Result<()> {
            Ok(())
        }

        async fn ask(&mut self, _: &Step) -> Result<Answer, Refusal> {
            Ok(self.0.clone())
        }

        async fn pass(&mut self, _: Duration) {}

        async fn refuse(&mut self, _: &Case) -> anyhow::Result<String> {
            anyhow::bail!("accepted")
        }
    }

    fn case(rest: &str) -> Case {
        yaml_serde::from_str(&format!("name: c\nconfig: []\n{rest}")).unwrap()
    }

    fn step(expect: &str) -> Case {
        case(&format!(
            "steps: [{{domain: d, descriptors: [], expect: {expect}}}]\n"
        ))
    }

    #[tokio::test]
    async fn a_backend_that_answers_wrongly_fails() {
        let limit = Some(AnswerLimit {
            requests_per_unit: 3,
            unit: "HOUR".to_owned(),
            unit_multiplier: 2,
            name: "n".to_owned(),
        });
        let status = AnswerStatus {
            code: "OK".to_owned(),
            limit,
            remaining: 2,
            reset_s: Some(60),
        };
        let mut backend = Fixed(Answer {
            overall: "OK".to_owned(),
            statuses: Some(vec![status]),
            headers: Some([("a".to_owned(), "1".to_owned())].into()),
            metadata: Some(serde_json::json!({"a": 1})),
            summary: None,
        });
        let right = "{code: OK, limit: {requests_per_unit: 3, unit: HOUR, unit_multiplier: 2, name: n}, remaining: 2, reset_max: 60}";
        let passes = step(&format!("{{overall: OK, statuses: [{right}]}}"));
        let report = run(&mut backend, &[passes]).await;
        assert!(report.failures.is_empty(), "{report}");

        let wrong_statuses = [
            right.replace("code: OK", "code: OVER_LIMIT"),
            right.replace('3', "4"),
            right.replace("HOUR", "DAY"),
            right.replace("unit_multiplier: 2, ", ""),
            right.replace("name: n", "name: m"),
            right.replace("remaining: 2", "remaining: 1"),
            right.replace("reset_max: 60", "reset_max: 59"),
            "{code: OK, limit: null}".to_owned(),
            format!("{right}, {right}"),
        ];
        let mut wrong: Vec<Case> = wrong_statuses
            .iter()
            .map(|status| step(&format!("{{overall: OK, statuses: [{status}]}}")))
            .collect();
        wrong.push(step(&format!(
            "{{overall: OVER_LIMIT, statuses: [{right}]}}"
        )));
        wrong.push(step(&format!(
            "{{overall: OK, statuses: [{right}], headers: {{}}}}"
        )));
        wrong.push(step(&format!(
            "{{overall: OK, statuses: [{right}], metadata: {{}}}}"
        )));
        wrong.push(case(
            "steps: [{domain: d, descriptors: [], expect_error: {code: UNKNOWN, contains: x}}]\n",
        ));
        wrong.push(case("expect_invalid: nonsense\n"));
        let report = run(&mut backend, &wrong).await;
        assert_eq!(report.failures.len(), wrong.len(), "{report}");
    }

    #[tokio::test]
    async fn a_case_that_cannot_be_asked_is_named() {
        let mut backend = Fixed(Answer {
            overall: String::new(),
            statuses: None,
            headers: None,
            metadata: None,
            summary: None,
        });
        let report = run(&mut backend, &[case("merge_domains: true\n")]).await;
        assert_eq!(
            (report.asked, report.inapplicable),
            (0, vec![("c".to_owned(), "cannot")])
        );
    }
}
