//! Development tasks: `cargo xtask envoy`, `demo`, `soak`, `simulate`, `bench`.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bench, demo, envoy, simulate, soak};

/// Development tasks of Hivemind.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch Envoy, unless it is there already, and print its path.
    Envoy {
        /// Which version.
        #[arg(long, default_value = envoy::VERSION)]
        version: String,
    },
    /// Show rate limiting through a real Envoy, both ways, and check that the numbers are right.
    Demo(demo::Options),
    /// Send much through two Envoys while meshd is killed, and check that exactly the limit passes.
    Soak(soak::Options),
    /// Run many meshes on a network that misbehaves, in virtual time, and check what they promise.
    Simulate(simulate::Options),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match arguments.task {
        Task::Envoy { version } => {
            let path = envoy::binary(&version)?;
            writeln!(std::io::stdout().lock(), "{}", path.display())?;
            Ok(())
        }
        Task::Demo(options) => runtime.block_on(demo::run(&options)),
        Task::Soak(options) => runtime.block_on(soak::run(&options)),
        Task::Simulate(options) => simulate::run(&options),
        Task::Bench(options) => runtime.block_on(bench::run(&options)),
    }
}
