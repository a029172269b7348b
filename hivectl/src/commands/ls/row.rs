//! How a counter with its limit reads in a table.

use hivemind_shared::descriptor::text::entry;
use hivemind_shared::listing::Row;
use hivemind_shared::yaml::printable;

use crate::text;

/// What stands for something that is not there.
const NONE: &str = "-";

/// The row as text, in the order of the columns.
pub(super) fn cells(row: &Row, now_s: u64) -> [String; 9] {
    let counter = &row.counter;
    [
        domain_text(row),
        descriptor_text(row),
        counter.period.to_string(),
        text::utc(counter.window.start_s()),
        counter.local.to_string(),
        counter.remote.to_string(),
        limit_text(row),
        percent_text(row),
        counter.window.seconds_left(now_s).to_string(),
    ]
}

fn domain_text(row: &Row) -> String {
    let label = row.counter.label.as_ref();
    label.map_or_else(|| NONE.to_owned(), |label| printable(&label.domain))
}

fn descriptor_text(row: &Row) -> String {
    let Some(label) = &row.counter.label else {
        return row.counter.fingerprint.to_string();
    };
    // Requests choose this text: it must do no more to a terminal than be read.
    let mut entries: Vec<String> = label
        .entries
        .iter()
        .map(|(key, value)| entry(key, value))
        .collect();
    if label.truncated {
        entries.push("…".to_owned());
    }
    entries.join(",")
}

fn limit_text(row: &Row) -> String {
    row.limit.map_or_else(
        || NONE.to_owned(),
        |limit| limit.hits_per_window.to_string(),
    )
}

fn percent_text(row: &Row) -> String {
    match (row.limit, row.percent()) {
        (None, _) => NONE.to_owned(),
        (Some(_), Some(percent)) => format!("{percent:.1}"),
        (Some(_), None) => "inf".to_owned(),
    }
}
