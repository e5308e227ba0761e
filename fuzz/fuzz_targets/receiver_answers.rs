//! What receivers answer: any bytes, read as an answer of each protocol that a sink speaks. A receiver, or whoever sits on
//! the way to it, must not be able to bring the agent down.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| interdict_agent::sinks::read_as_answers(bytes));
