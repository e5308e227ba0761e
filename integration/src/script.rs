//! Shell that scripts of guests share.

/// `wait_for FILE OLD` waits until FILE holds something else than OLD and than nothing.
pub const WAIT_FOR: &str = r#"
wait_for() {
    left=3000
    while [ "$(cat "$1" 2>/dev/null)" = "$2" ] || [ -z "$(cat "$1" 2>/dev/null)" ]; do
        left=$((left - 1)); [ $left -gt 0 ] || { echo "deadline: $1 is still $2"; exit 1; }
        sleep 0.1
    done
}
"#;
