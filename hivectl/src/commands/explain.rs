//! `hivectl explain`: which rule applies to a request, and why.

mod answer;
mod counter;
mod json;
mod sentences;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

use hivemind_shared::descriptor::text::{NoEntry, has_key};
use hivemind_shared::yaml::printable;

use self::answer::{Answer, Asked};
use crate::descriptor::DescriptorArgument;
use crate::failure::Failure;
use crate::moment::MomentOption;
use crate::output::{JsonOption, note, write_json};
use crate::region::RegionPlace;
use crate::rules::{self, MergeOption, Rulebook};

/// Explain which rule applies to a request, and why no other one does.
///
/// The rules are those in force in the region, and the counter's present state is shown; nothing is counted. With
/// RULES, a rules file or a directory of them, they are those of the files. Each argument behind the domain is one
/// descriptor of the request. The first `=` ends a key, `\,` is a comma in a value.
///
/// The steps are those of the decision itself: on each level an equal value wins over patterns, these are
/// tried in file order, and the key alone comes last. What was taken is marked `>`; nothing that was
/// passed over is tried again.
///
/// The exit status is 0 whether or not a limit applies.
#[derive(Debug, clap::Args)]
#[command(override_usage = "hivectl explain [OPTIONS] [RULES] DOMAIN KEY=VALUE[,KEY=VALUE…]…")]
pub(crate) struct Options {
    /// The rules, unless they are those in force, the domain, and one or more descriptors
    #[arg(required = true, value_name = "[RULES] DOMAIN KEY=VALUE")]
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
    let Positional {
        rules: rules_path,
        domain,
        descriptors,
    } = Positional::of(&options.arguments).map_err(Failure::Usage)?;
    if let Some(path) = rules_path.filter(|_| place.is_asked_for()) {
        return Err(Failure::Usage(format!(
            "with --region the rules are those in the region, and the domain comes first; leave out '{}'",
            printable(path)
        )));
    }
    let asked = Asked {
        domain: &domain,
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
            let region = place.open().map_err(|error| {
                error
                    .or("; `hivectl explain RULES DOMAIN KEY=VALUE` explains by the rules of files")
            })?;
            let (generation, book) = Rulebook::published(&region, place.path())?;
            let now_ms = options.at.moment.unix_ms(&region);
            if !options.output.json {
                note(format_args!("rules of generation {generation} in {place}"));
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

/// What the arguments are.
#[derive(Debug)]
struct Positional<'a> {
    rules: Option<&'a str>,
    domain: String,
    descriptors: Vec<DescriptorArgument>,
}

impl<'a> Positional<'a> {
    /// Tells rules, domain and descriptors apart: the first argument behind the domain has a `=`.
    fn of(arguments: &'a [String]) -> Result<Self, String> {
        const HOW: &str = "write [RULES] DOMAIN KEY=VALUE[,KEY=VALUE…]";
        let (rules, domain, descriptors) = match arguments {
            [domain] if has_key(domain) => return Err(format!("there is no domain; {HOW}")),
            [domain, descriptors @ ..] if descriptors.first().is_some_and(|it| has_key(it)) => {
                if is_rules_file(domain) {
                    return Err(format!(
                        "'{}' is a file of rules, and the domain behind it is missing; {HOW}",
                        printable(domain)
                    ));
                }
                (None, domain, descriptors)
            }
            [rules, domain, descriptors @ ..]
                if descriptors.first().is_some_and(|it| has_key(it)) =>
            {
                (Some(&**rules), domain, descriptors)
            }
            _ => return Err(format!("there is no descriptor; {HOW}")),
        };
        let descriptors = descriptors.iter().map(|text| text.parse());
        let descriptors: Result<_, NoEntry> = descriptors.collect();
        Ok(Self {
            rules,
            // A domain with a `=` in it would be taken for a descriptor.
            domain: domain.replace("\\=", "="),
            descriptors: descriptors.map_err(|error| error.to_string())?,
        })
    }
}

/// Whether an argument in the place of the domain is a file of rules.
fn is_rules_file(argument: &str) -> bool {
    let path = Path::new(argument);
    let is_yaml = |extension| extension == "yaml" || extension == "yml";
    path.extension().is_some_and(is_yaml) && path.is_file()
}
