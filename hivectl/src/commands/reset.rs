//! `hivectl reset`: has a live meshd forgive what is counted for a descriptor.

use std::io::Write;

use hivemind_shared::window::{Period, Unit};
use hivemind_shared::yaml::printable;
use serde::Deserialize;
use serde_json::json;

use crate::admin::{AdminOption, Answer, Refusal};
use crate::descriptor::DescriptorArgument;
use crate::failure::Failure;
use crate::output::{JsonOption, note, write_json};
use crate::region::RegionPlace;
use crate::table::{Align, Table};
use crate::text;

/// Reset the counters of a descriptor on all hosts, by asking a live meshd.
///
/// All hits that meshd knows of, its own host's and those of its peers, count no longer, in the present window
/// and in those beside it, under every limit of the descriptor; a token bucket is full. Peers follow within
/// milliseconds, and those that are away as soon as they are back. Hits that peers counted meanwhile still
/// count. Shown is each counter with the hits that counted before and after.
///
/// meshd does it only with `admin.reset: true` in its service file, and logs it; it shows what would be (--dry-run)
/// without. It is found by the region that it owns.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The domain
    domain: String,
    /// The descriptor, as requests have it; `\,` is a comma in a value
    #[arg(value_name = "KEY=VALUE[,KEY=VALUE…]")]
    descriptor: DescriptorArgument,
    /// Only show what would be reset, and what would count then
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    admin: AdminOption,
}

/// Why meshd did not reset what it was asked to, in its own words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusedReset {
    /// `admin.reset` is not true.
    #[error("meshd at {address} resets nothing: {message}")]
    Off { address: String, message: String },
    /// There are no hits.
    #[error("{message}")]
    NothingCounted { message: String },
    /// It cannot do it now.
    #[error("meshd at {address} cannot reset that now: {message}")]
    Other { address: String, message: String },
}

/// What `/reset` says when it did it.
#[derive(Deserialize)]
struct Done {
    counters: Vec<Counter>,
    /// Whether it may be done; said of a dry run.
    #[serde(default)]
    admin_reset: Option<bool>,
}

#[derive(Deserialize)]
struct Counter {
    unit: String,
    unit_multiplier: u32,
    window_start_unix_s: u64,
    before: u64,
    after: u64,
}

pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let entries = options.descriptor.entries.iter();
    let entries: Vec<_> = entries
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let request = json!({
        "domain": options.domain,
        "entries": entries,
        "dry_run": options.dry_run,
    });
    let answer = options.admin.post("/reset", &request, place)?;
    if answer.status != 200 {
        return Err(refusal(&answer)?.into());
    }
    let done: Done = answer.read()?;
    if options.output.json {
        return write_json(out, &answer.document);
    }
    let (before, after) = if options.dry_run {
        ("NOW", "WOULD BE")
    } else {
        ("BEFORE", "AFTER")
    };
    let mut table = Table::with_titles([
        ("DOMAIN", Align::Left),
        ("DESCRIPTOR", Align::Left),
        ("UNIT", Align::Left),
        ("WINDOW", Align::Left),
        (before, Align::Right),
        (after, Align::Right),
    ]);
    for counter in done.counters {
        table.push([
            printable(&options.domain),
            options.descriptor.text(),
            period(&counter),
            text::utc(counter.window_start_unix_s),
            counter.before.to_string(),
            counter.after.to_string(),
        ]);
    }
    table.write(out)?;
    if options.dry_run {
        note("nothing was reset (--dry-run)");
        if done.admin_reset == Some(false) {
            note("meshd would refuse to do it: admin.reset is not true");
        }
    }
    Ok(())
}

fn refusal(answer: &Answer) -> Result<RefusedReset, Failure> {
    let Refusal { error, message } = answer.refusal("/reset")?;
    let address = answer.address.clone();
    Ok(match error.as_str() {
        "off" => RefusedReset::Off { address, message },
        "nothing_counted" => RefusedReset::NothingCounted { message },
        _ => RefusedReset::Other { address, message },
    })
}

/// How people write the length of a window.
fn period(counter: &Counter) -> String {
    let known = Unit::ALL.iter().find(|unit| unit.name() == counter.unit);
    let period = known.and_then(|unit| Period::new(*unit, counter.unit_multiplier).ok());
    period.map_or_else(|| printable(&counter.unit), |period| period.to_string())
}
