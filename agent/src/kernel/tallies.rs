//! What the programs have counted of packets and flows, by rule.
//!
//! In: the pinned maps of one instance. Out: sums over all processors. Packets that were dropped by their sender alone are
//! counted apart from the others; here they are one.

use std::{collections::BTreeMap, path::Path};

use aya::maps::{Map, PerCpuArray, PerCpuHashMap};
use interdict_abi::{
    limits::SETTLED_TALLIES,
    maps::{RuleKey, RuleTally, SettledTally, names},
};

use super::loader::open_map;

/// What was counted for one rule under one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets, and flows that were told with their process.
    pub hits: u64,
    /// Bytes of the packets.
    pub bytes: u64,
    /// Packets among them that were dropped by their sender alone.
    pub settled: u64,
}

/// What the programs whose maps are pinned in `maps` have counted, by generation and rule. `None` if they have no such maps.
pub fn read(maps: &Path) -> Option<BTreeMap<(u32, u32), Counted>> {
    let map = |name: &str| Map::from_map_data(open_map(&maps.join(name)).ok()?).ok();
    let hash: PerCpuHashMap<_, RuleKey, RuleTally> =
        PerCpuHashMap::try_from(map(names::RULE_TALLIES)?).ok()?;
    // Programs of an earlier version have none.
    let array: Option<PerCpuArray<_, SettledTally>> =
        map(names::SETTLED_TALLIES).and_then(|map| PerCpuArray::try_from(map).ok());
    let mut counted: BTreeMap<(u32, u32), Counted> = BTreeMap::new();
    for (key, values) in hash.iter().filter_map(Result::ok) {
        let sum = counted.entry((key.generation, key.rule)).or_default();
        sum.hits += values.iter().map(|value| value.hits).sum::<u64>();
        sum.bytes += values.iter().map(|value| value.bytes).sum::<u64>();
    }
    for index in 0..SETTLED_TALLIES {
        let Some(Ok(values)) = array.as_ref().map(|array| array.get(&index, 0)) else { break };
        for value in values.iter().filter(|value| value.packets != 0) {
            let sum = counted.entry((value.key.generation, value.key.rule)).or_default();
            sum.hits += value.packets;
            sum.bytes += value.bytes;
            sum.settled += value.packets;
        }
    }
    Some(counted)
}
