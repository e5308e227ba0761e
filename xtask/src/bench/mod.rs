//! `cargo xtask bench`: what interdict costs, measured so that anybody can repeat it.
//!
//! Every measurement adds a dated record to `bench/records/` and renders `BENCHMARKS.md` and its plots from all records.
//! `--compare` measures nothing: it holds the newest record of each kind against the one before.

mod compare;
mod guest;
mod native;
mod net;
mod page;
mod plots;
mod record;
mod storm;
mod tables;
mod targets;
mod workload;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::step;
use compare::Verdict;
use record::{Begun, Figure};

/// Measures.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub struct Arguments {
    /// Measure nothing: say what is worse in the newest records than in those before, beyond the noise.
    #[arg(long, required = true)]
    compare: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Instructions per operation, per alert and per start in a guest, without the agent and with policies of several sizes.
    Guest(guest::Arguments),
    /// Storms of told acts in a guest: how many a second before the first is lost, and whether every loss is told.
    Storm(storm::Arguments),
    /// Natively: nanoseconds per packet at an interface with a large feed.
    Net(net::Arguments),
    /// Natively: nanoseconds of the engine per byte, decision and address.
    Engine(native::Arguments),
    /// Natively: how long policies take to compile and how large they get.
    Compile(native::Arguments),
    /// Natively: alerts a second from record to spool and to a receiver, and how long one takes.
    Pipeline(native::Arguments),
    /// Nothing: BENCHMARKS.md and its plots are made of the records that are there.
    Page,
}

/// Runs the command; answers whether nothing is worse.
pub fn main(arguments: &Arguments) -> Result<bool> {
    match &arguments.what {
        Some(What::Guest(arguments)) => guest::main(arguments)?,
        Some(What::Storm(arguments)) => storm::main(arguments)?,
        Some(What::Net(arguments)) => net::main(arguments)?,
        Some(What::Engine(arguments)) => native::engine(arguments)?,
        Some(What::Compile(arguments)) => native::compile(arguments)?,
        Some(What::Pipeline(arguments)) => native::pipeline(arguments)?,
        Some(What::Page) => page::write()?,
        None => return worse().map(|worse| worse == 0),
    }
    Ok(true)
}

/// Ends a measurement: writes the record and compares it with the one before.
fn finish(begun: Begun, figures: Vec<Figure>) -> Result<()> {
    let (_, file) = begun.end(figures)?;
    step::note(&format!("recorded in {}", file.display()));
    page::write()
}

/// Says what became worse; answers how much did.
fn worse() -> Result<usize> {
    let records = record::all(&record::folder())?;
    let mut worse = 0;
    for (before, after) in compare::newest_pairs(&records) {
        let changes = compare::changes(before, after);
        worse += changes.iter().filter(|change| change.verdict == Verdict::Worse).count();
        print!("{}", compare::told(before, after, &changes));
    }
    Ok(worse)
}
