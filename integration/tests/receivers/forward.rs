//! Fluent Forward, read by the msgpack library, and compared with what another sender writes.

use std::fs;

use interdict_agent::alert::verify::Repeats;

use crate::{Receiver, assert_whole, free_port, lines, send};

#[test]
fn a_forward_receiver_that_forgets_to_acknowledge_gets_the_batch_again() {
    for compression in ["none", "gzip"] {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let dir = folder.path().display().to_string();
        let arguments = [&port.to_string(), &dir, compression];
        let mut receiver = Receiver::python(folder.path(), "forward.py", &arguments);
        receiver.wait_for_port(port);
        let sink = format!(
            "fluent: {{ address: \"127.0.0.1:{port}\", timeout: 2s }}\n    retry: {{ first: 10ms, max: 50ms }}\n    \
             compression: {compression}"
        );
        let (key, _) = send(folder.path(), &sink);
        let stored = lines(&fs::read(folder.path().join("stored.ndjson")).unwrap());
        assert_whole(&stored, key, Repeats::Allowed);
        assert!(receiver.log().contains("forgot"), "{}", receiver.log());
    }
}
