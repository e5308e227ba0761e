"""A Kafka cluster of three brokers (librdkafka's mock), and a consumer that stores what it holds in stored.ndjson.

`brokers` is written when the cluster is up; `expected`, written by the test, says how many alerts there are.
"""
import json
import pathlib
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

folder = pathlib.Path(sys.argv[1])
cluster = Producer({"test.mock.num.brokers": 3})
brokers = [f"{b.host}:{b.port}" for b in cluster.list_topics(timeout=10).brokers.values()]
# Asked for, it makes the topic, with four partitions.
cluster.list_topics("alerts", timeout=10)
(folder / "brokers.new").write_text(", ".join(json.dumps(b) for b in brokers))
(folder / "brokers.new").rename(folder / "brokers")

while not (folder / "expected").exists():
    time.sleep(0.05)
expected = int((folder / "expected").read_text())
consumer = Consumer({"bootstrap.servers": ",".join(brokers), "group.id": "g", "enable.auto.commit": False})
consumer.assign([TopicPartition("alerts", partition, 0) for partition in range(4)])
partitions, seen = set(), set()
with open(folder / "stored.ndjson", "wb") as stored:
    while len(seen) < expected:
        message = consumer.poll(1)
        if message is None:
            continue
        assert not message.error(), message.error()
        alert, headers = json.loads(message.value()), dict(message.headers())
        assert message.key().decode() == alert["stream"]
        assert headers["id"].decode() == alert["id"] and int(headers["seq"]) == alert["seq"]
        partitions.add(message.partition())
        seen.add(alert["seq"])
        stored.write(message.value() + b"\n")
consumer.close()
assert len(partitions) == 1, partitions
print("one partition, keyed by the stream", flush=True)
print("ids and numbers agree", flush=True)
(folder / "done").touch()
time.sleep(60)
