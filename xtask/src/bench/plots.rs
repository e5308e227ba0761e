//! Pictures of the records, as SVG: committed beside them, so that the page shows them wherever it is read.
//!
//! Each is drawn from records alone; one for which there is no record is not drawn.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::guest::BARE;
use super::page;
use super::record::Record;
use super::targets::{Limit, TARGETS};

const OURS: RGBColor = RGBColor(31, 119, 180);
const OTHERS: RGBColor = RGBColor(170, 170, 170);
const TOLD: RGBColor = RGBColor(44, 160, 44);
const COUNTED: RGBColor = RGBColor(230, 159, 0);
const LOST: RGBColor = RGBColor(214, 39, 40);
/// Colours that can be told apart, also by who sees no red.
const LINES: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(120, 94, 240),
    RGBColor(60, 60, 60),
];

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws all into `folder`.
pub(super) fn draw(records: &[Record], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let of = |bench: &str| {
        let about = |record: &&Record| record.bench == bench && record.kernel.starts_with("6.1 ");
        records.iter().rev().find(about)
    };
    if let Some(record) = of("guest") {
        let mut bars = ours(record, "caller/open");
        bars.push(others("an empty LSM program", 169.0));
        bars.push(others("kernel audit, 50 watches", 1_960.0));
        bars.push(others("fapolicyd (and 38,000 in its daemon)", 4_420.0));
        bars.push(others("Tetragon, 50 paths", 10_083.0));
        let title = "open+close of a known file: instructions added for the caller";
        barred(&folder.join("open.svg"), title, bars)?;
        let mut bars = ours(record, "caller/fork-exec");
        bars.push(others("auditd, execve rule", 58_000.0));
        bars.push(others("Tetragon, no policy", 24_600.0));
        bars.push(others("Tetragon, 50 paths", 46_000.0));
        let title = "fork+exec+exit: instructions added for the caller";
        barred(&folder.join("exec.svg"), title, bars)?;
    }
    if let Some(record) = of("storm") {
        stormed(&folder.join("storm.svg"), record)?;
    }
    history(&folder.join("history.svg"), records)
}

struct Bar {
    label: String,
    value: f64,
    colour: RGBColor,
}

fn others(label: &str, value: f64) -> Bar {
    Bar { label: label.to_owned(), value, colour: OTHERS }
}

fn ours(record: &Record, name: &str) -> Vec<Bar> {
    let of_name = || record.figures.iter().filter(|figure| figure.name == name);
    let Some(bare) = of_name().find(|figure| figure.setup == BARE) else { return Vec::new() };
    of_name()
        .filter(|figure| figure.setup != BARE)
        .map(|figure| Bar {
            label: format!("interdict, {}", figure.setup),
            value: (figure.median - bare.median).max(0.0),
            colour: OURS,
        })
        .collect()
}

fn canvas(file: &Path, height: u32, paint: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<()> {
    let area = SVGBackend::new(file, (860, height)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    paint(&area)?;
    area.present().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot could not be drawn: {error}")
}

/// Bars that lie, the least on top.
fn barred(file: &Path, title: &str, mut bars: Vec<Bar>) -> Result<()> {
    const LABELS: i32 = 290;
    const ROW: i32 = 28;
    const WIDTH: f64 = 470.0;
    bars.sort_by(|one, other| one.value.total_cmp(&other.value));
    let most = bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
    let rows = i32::try_from(bars.len())?;
    canvas(file, u32::try_from(60 + rows * ROW)?, |area| {
        let text = |words: &str, x: i32, y: i32, size: i32| {
            let style = ("sans-serif", size).into_text_style(area).color(&BLACK);
            area.draw_text(words, &style, (x, y)).map_err(failed)
        };
        text(title, 12, 14, 17)?;
        for (row, bar) in (0_i32..).zip(&bars) {
            let top = 48 + row * ROW;
            text(&bar.label, 12, top + 4, 14)?;
            let end = LABELS + (bar.value / most * WIDTH) as i32;
            let corners = [(LABELS, top), (end.max(LABELS + 1), top + ROW - 8)];
            area.draw(&Rectangle::new(corners, bar.colour.filled())).map_err(failed)?;
            text(&format!("+{}", page::number(bar.value.round())), end + 6, top + 4, 14)?;
        }
        Ok(())
    })
}

/// What was told and what was lost of each open storm, by its rate.
fn stormed(file: &Path, record: &Record) -> Result<()> {
    let of = |name: &str, setup: &str| {
        record
            .figures
            .iter()
            .find(|figure| figure.name == name && figure.setup == setup)
            .map(|figure| figure.median)
    };
    let mut points: Vec<(f64, [f64; 3])> = record
        .figures
        .iter()
        .filter(|figure| figure.name == "storm/rate" && figure.setup.ends_with(" open"))
        .filter_map(|figure| {
            let told = of("storm/told", &figure.setup)?;
            let lost = of("storm/lost-and-told", &figure.setup)?;
            let counted = of("storm/counted", &figure.setup).unwrap_or(0.0);
            let all = (told + counted + lost).max(1.0);
            Some((figure.median, [told, counted, lost].map(|part| 100.0 * part / all)))
        })
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let most = points.iter().map(|point| point.0).fold(1.0, f64::max);
    canvas(file, 380, |area| {
        let title = "Told opens on one processor of 1 G instructions a second";
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 17))
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(54)
            .build_cartesian_2d(0.0..most * 1.05, 0.0..105.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("opens a second")
            .y_desc("% of opens")
            .x_label_formatter(&|value| page::number(*value))
            .y_label_formatter(&|value| page::number(*value))
            .label_style(("sans-serif", 13))
            .draw()
            .map_err(failed)?;
        let kinds = [
            ("told as alerts", TOLD),
            ("counted, and told as repeats", COUNTED),
            ("lost, and told as lost", LOST),
        ];
        let lines = kinds.iter().enumerate().map(|(kind, (label, colour))| {
            let line = points.iter().map(|(rate, parts)| (*rate, parts[kind]));
            (*label, *colour, line.collect::<Vec<_>>())
        });
        for (label, colour, line) in lines {
            let marks = line.iter().map(|point| Circle::new(*point, 4, colour.filled()));
            chart.draw_series(marks.collect::<Vec<_>>()).map_err(failed)?;
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))
                .map_err(failed)?
                .label(label)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        legend(&mut chart, SeriesLabelPosition::MiddleLeft)
    })
}

fn legend<'a, X: Ranged<ValueType = f64>, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    place: SeriesLabelPosition,
) -> Result<()> {
    chart
        .configure_series_labels()
        .position(place)
        .label_font(("sans-serif", 13))
        .background_style(WHITE.mix(0.85))
        .border_style(OTHERS)
        .draw()
        .map_err(failed)
}

/// Each target's figure as a share of its limit, record by record: below 1 it is held.
fn history(file: &Path, records: &[Record]) -> Result<()> {
    let shown = [
        "caller/open",
        "caller/open-first",
        "caller/fork-exec",
        "caller/connect",
        "agent/exec-told",
        "agent/open-told",
        "readable/exec",
        "start",
    ];
    let guests: Vec<&Record> = records
        .iter()
        .filter(|record| record.bench == "guest" && record.kernel.starts_with("6.1 "))
        .collect();
    if guests.is_empty() {
        return Ok(());
    }
    let lines: Vec<(&str, Vec<(f64, f64)>)> = TARGETS
        .iter()
        .filter(|target| {
            shown.contains(&target.figure) && !matches!(target.limit, Limit::AddsTimes(..))
        })
        .map(|target| {
            let points = (1_u32..).zip(&guests).filter_map(|(place, record)| {
                let held = target.held_by(record)?;
                // A logarithm has no place for nothing.
                Some((f64::from(place), (held.value / held.limit).max(0.02)))
            });
            (target.what, points.collect())
        })
        .collect();
    let most =
        lines.iter().flat_map(|(_, line)| line).map(|point| point.1).fold(2.0, f64::max) * 1.5;
    let last = guests.len() as f64;
    canvas(file, 460, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(
                "Figures as shares of their targets (1: held), record by record",
                ("sans-serif", 17),
            )
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(54)
            .build_cartesian_2d(0.5..last + 0.5, (0.02..most).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(guests.len())
            .x_label_formatter(&|place| {
                let record = guests.get((place.round() as usize).wrapping_sub(1));
                record
                    .map(|record| record.taken.get(5..16).unwrap_or_default().replace('T', " "))
                    .unwrap_or_default()
            })
            .y_label_formatter(&|share| format!("{share:.2}"))
            .label_style(("sans-serif", 13))
            .draw()
            .map_err(failed)?;
        chart
            .draw_series(LineSeries::new([(0.5, 1.0), (last + 0.5, 1.0)], BLACK.stroke_width(1)))
            .map_err(failed)?;
        for ((what, line), colour) in lines.into_iter().zip(LINES.iter().cycle().copied()) {
            let marks = line.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(marks.collect::<Vec<_>>()).map_err(failed)?;
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))
                .map_err(failed)?
                .label(what)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        legend(&mut chart, SeriesLabelPosition::LowerLeft)
    })
}
