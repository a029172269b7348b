//! `hivectl explain`: which rule applies to a request, and why.

mod answer;
mod counter;
mod json;
mod sentences;
mod text;

use std::io::Write;
use std::path::PathBuf;

use self::answer::{Answer, Asked};
use crate::descriptor::DescriptorArgument;
use crate::failure::Failure;
use crate::moment::MomentOption;
use crate::output::{JsonOption, note, write_json};
use crate::region::RegionPlace;
use crate::rules::{self, MergeOption, Rulebook};

/// Explain which rule applies to a request, and why no other one does.
///
/// RULES is a rules file or a directory of them. With --region PATH the rules are those in force in that
/// region, and the counter's present state is shown; nothing is counted. Each further argument is one
/// descriptor of the request. The first `=` ends a key, `\,` is a comma in a value.
///
/// The steps are those of the decision itself: on each level an equal value wins over patterns, these are
/// tried in file order, and the key alone comes last. What was taken is marked `>`; nothing that was
/// passed over is tried again.
///
/// The exit status is 0 whether or not a limit applies.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "hivectl explain [OPTIONS] RULES DOMAIN KEY=VALUE[,KEY=VALUE…]…\n       \
                      hivectl explain [OPTIONS] --region PATH DOMAIN KEY=VALUE[,KEY=VALUE…]…"
)]
pub(crate) struct Options {
    /// The rules (without --region), the domain, and one or more descriptors
    #[arg(required = true, value_name = "RULES DOMAIN KEY=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    merge: MergeOption,
    #[command(flatten)]
    at: MomentOption,
    /// Hits the request would count, on each descriptor; 0 only reads
    #[arg(long, value_name = "N", default_value_t = 1)]
    hits: u32,
    /// Show every descriptor of a level; of those that do not match, only the first few are shown
    /// otherwise
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let from_region = place.is_asked_for();
    let mut arguments = options.arguments.iter();
    let rules_path = if from_region { None } else { arguments.next() };
    let missing = |what: &str| {
        let rules = if from_region { "" } else { "RULES " };
        Failure::Usage(format!(
            "{what}; write {rules}DOMAIN KEY=VALUE[,KEY=VALUE…]"
        ))
    };
    let domain = arguments
        .next()
        .ok_or_else(|| missing("there is no domain"))?;
    let descriptors: Vec<DescriptorArgument> = arguments
        .map(|text| text.parse().map_err(Failure::Usage))
        .collect::<Result<_, _>>()
        .map_err(|failure| not_a_descriptor(failure, from_region))?;
    if descriptors.is_empty() {
        return Err(missing("there is no descriptor"));
    }
    let asked = Asked {
        domain,
        descriptors: &descriptors,
        hits: options.hits,
    };
    let answer = match rules_path {
        Some(path) => {
            let read = rules::read(&[PathBuf::from(path)], &options.merge)?;
            read.show_warnings();
            Answer::of(&asked, &read.book, None)
        }
        None => {
            let region = place.open()?;
            let (generation, book) = Rulebook::published(&region, place.path())?;
            let now_ms = options.at.moment.unix_ms(&region);
            if !options.output.json {
                note(format_args!("rules of generation {generation}"));
            }
            let live = counter::Live {
                region: &region,
                now_ms,
            };
            Answer::of(&asked, &book, Some(&live))
        }
    };
    if options.output.json {
        write_json(out, &json::AnswerJson::of(&answer, options.all))
    } else {
        Ok(text::write(&answer, options.all, out)?)
    }
}

/// Who names rules as well as a region has one argument too many, which then is read as the domain.
fn not_a_descriptor(failure: Failure, from_region: bool) -> Failure {
    match failure {
        Failure::Usage(message) if from_region => Failure::Usage(format!(
            "{message}; with --region the rules are those in the region, and the domain comes first"
        )),
        other => other,
    }
}
