//! What root tries with bpf(2) against the agent: the program `tamper` of a guest.

use std::process::ExitCode;

use aya::maps::{Array, Map, MapData, loaded_maps};
use aya::programs::{loaded_links, loaded_programs};
use interdict_abi::maps::Control;

/// A map of the agent that its enforcement rests on.
const MAP: &str = "CONTROL";
/// A program of it.
const PROGRAM: &str = "file_open";

/// Does what the arguments ask for, if they do: exit code 0 says that it went through.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut words = std::env::args();
    if !words.next().is_some_and(|name| name.ends_with("tamper")) {
        return None;
    }
    let through = match words.next().as_deref() {
        Some("map") => map(),
        Some("pinned-map") => words.next().is_some_and(|path| MapData::from_pin(path).is_ok()),
        Some("clear-image") => words.next().is_some_and(|path| cleared::<{ 1 << 18 }>(&path, 2)),
        Some("clear-control") => {
            words.next().is_some_and(|path| cleared::<{ size_of::<Control>() }>(&path, 1))
        }
        Some("program") => {
            loaded_programs().any(|info| info.is_ok_and(|info| info.name_as_str() == Some(PROGRAM)))
        }
        // Links have no names: all of them are the agent's here.
        Some("link") => loaded_links().any(|info| info.is_ok()),
        Some(_) | None => return Some(ExitCode::from(2)),
    };
    Some(if through { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Fills a pinned array of values of `BYTES` with zeros.
fn cleared<const BYTES: usize>(path: &str, entries: u32) -> bool {
    let Ok(map) = MapData::from_pin(path) else { return false };
    let Ok(map) = Map::from_map_data(map) else { return false };
    let Ok(mut array) = Array::<MapData, [u8; BYTES]>::try_from(map) else { return false };
    (0..entries).all(|entry| array.set(entry, [0; BYTES], 0).is_ok())
}

/// A descriptor of the map that says which policy is in force: whoever has it ends enforcement with one update.
fn map() -> bool {
    loaded_maps().any(|info| {
        info.is_ok_and(|info| {
            info.name_as_str() == Some(MAP) && MapData::from_id(info.id()).is_ok()
        })
    })
}
