//! The report as one page: no scripts, no fonts, no links to anywhere; bars are inline SVG.

use std::fmt::Write as _;

use super::{Counts, Report, Row};

/// Width of the bars, in SVG units.
const WIDTH: u64 = 320;

const STYLE: &str = "
:root{--ink:#1d2430;--faint:#667085;--line:#e3e7ee;--paper:#fff;--blocked:#c0392b;--killed:#7d1f4f;--would:#e08e0b;--told:#5b7fa6}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--faint:#98a2b3;--line:#2b3342;--paper:#151a22;--blocked:#e0604f;--killed:#c76aa0;--would:#e6a436;--told:#7ea3cc}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1120px;padding:32px 24px;font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:36px 0 8px}p{margin:0 0 8px;color:var(--faint)}
.sums{display:flex;gap:12px;flex-wrap:wrap;margin:20px 0}.sum{border:1px solid var(--line);border-top:4px solid var(--c);border-radius:6px;padding:10px 16px;min-width:150px}
.sum b{display:block;font-size:26px;font-variant-numeric:tabular-nums}.sum span{color:var(--faint);font-size:13px}
table{border-collapse:collapse;width:100%}th{font-weight:600;text-align:right;font-size:12px;color:var(--faint);padding:4px 8px;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}td{padding:6px 8px;border-bottom:1px solid var(--line);text-align:right;font-variant-numeric:tabular-nums;vertical-align:top}
td:first-child{font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere;width:46%}td small{display:block;font:12px system-ui,sans-serif;color:var(--faint)}
td.bar{width:330px;padding-right:0}svg{display:block;width:100%;height:14px;margin-top:3px}.zero{color:var(--faint);opacity:.5}
footer{margin-top:40px;font-size:13px;color:var(--faint)}
";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::with_capacity(64 << 10);
    out.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    out.push_str("<title>interdict report</title><style>");
    out.push_str(STYLE);
    out.push_str("</style></head><body><h1>What was blocked, and what would have been</h1>");
    let _infallible = write!(
        out,
        "<p>{} alerts from {} host{}, {} to {}</p>",
        report.alerts,
        report.hosts.len(),
        if report.hosts.len() == 1 { "" } else { "s" },
        escaped(to_second(&report.first)),
        escaped(to_second(&report.last))
    );
    sums(&mut out, report);
    section(&mut out, "By rule", &report.rules);
    section(&mut out, "By program", &report.programs);
    section(&mut out, "By object", &report.objects);
    section(&mut out, "By rule, program and object", &report.acts);
    if !report.notices.is_empty() {
        out.push_str(
            "<h2>The agent about itself</h2><table><tr><th>notice</th><th>times</th></tr>",
        );
        for (name, count) in &report.notices {
            let _infallible = write!(out, "<tr><td>{}</td><td>{count}</td></tr>", escaped(name));
        }
        out.push_str("</table>");
    }
    out.push_str("<footer>");
    if report.unreadable > 0 {
        let _infallible = write!(out, "{} lines were not alerts. ", report.unreadable);
    }
    if report.unexplained > 0 {
        let _infallible =
            write!(out, "{} decisions are of policies no longer known. ", report.unexplained);
    }
    out.push_str("An alert that several rules matched counts once for each of them.</footer></body></html>\n");
    out
}

fn to_second(time: &str) -> &str {
    time.get(..19).unwrap_or(time)
}

fn sums(out: &mut String, report: &Report) {
    out.push_str("<div class=\"sums\">");
    let total = report.total;
    for (colour, count, name) in [
        ("blocked", total.blocked, "blocked"),
        ("killed", total.killed, "killed"),
        ("would", total.would_block, "would have been blocked"),
        ("told", total.told, "only told"),
    ] {
        let _infallible = write!(
            out,
            "<div class=\"sum\" style=\"--c:var(--{colour})\"><b>{count}</b><span>{name}</span></div>"
        );
    }
    out.push_str("</div>");
}

fn section(out: &mut String, title: &str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let _infallible = write!(
        out,
        "<h2>{title}</h2><table><tr><th></th><th></th><th>blocked</th><th>killed</th><th>would block</th><th>told</th></tr>"
    );
    // The row that sums up the rest would dwarf the others.
    let named = rows.iter().filter(|row| !row.name.starts_with('('));
    let most = named.map(|row| row.counts.total()).max().unwrap_or(1).max(1);
    for row in rows {
        let _infallible = write!(out, "<tr><td>{}", escaped(&row.name));
        if !row.note.is_empty() {
            let _infallible = write!(out, "<small>{}</small>", escaped(&row.note));
        }
        out.push_str("</td><td class=\"bar\">");
        bar(out, row.counts, most);
        out.push_str("</td>");
        let counts = row.counts;
        for count in [counts.blocked, counts.killed, counts.would_block, counts.told] {
            let class = if count == 0 { " class=\"zero\"" } else { "" };
            let _infallible = write!(out, "<td{class}>{count}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

fn bar(out: &mut String, counts: Counts, most: u64) {
    let _infallible = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} 14\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{} of {most}\">",
        counts.total()
    );
    let mut at = 0;
    let mut sum = 0;
    for (colour, count) in [
        ("blocked", counts.blocked),
        ("killed", counts.killed),
        ("would", counts.would_block),
        ("told", counts.told),
    ] {
        if count == 0 {
            continue;
        }
        sum += count;
        // Whatever happened at all is to be seen.
        let end = (u128::from(sum) * u128::from(WIDTH) / u128::from(most)) as u64;
        let end = end.max(at + 2).min(WIDTH.max(at));
        let _infallible = write!(
            out,
            "<rect x=\"{at}\" y=\"0\" width=\"{}\" height=\"14\" fill=\"var(--{colour})\"/>",
            end - at
        );
        at = end;
    }
    out.push_str("</svg>");
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
