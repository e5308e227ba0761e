//! Storms of told acts: at how many a second the first one is lost, and whether every loss is told.
//!
//! One guest with one processor of 10^9 instructions a second, which caller and agent share. Each storm lasts about a
//! second, or is as fast as the caller can; then the agent is given time to come to rest, and what it wrote is counted.
//! Acts = alerts + repeats counted and told + losses told, or the run fails: an act that is none of them is a hole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::finish;
use super::record::{Begun, Figure};
use super::workload::{Programs, run_as_file};
use crate::step;
use crate::vm::kernel::Kernel;

/// Raises storms until something is lost.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Short name of the kernel.
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Told opens a second, one storm each; 0: as fast as can be, 100,000 of them.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,2000,4000,8000,16000,20000,25000,30000,35000,0"
    )]
    opens: Vec<u32>,
    /// Told execs as fast as can be.
    #[arg(long, default_value_t = 3_000)]
    execs: u32,
    /// Print, and record nothing.
    #[arg(long)]
    dry: bool,
    /// Another program than this repository's agent in release mode.
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
}

/// Opens of a storm without a rate.
const FLOOD: u32 = 100_000;

/// One storm, and what the agent told of it.
#[derive(Debug, Default)]
struct Storm {
    act: String,
    acts: u64,
    rate: u64,
    alerts: u64,
    /// Repeats that the kernel counted, by row, as the last notice about each says.
    counted: BTreeMap<String, u64>,
    lost: u64,
    lost_lifecycle: u64,
}

impl Storm {
    fn counted(&self) -> u64 {
        self.counted.values().sum()
    }

    fn unaccounted(&self) -> i128 {
        i128::from(self.acts) - i128::from(self.alerts + self.counted() + self.lost)
    }
}

/// Runs the command.
pub(super) fn main(arguments: &Arguments) -> Result<()> {
    let programs = Programs::build(arguments.agent.as_deref())?;
    let version = Kernel::named(&arguments.kernel)?.version;
    let begun = Begun::in_guest("storm", &format!("{} {version}", arguments.kernel))?;
    let measuring = step::begin(&format!("raising storms on kernel {}", arguments.kernel));
    let mut script = String::from(
        "pid=$(cat /run/interdict/agent.pid); log=/out/alerts.ndjson; workload drained $pid\n\
         storm() { from=$(wc -c < $log); said=$(workload storm $1 $2 $3) || exit 1; \
         workload drained $pid && sleep 12 && workload drained $pid || exit 1; \
         echo \"$1 $3 $from $(wc -c < $log) $said\" >> /out/storms; }\n",
    );
    for rate in &arguments.opens {
        let times = if *rate == 0 { FLOOD } else { *rate };
        let _ = writeln!(script, "storm open {times} {rate}");
    }
    let _ = writeln!(script, "storm exec {} 0", arguments.execs);
    let guest = programs.enforcing(&arguments.kernel, 50)?;
    let outcome = run_as_file(guest, &script)?;
    ensure!(outcome.status == 0, "a storm failed: {}", outcome.output);
    measuring.done();
    let storms = read(
        &fs::read_to_string(outcome.out.join("storms"))?,
        &fs::read(outcome.out.join("alerts.ndjson"))?,
    )?;
    let _ = fs::remove_dir_all(&outcome.out);
    print!("{}", table(&storms));
    let figures = figures(&storms)?;
    if !arguments.dry {
        finish(begun, figures)?;
    }
    let holes: i128 = storms.iter().map(|storm| storm.unaccounted().abs()).sum();
    ensure!(holes == 0, "{holes} acts were neither told nor counted as lost");
    Ok(())
}

/// Storms from the lines `act rate from to storm acts nanoseconds` and the alerts they cut into pieces.
fn read(lines: &str, alerts: &[u8]) -> Result<Vec<Storm>> {
    let mut storms = Vec::new();
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [act, _, from, to, _, acts, nanoseconds] = words.as_slice() else {
            anyhow::bail!("the guest said `{line}`");
        };
        let piece = alerts.get(from.parse()?..to.parse()?).context("alerts are missing")?;
        let (acts, nanoseconds): (u64, u64) = (acts.parse()?, nanoseconds.parse()?);
        let mut storm = Storm {
            act: (*act).to_owned(),
            acts,
            rate: acts * 1_000_000_000 / nanoseconds.max(1),
            ..Storm::default()
        };
        let rule = format!("B-TOLD-{}", act.to_ascii_uppercase());
        for line in piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let alert: Value = serde_json::from_slice(line)?;
            count(&mut storm, &rule, &alert);
        }
        storms.push(storm);
    }
    Ok(storms)
}

fn count(storm: &mut Storm, rule: &str, alert: &Value) {
    let of_rule = alert["rules"].as_array().is_some_and(|rules| {
        rules.iter().any(|told| told["id"].as_str().is_some_and(|id| id == rule))
    });
    if of_rule {
        storm.alerts += 1;
    }
    let detail = &alert["notice"]["detail"];
    if alert["notice"]["name"] == "repeated"
        && detail["rule"] == rule
        && let (Some(row), Some(total)) = (detail["row"].as_str(), detail["total"].as_u64())
    {
        storm.counted.insert(row.to_owned(), total);
    }
    if alert["notice"]["name"] != "losses" {
        return;
    }
    let Some(counts) = alert["notice"]["detail"]["counts"].as_object() else { return };
    for (reason, number) in counts {
        let number = number.as_u64().unwrap_or(0);
        // Records of processes that come and go are not alerts: their loss costs context.
        if reason.contains("lifecycle") {
            storm.lost_lifecycle += number;
        } else {
            storm.lost += number;
        }
    }
}

fn figures(storms: &[Storm]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for storm in storms {
        let setup = format!("{} {}", storm.acts, storm.act);
        let mut add = |name: &str, unit: &str, value: f64| -> Result<()> {
            figures.push(Figure::of(name, &setup, unit, vec![value])?);
            Ok(())
        };
        add("storm/rate", "1/s", storm.rate as f64)?;
        add("storm/told", "alerts", storm.alerts as f64)?;
        add("storm/counted", "alerts", storm.counted() as f64)?;
        add("storm/lost-and-told", "alerts", storm.lost as f64)?;
        add("storm/unaccounted", "alerts", storm.unaccounted() as f64)?;
        add("storm/lifecycle-lost", "records", storm.lost_lifecycle as f64)?;
    }
    let mut most = |name: &str, which: fn(&Storm) -> bool| -> Result<()> {
        let opens = storms.iter().filter(|storm| storm.act == "open" && which(storm));
        if let Some(most) = opens.map(|storm| storm.rate).max() {
            figures.push(Figure::of(name, "", "1/s", vec![most as f64])?.more_is_better());
        }
        Ok(())
    };
    most("storm/most-one-by-one", |storm| storm.lost == 0 && storm.counted() == 0)?;
    most("storm/most-without-loss", |storm| storm.lost == 0)?;
    Ok(figures)
}

fn table(storms: &[Storm]) -> String {
    let mut text = format!(
        "{:<6}{:>9}{:>10}{:>9}{:>9}{:>12}{:>13}{:>17}\n",
        "act",
        "acts",
        "a second",
        "alerts",
        "counted",
        "lost, told",
        "unaccounted",
        "lifecycle lost"
    );
    for storm in storms {
        let _ = writeln!(
            text,
            "{:<6}{:>9}{:>10}{:>9}{:>9}{:>12}{:>13}{:>17}",
            storm.act,
            storm.acts,
            storm.rate,
            storm.alerts,
            storm.counted(),
            storm.lost,
            storm.unaccounted(),
            storm.lost_lifecycle
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_that_is_neither_told_nor_counted_is_a_hole() {
        let alerts = concat!(
            "{\"rules\":[{\"id\":\"OTHER\"}]}\n",
            "{\"rules\":[{\"id\":\"B-TOLD-OPEN\"}]}\n",
            "{\"notice\":{\"name\":\"losses\",\"detail\":{\"counts\":{\"ring_audit\":3,\"ring_lifecycle\":9}}}}\n",
            "{\"notice\":{\"name\":\"repeated\",\"detail\":{\"rule\":\"B-TOLD-OPEN\",\"row\":\"a\",\"total\":2}}}\n",
            "{\"notice\":{\"name\":\"repeated\",\"detail\":{\"rule\":\"B-TOLD-OPEN\",\"row\":\"a\",\"total\":5}}}\n",
        );
        let lines = format!("open 0 0 {} storm 11 1000000\n", alerts.len());
        let storms = read(&lines, alerts.as_bytes()).unwrap();
        let [storm] = storms.as_slice() else { panic!("one storm") };
        assert_eq!((storm.alerts, storm.lost, storm.lost_lifecycle), (1, 3, 9));
        assert_eq!((storm.rate, storm.counted(), storm.unaccounted()), (11_000, 5, 2));
    }
}
