use super::*;

fn alert(path: &str, exe: &str, verdict: &str, would: &str) -> Vec<u8> {
    serde_json::json!({
        "acts": ["file.read"],
        "agent": {"version": "0"},
        "decision": {"mode": "audit", "verdict": verdict, "would": would},
        "host": {"boot_id": "b", "kernel": "k", "name": "h"},
        "id": "x-1", "kind": "decision", "message": "m",
        "object": {"path": path},
        "process": {"cgroup_id": "1", "euid": 0, "exe": exe, "gid": 0, "name": "n", "parent_pid": 1, "pid": 2,
                    "source": "kernel", "tid": 2, "uid": 0},
        "rules": [{"action": "block", "file": "p.yaml", "id": "R-1", "line": 3, "mode": "enforce", "policy": "p",
                   "severity": "high", "title": "T"}],
        "schema": "interdict.alert/1", "seq": 1, "severity": "high", "stream": "s",
        "time": "2026-01-01T00:00:00.000000000Z", "time_boot_ns": "1",
        "seal": {"anything": 1}
    })
    .to_string()
    .into_bytes()
}

fn report(lines: &[Vec<u8>]) -> Report {
    let mut sums = Sums::default();
    lines.iter().for_each(|line| sums.line(line));
    sums.report(2)
}

#[test]
fn acts_are_counted_by_what_was_done_and_what_would_have_been() {
    let report = report(&[
        alert("/etc/shadow", "/bin/cat", "block", "block"),
        alert("/etc/shadow", "/bin/cat", "pass", "block"),
        alert("/etc/shadow", "/bin/cat", "pass", "kill"),
        alert("/a", "/bin/a", "alert", "alert"),
        alert("/b", "/bin/b", "kill", "kill"),
        b"not an alert".to_vec(),
    ]);
    let expected = Counts { blocked: 1, killed: 1, would_block: 2, told: 1 };
    assert_eq!(report.total, expected);
    assert_eq!(report.rules[0].counts, expected);
    assert_eq!(report.unreadable, 1);
    assert_eq!(report.objects[0].name, "/etc/shadow");
    assert_eq!(report.objects[0].counts.would_block, 2);
    let names: Vec<&str> = report.programs.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["/bin/cat", "/bin/a", "(1 more)"]);
    assert_eq!(report.acts[0].name, "R-1 | /bin/cat | /etc/shadow");
}

#[test]
fn a_hostile_name_neither_breaks_the_table_nor_the_page() {
    let report = report(&[alert("/tmp/<script>\n\u{1b}[2J", "/bin/'\"&", "block", "block")]);
    let page = html::page(&report);
    assert!(!page.contains("<script") && page.contains("/tmp/&lt;script&gt;\\u{a}\\u{1b}[2J"));
    assert!(page.contains("/bin/&#39;&quot;&amp;"));
    assert!(!table(&report).contains('\u{1b}'));
}
