"""A Fluent Forward receiver on the msgpack library: stores events, and acknowledges by chunk, but not the second time."""
import json
import pathlib
import socket
import sys

import msgpack

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
stored = open(folder / "stored.ndjson", "ab", buffering=0)
listener = socket.create_server(("127.0.0.1", port))
batches = 0
while True:
    connection, _ = listener.accept()
    unpacker = msgpack.Unpacker(raw=False, timestamp=0)
    keep = True
    while keep:
        data = connection.recv(1 << 16)
        if not data:
            break
        unpacker.feed(data)
        for message in unpacker:
            tag, events, options = message
            assert tag == "interdict.alert", tag
            assert options["size"] == len(events), options
            for time, record in events:
                assert isinstance(time, msgpack.ExtType) and time.code == 0 and len(time.data) == 8, time
                stored.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            batches += 1
            if batches == 2:
                print("forgot", options["chunk"], flush=True)
                keep = False
                break
            connection.sendall(msgpack.packb({"ack": options["chunk"]}))
    connection.close()
