//! `hivectl ls`: the live counters, hottest first.

mod row;

use std::io::Write;

use hivemind_shared::listing::{Listing, ListingJson, Wanted};

use crate::failure::Failure;
use crate::moment::MomentOption;
use crate::output::{JsonOption, note, write_json};
use crate::region::RegionPlace;
use crate::table::{Align, Table};
use crate::text;

/// List the live counters, hottest first: by percent of their limit, then by count.
///
/// LOCAL is what this host counted in the window, REMOTE what its peers reported, refused hits
/// included; hits that a reset forgave are taken from REMOTE, which may be negative for it. LIMIT is that of the published rule that applies (of a token bucket: what flows in during the
/// window); it is `-` for a limit that the request
/// brought along and for a counter that rules from before left behind. A counter whose label is lost
/// shows its fingerprint; one whose label had no room for all of it ends in an ellipsis. What a counter reads as
/// that only peers have asked for, they tell within seconds, of the hottest. A comma or backslash in a value is
/// shown with a backslash before it, as `explain` and `reset` take it.
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
    /// Only counters whose descriptor begins with this, as `user=` or `user=ann,path=/a`; `\,` is a comma in a value
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
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
    let wanted = Wanted {
        domain: options.domain.as_deref(),
        prefix: options.prefix.as_deref(),
        top: options.top,
    };
    let listing = Listing::of(&region, now_s, &wanted);
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
    Ok(table(&listing).write(out)?)
}

fn table(listing: &Listing) -> Table<9> {
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
    for row in &listing.rows {
        table.push(row::cells(row, listing.now_s));
    }
    table
}
