"""A Fluent Forward receiver on the msgpack library: stores events, and acknowledges by chunk, but not the second time.

Every event must have the very bytes that the fluent-logger library, another sender of the protocol, writes for it.
"""
import gzip
import json
import pathlib
import socket
import struct
import sys

import msgpack
from fluent.sender import EventTime

port, folder, compression = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
stored = open(folder / "stored.ndjson", "ab", buffering=0)
listener = socket.create_server(("127.0.0.1", port))
batches = 0


def events_of(data):
    unpacker = msgpack.Unpacker(raw=False, timestamp=0)
    unpacker.feed(data)
    return list(unpacker)


def as_fluent_logger_has_them(events):
    for time, record in events:
        assert isinstance(time, msgpack.ExtType) and time.code == 0 and len(time.data) == 8, time
        seconds, nanoseconds = struct.unpack(">II", time.data)
        yield msgpack.packb([EventTime(seconds, nanoseconds), record])


while True:
    connection, _ = listener.accept()
    unpacker = msgpack.Unpacker(raw=False, timestamp=0, max_buffer_size=1 << 28)
    keep = True
    while keep:
        data = connection.recv(1 << 16)
        if not data:
            break
        unpacker.feed(data)
        for message in unpacker:
            tag, events, options = message
            assert tag == "interdict.alert", tag
            if compression == "gzip":
                assert options["compressed"] == "gzip", options
                unpacked = gzip.decompress(events)
                events = events_of(unpacked)
                assert b"".join(as_fluent_logger_has_them(events)) == unpacked
            else:
                assert "compressed" not in options, options
                assert msgpack.packb(events) == msgpack.packb([events_of(e)[0] for e in as_fluent_logger_has_them(events)])
            assert options["size"] == len(events), options
            for _, record in events:
                stored.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            batches += 1
            if batches == 2:
                print("forgot", options["chunk"], flush=True)
                keep = False
                break
            connection.sendall(msgpack.packb({"ack": options["chunk"]}))
    connection.close()
