//! Whether a newer record is worse than an older one by more than chance.
//!
//! Noise is not a constant: each figure's samples say how far apart equal runs lie. A change counts only when the two
//! spreads do not touch and the medians differ by more than the figure's floor, which is what is known of its kind: fork
//! and exec move by 2.5 % with the layout of memory, counted instructions repeat within 0.2 %, times never do.

use std::fmt::Write as _;

use super::record::{Figure, Record};

/// One figure of two records.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// What, with its setup.
    pub(super) what: String,
    /// Unit of both.
    pub(super) unit: String,
    /// The older median.
    pub(super) before: f64,
    /// The newer one.
    pub(super) after: f64,
    /// How much of the older one is no change.
    pub(super) noise: f64,
    /// What it comes to.
    pub(super) verdict: Verdict,
}

/// What a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the noise.
    Same,
    /// Beyond it, in the good direction.
    Better,
    /// Beyond it, in the bad one.
    Worse,
}

/// How much figures of a kind differ between equal runs at least, as a share.
fn floor(figure: &Figure) -> f64 {
    let about = |word: &str| figure.name.contains(word);
    match figure.unit.as_str() {
        "instructions" if about("fork") || about("exec") => 0.025,
        "instructions" if figure.name.starts_with("caller/") => 0.005,
        "bytes" | "MiB" => 0.05,
        // Times, rates, and whatever scheduling has a part in.
        _ => 0.10,
    }
}

/// The change of one figure.
fn change(before: &Figure, after: &Figure) -> Change {
    let spread = |figure: &Figure| {
        if figure.median == 0.0 { 0.0 } else { (figure.high - figure.low) / figure.median.abs() }
    };
    let noise = floor(before).max(spread(before)).max(spread(after));
    let moved = after.median - before.median;
    let apart = after.low > before.high || after.high < before.low;
    let verdict = if moved.abs() <= noise * before.median.abs() || !apart {
        Verdict::Same
    } else if (moved > 0.0) == before.more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    let setup = if before.setup.is_empty() { String::new() } else { format!(", {}", before.setup) };
    Change {
        what: format!("{}{setup}", before.name),
        unit: before.unit.clone(),
        before: before.median,
        after: after.median,
        noise,
        verdict,
    }
}

/// The newest record of each bench and kernel, and the one before it.
pub(super) fn newest_pairs(records: &[Record]) -> Vec<(&Record, &Record)> {
    let mut pairs = Vec::new();
    for (index, after) in records.iter().enumerate() {
        let same = |other: &&Record| other.bench == after.bench && series(other) == series(after);
        let later = records.iter().skip(index + 1).any(|other| same(&other));
        let before = records.iter().take(index).rev().find(same);
        if let (false, Some(before)) = (later, before) {
            pairs.push((before, after));
        }
    }
    pairs
}

/// What must be alike for two records to be of one series: for guests the kernel's short name, for others the processor.
fn series(record: &Record) -> &str {
    match record.kernel.split_once(' ') {
        Some((short, _version)) => short,
        None => &record.machine.processor,
    }
}

/// All changes between two records, for figures that both have.
pub(super) fn changes(before: &Record, after: &Record) -> Vec<Change> {
    let other = |figure: &Figure| {
        before.figures.iter().find(|other| {
            other.name == figure.name && other.setup == figure.setup && other.unit == figure.unit
        })
    };
    after.figures.iter().filter_map(|figure| Some(change(other(figure)?, figure))).collect()
}

/// For people: what is worse, what is better, how many are the same.
pub(super) fn told(before: &Record, after: &Record, changes: &[Change]) -> String {
    let mut text = format!(
        "{} on {}: {} ({}) against {} ({})\n",
        after.bench, after.kernel, after.commit, after.taken, before.commit, before.taken
    );
    let mut same = 0;
    for change in changes {
        let word = match change.verdict {
            Verdict::Same => {
                same += 1;
                continue;
            }
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
        };
        let _ = writeln!(
            text,
            "  {word:<6} {}: {:.6} -> {:.6} {} ({:+.1} %, noise {:.1} %)",
            change.what,
            change.before,
            change.after,
            change.unit,
            (change.after - change.before) / change.before * 100.0,
            change.noise * 100.0
        );
    }
    let _ = writeln!(text, "  {same} of {} within the noise", changes.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, unit: &str, samples: &[f64]) -> Figure {
        Figure::of(name, "50 rules", unit, samples.to_vec()).unwrap()
    }

    #[test]
    fn more_instructions_beyond_the_spread_are_worse() {
        let before = figure("caller/open", "instructions", &[5_900.0, 5_901.0, 5_903.0]);
        let after = figure("caller/open", "instructions", &[6_100.0, 6_101.0, 6_102.0]);
        assert_eq!(change(&before, &after).verdict, Verdict::Worse);
        assert_eq!(change(&after, &before).verdict, Verdict::Better);
    }

    #[test]
    fn a_fork_may_move_with_the_layout_of_memory() {
        let before = figure("caller/fork-exec", "instructions", &[245_000.0, 245_100.0]);
        let after = figure("caller/fork-exec", "instructions", &[250_000.0, 250_200.0]);
        assert_eq!(change(&before, &after).verdict, Verdict::Same);
    }

    #[test]
    fn spreads_that_touch_are_noise() {
        let before = figure("walk", "ns", &[1.0, 1.2, 2.0]);
        let after = figure("walk", "ns", &[1.9, 2.4, 3.0]);
        assert_eq!(change(&before, &after).verdict, Verdict::Same);
    }

    #[test]
    fn fewer_events_a_second_are_worse() {
        let before = figure("delivered", "1/s", &[50_000.0, 51_000.0]).more_is_better();
        let after = figure("delivered", "1/s", &[30_000.0, 30_500.0]).more_is_better();
        assert_eq!(change(&before, &after).verdict, Verdict::Worse);
    }
}
