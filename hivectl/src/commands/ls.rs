//! `hivectl ls`: the live counters, hottest first.

mod json;
mod row;

use std::io::Write;

use hivemind_shared::region::{Counter, LoadRulesError, RegionView};

use self::json::ListingJson;
use self::row::Row;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::moment::MomentOption;
use crate::output::{JsonOption, note, write_json};
use crate::region::RegionPlace;
use crate::table::{Align, Table};
use crate::text;

/// List the live counters, hottest first: by percent of their limit, then by count.
///
/// LOCAL is what this host counted in the window, REMOTE what its peers reported, refused hits
/// included. LIMIT is that of the published rule that applies (of a token bucket: what flows in during the
/// window); it is `-` for a limit that the request
/// brought along and for a counter that rules from before left behind. A counter whose label is lost
/// shows its fingerprint; one whose label had no room for all of it ends in an ellipsis.
///
/// With --json, an object: facts about the region, `live_counters` (how many there are in all) and
/// `counters`, an array in the same order with everything in full.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    at: MomentOption,
    /// Only counters of this domain; those whose label is lost are of none
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Only the N hottest
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let region = place.open()?;
    let now_s = options.at.moment.unix_ms(&region) / 1_000;
    let listing = Listing::of(&region, now_s, options);
    if options.output.json {
        return write_json(out, &ListingJson::of(&listing, &region, place.path()));
    }
    if let Some(error) = &listing.rules_error {
        note(format_args!("the limits are unknown: {error}"));
    }
    if listing.live_counters == 0 {
        let moment = text::utc(now_s);
        note(format_args!(
            "no counter is live at {moment}; a copy may want --at heartbeat"
        ));
    }
    Ok(listing.to_table().write(out)?)
}

/// The counters to show, and what is needed to show them.
struct Listing {
    now_s: u64,
    limits: Limits,
    rules_generation: u64,
    rules_error: Option<LoadRulesError>,
    /// How many there are, also of those that were not asked for.
    live_counters: usize,
    rows: Vec<Row>,
}

impl Listing {
    fn of(region: &RegionView, now_s: u64, options: &Options) -> Self {
        let (rules_generation, limits, rules_error) = match region.load_rules() {
            Ok((generation, rules)) => (generation, Limits::new(rules), None),
            Err(error) => (region.rules_generation(), Limits::default(), Some(error)),
        };
        let mut live_counters = 0;
        let mut rows: Vec<Row> = region
            .counters(now_s)
            .inspect(|_| live_counters += 1)
            .filter(|counter| is_wanted(counter, options.domain.as_deref()))
            .map(|counter| Row::new(counter, &limits))
            .collect();
        rows.sort_unstable_by(Row::hottest_first);
        rows.truncate(options.top.unwrap_or(usize::MAX));
        Self {
            now_s,
            limits,
            rules_generation,
            rules_error,
            live_counters,
            rows,
        }
    }

    fn to_table(&self) -> Table<9> {
        use Align::{Left, Right};
        let mut table = Table::with_titles([
            ("DOMAIN", Left),
            ("DESCRIPTOR", Left),
            ("UNIT", Left),
            ("WINDOW", Left),
            ("LOCAL", Right),
            ("REMOTE", Right),
            ("LIMIT", Right),
            ("PERCENT", Right),
            ("RESET_S", Right),
        ]);
        for row in &self.rows {
            table.push(row.cells(self.now_s));
        }
        table
    }
}

fn is_wanted(counter: &Counter, domain: Option<&str>) -> bool {
    domain.is_none_or(|domain| {
        let label = counter.label.as_ref();
        label.is_some_and(|label| label.domain == domain)
    })
}
