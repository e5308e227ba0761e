//! Renders an alert in the formats that receivers know.
//!
//! One model, read back from its sealed native line, so that every format tells the same and carries the same id,
//! sequence number and chain hash. Native is the line itself, byte for byte.

mod cef;
mod ecs;
mod ocsf;

#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde_json::Value;

use super::model::Alert;

/// How alerts are rendered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The sealed JSON line. The only one that `interdict verify` can prove.
    #[default]
    Native,
    /// OCSF 1.x Detection Finding.
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// ArcSight Common Event Format.
    Cef,
    /// The native alert as MessagePack.
    Msgpack,
}

impl Format {
    /// Whether it is one line of text.
    pub fn is_text(self) -> bool {
        match self {
            Self::Native | Self::Ocsf | Self::Ecs | Self::Cef => true,
            Self::Msgpack => false,
        }
    }
}

/// An alert with the proof it carries.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The alert.
    pub alert: Alert,
    /// Its chain hash, hex.
    pub hash: String,
}

/// Why a line can't be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It isn't an alert of this version.
    #[error("not an alert: {0}")]
    Alert(#[from] serde_json::Error),
    /// MessagePack.
    #[error("cannot encode: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Reads a sealed line.
pub fn read(line: &[u8]) -> Result<Sealed, serde_json::Error> {
    #[derive(Deserialize)]
    struct Hash {
        #[serde(default)]
        hash: String,
    }
    #[derive(Deserialize)]
    struct Seal {
        seal: Option<Hash>,
    }
    let alert: Alert = serde_json::from_slice(line)?;
    let seal: Seal = serde_json::from_slice(line)?;
    Ok(Sealed { alert, hash: seal.seal.map(|seal| seal.hash).unwrap_or_default() })
}

/// Renders a sealed line.
pub fn render(line: &[u8], format: Format) -> Result<Vec<u8>, RenderError> {
    Ok(match format {
        Format::Native => line.to_vec(),
        Format::Ocsf => serde_json::to_vec(&ocsf::finding(&read(line)?))?,
        Format::Ecs => serde_json::to_vec(&ecs::event(&read(line)?))?,
        Format::Cef => cef::line(&read(line)?).into_bytes(),
        Format::Msgpack => {
            let value: Value = serde_json::from_slice(line)?;
            rmp_serde::to_vec_named(&value)?
        }
    })
}

/// Members that have a value.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect())
}

/// Unix time in ms of the alert.
fn unix_ms(alert: &Alert) -> u64 {
    super::build::unix_ns(&alert.time).unwrap_or(0) / 1_000_000
}

/// The last component of a path.
fn base_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
