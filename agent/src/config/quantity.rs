//! Times and sizes with their units, as people write them.

use std::{fmt, time::Duration};

use serde::{Deserializer, de};

/// Reads a time such as `30s` or `2h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let deserializer = de::value::StrDeserializer::<de::value::Error>::new(text);
    duration(deserializer).map_err(|error| error.to_string())
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer
        .deserialize_any(Quantity {
            units: &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
            what: "a time such as 500ms, 30s, 5m, 48h or 7d",
        })
        .map(Duration::from_millis)
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Quantity {
        units: &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)],
        what: "a size such as 512KiB, 64MiB or 2GiB",
    })
}

/// A number with a unit.
struct Quantity {
    units: &'static [(&'static str, u64)],
    what: &'static str,
}

impl de::Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.what)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        // A bare number is only clear where one unit is nothing; zero is clear everywhere.
        if value == 0 || self.units.iter().any(|(unit, _)| unit.is_empty()) {
            Ok(value)
        } else {
            Err(E::custom(format!("{value} needs a unit: {}", self.what)))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        let value = u64::try_from(value)
            .map_err(|_negative| E::custom(format!("{value} is negative: {}", self.what)))?;
        self.visit_u64(value)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let end = text.find(|part: char| !part.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = self.units.iter().find(|(known, _)| *known == unit.trim());
        let value = number
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(number, (_, factor))| number.checked_mul(*factor));
        value.ok_or_else(|| E::custom(format!("`{text}` is not {}", self.what)))
    }
}
