//! JSON Schema of policy files, for editors: generated from the tables the reader uses.
//!
//! It knows keys, words and shapes. What expressions mean, an editor learns from `interdict check`.

use interdict_abi::ids::Act;
use serde_json::{Map, Value, json};

use crate::{
    field,
    parse::{
        keys,
        policy::{API_VERSION, ListKind},
    },
};

/// The schema.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "interdict policy",
        "oneOf": [
            document("Policy", spec()),
            document("Override", overrides()),
            document("Cases", json!({
                "type": "object",
                "required": ["cases"],
                "additionalProperties": false,
                "properties": { "cases": { "type": "array", "items": case() } },
            })),
        ],
    })
}

fn document(kind: &str, spec: Value) -> Value {
    let required =
        if kind == "Cases" { json!(["apiVersion", "kind", "spec"]) } else { json!(keys::DOCUMENT) };
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind },
            "metadata": object(keys::METADATA, &["name"], |key| match key {
                "name" | "namespace" => text(),
                _ => json!({ "type": "object" }),
            }),
            "spec": spec,
        },
    })
}

/// An object of exactly these keys.
fn object(keys: &[&str], required: &[&str], of: impl Fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), of(key))).collect();
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn words<T>(words: &[(&str, T)]) -> Value {
    json!({ "enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
}

fn one_or_many(item: Value) -> Value {
    json!({ "oneOf": [item, { "type": "array", "items": item }] })
}

fn values() -> Value {
    one_or_many(json!({ "type": ["string", "number", "boolean"] }))
}

fn expression() -> Value {
    json!({ "type": "string", "description": "An expression: tests joined by and, or, not." })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+[smhd]$" })
}

fn acts() -> Value {
    let names: Vec<&str> = Act::ALL
        .iter()
        .filter(|act| act.is_named() && field::decided(**act).is_some())
        .map(|act| act.name())
        .collect();
    one_or_many(json!({ "enum": names }))
}

fn spec() -> Value {
    object(keys::SPEC, &[], |key| match key {
        "requires" => object(&["engine"], &[], |_| text()),
        "mode" => words(keys::MODES),
        "scope" => object(keys::SCOPE, &[], |key| match key {
            "host" | "containers" => json!({ "type": "boolean" }),
            "k8s" => object(keys::SCOPE_K8S, &[], |key| match key {
                "labels" => json!({ "type": "object", "additionalProperties": text() }),
                _ => values(),
            }),
            _ => object(keys::SCOPE_CONTAINER, &[], |_| values()),
        }),
        "lists" => json!({ "type": "object", "additionalProperties": list() }),
        "macros" => json!({ "type": "object", "additionalProperties": expression() }),
        "profiles" => json!({
            "type": "array",
            "items": object(keys::PROFILE, &["id", "title", "on", "for", "allow", "default"], rule),
        }),
        _ => json!({
            "type": "array",
            "items": object(keys::RULE, &["id", "title", "on", "action"], rule),
        }),
    })
}

fn list() -> Value {
    object(keys::LIST, &["type"], |key| match key {
        "type" => words(ListKind::ALL),
        "items" => values(),
        _ => object(keys::FEED, &["file"], |key| match key {
            "file" => text(),
            "max" => json!({ "type": "integer", "minimum": 1 }),
            _ => object(keys::STALE, &["after"], |key| match key {
                "after" => duration(),
                _ => json!({ "const": "alert" }),
            }),
        }),
    })
}

fn rule(key: &str) -> Value {
    match key {
        "id" => json!({ "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$" }),
        "on" => acts(),
        "when" | "for" => expression(),
        "except" => json!({ "type": "array", "items": exception() }),
        "allow" => json!({
            "type": "array",
            "items": object(keys::ALLOW, &["name", "when"], exception_key),
        }),
        "action" | "default" => json!({ "oneOf": [words(keys::ACTIONS), action()] }),
        "mode" => words(keys::MODES),
        "on_fault" => words(keys::ON_FAULT),
        "requires" => object(&["block"], &[], |_| json!({ "type": "boolean" })),
        "means_to" => json!({ "const": "lock_out" }),
        "severity" => words(keys::SEVERITIES),
        "attack" => {
            one_or_many(json!({ "type": "string", "pattern": "^T[0-9]{4}(\\.[0-9]{3})?$" }))
        }
        "tags" | "references" => one_or_many(text()),
        "throttle" => object(keys::THROTTLE, &["burst", "per"], |key| match key {
            "by" => one_or_many(json!({
                "enum": field::FIELDS.iter().map(|field| field.name).collect::<Vec<_>>(),
            })),
            "burst" => json!({ "type": "integer", "minimum": 1 }),
            _ => duration(),
        }),
        "rate" => object(keys::RATE, &["over", "per"], |key| match key {
            "over" | "burst" => json!({ "type": "integer", "minimum": 1 }),
            _ => duration(),
        }),
        "tests" => json!({ "type": "array", "items": case() }),
        _ => text(),
    }
}

fn action() -> Value {
    object(&["alert", "block", "kill"], &[], |key| match key {
        "block" => object(&["errno"], &[], |_| words(keys::ERRNOS)),
        "kill" => object(&["signal"], &[], |_| words(keys::SIGNALS)),
        _ => json!({ "type": "object", "maxProperties": 0 }),
    })
}

fn exception() -> Value {
    object(keys::EXCEPTION, &["name", "when", "owner", "reason"], exception_key)
}

fn exception_key(key: &str) -> Value {
    match key {
        "on" => acts(),
        "when" => expression(),
        "expires" => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }),
        _ => text(),
    }
}

fn case() -> Value {
    object(keys::CASE, &["name", "event", "expect"], |key| match key {
        "event" => json!({ "type": "object" }),
        "expect" | "would" => words(keys::VERDICTS),
        "rules" => one_or_many(text()),
        _ => text(),
    })
}

fn overrides() -> Value {
    object(keys::OVERRIDES, &[], |key| match key {
        "lists" => json!({
            "type": "object",
            "additionalProperties": object(keys::LIST_OVERRIDE, &[], |_| values()),
        }),
        _ => json!({
            "type": "array",
            "items": object(keys::OVERRIDE, &["select"], |key| match key {
                "select" => object(keys::SELECT, &[], |_| one_or_many(text())),
                "set" => object(keys::SET, &[], |key| match key {
                    "mode" => words(keys::MODES),
                    _ => words(keys::SEVERITIES),
                }),
                _ => json!({ "type": "array", "items": exception() }),
            }),
        }),
    })
}
