//! `hivectl diff`: what an edit of the rules changes.

mod json;
mod text;

use std::io::Write;
use std::path::PathBuf;

use hivemind_shared::rules;

use crate::failure::Failure;
use crate::output::{JsonOption, note, write_json};
use crate::region::RegionPlace;
use crate::rules::{MergeOption, Rulebook, read};

/// Show which limits differ between two sets of rules, and what that means for the counts.
///
/// OLD and NEW are rules files or directories of them. Without OLD, the rules in force in the region take its
/// place. A descriptor that only moved, within a file or to another one, is no difference, unless patterns that
/// match a common value are tried in another order.
///
/// The exit status is 0 when there is no difference and 1 when there is one, as that of diff(1).
#[derive(Debug, clap::Args)]
#[command(override_usage = "hivectl diff [OPTIONS] [OLD] NEW")]
pub(crate) struct Options {
    /// The rules from before, unless they are those in force, and the new ones
    #[arg(required = true, num_args = 1..=2, value_name = "[OLD] NEW")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: JsonOption,
    #[command(flatten)]
    merge: MergeOption,
}

/// Whether there is no difference.
pub(crate) fn run(
    options: &Options,
    place: &RegionPlace,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let from_files = |path: &PathBuf| {
        let read = read(std::slice::from_ref(path), &options.merge)?;
        Ok::<_, Failure>(read.book)
    };
    let (old, new) = match (options.paths.as_slice(), place.is_asked_for()) {
        ([old, new], false) => (from_files(old)?, from_files(new)?),
        ([new], _) => {
            let new = from_files(new)?;
            let region = place
                .open()
                .map_err(|error| error.or("; `hivectl diff OLD NEW` compares files alone"))?;
            let (generation, published) = Rulebook::published(&region, place.path())?;
            if !options.output.json {
                note(format_args!(
                    "compared with the rules of generation {generation} in {place}"
                ));
            }
            (published, new)
        }
        _ => {
            let message =
                "with --region the rules in force there are the old ones; write NEW alone";
            return Err(Failure::Usage(message.to_owned()));
        }
    };
    let diff = rules::diff(&old.rules, &new.rules);
    if options.output.json {
        write_json(out, &json::DiffJson::of(&diff, &old, &new))?;
    } else {
        text::write(&diff, &old, &new, out)?;
    }
    Ok(diff.is_empty())
}
