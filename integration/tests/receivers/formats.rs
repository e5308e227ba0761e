//! Rendered formats against the schemas that others publish, and ours.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{ALL, here, lines, receivers, send};

/// Everything, rendered to a file in one format.
fn rendered(folder: &Path, format: &str) -> std::path::PathBuf {
    let path = folder.join(format!("{format}.out"));
    send(folder, &format!("format: {format}\n    file: {{ path: {} }}", path.display()));
    path
}

fn assert_valid(script: &str, arguments: &[&Path]) {
    let mut command = receivers().python();
    let checked = command.arg(here().join(script)).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    let wrong = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}{wrong}");
    assert!(said.contains(&format!("{ALL} lines, 0 errors")), "{said}");
}

#[test]
fn native_alerts_satisfy_the_published_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = rendered(folder.path(), "native");
    assert_valid("validate.py", &[&here().join("../../../docs/schema/alert-1.json"), &path]);
}

#[test]
fn findings_satisfy_the_schema_of_ocsf() {
    let folder = tempfile::tempdir().unwrap();
    let path = rendered(folder.path(), "ocsf");
    assert_valid("ocsf.py", &[&path]);
}

#[test]
fn a_finding_that_breaks_the_schema_of_ocsf_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = rendered(folder.path(), "ocsf");
    let good = lines(&fs::read(&path).unwrap());
    let breaks: [fn(&mut Value); 4] = [
        |finding| finding["severity_id"] = Value::from("high"),
        |finding| finding["disposition_id"] = Value::from(4_711),
        |finding| finding["finding_info"]["no_such_field"] = Value::from(1),
        |finding| drop(finding.as_object_mut().unwrap().remove("finding_info")),
    ];
    for (index, change) in breaks.into_iter().enumerate() {
        let mut finding: Value = serde_json::from_slice(&good[2]).unwrap();
        change(&mut finding);
        let path = folder.path().join("broken");
        fs::write(&path, finding.to_string()).unwrap();
        let checked = receivers().python().arg(here().join("ocsf.py")).arg(&path).output().unwrap();
        assert!(!checked.status.success(), "break {index} was not noticed");
    }
}
