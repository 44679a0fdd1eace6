"""A user's mistakes, each with the error that mypy must make of it."""

import otel_kfs

sender = otel_kfs.HttpSender("http://ingress", model="mobilenet")
sender.send(3)  # error: arg-type
answer: str = sender.send("cat.jpg")  # error: assignment
print(otel_kfs.KafkaSender("host:1", "topic").send("cat.jpg").partitions)  # error: attr-defined
otel_kfs.HttpSender("http://ingress", modell="mobilenet")  # error: call-arg

otel_kfs.kafka.process(3)  # error: arg-type
otel_kfs.kafka.processing([])  # error: call-overload

producer = otel_kfs.kafka.Producer({"bootstrap.servers": "host:1"})
producer.produce("topic", 3)  # error: arg-type
otel_kfs.kafka.SerializingProducer[str, str]({}).produce("topic", value=3)  # error: arg-type
otel_kfs.kafka.AsyncSerializingProducer()  # error: call-arg

consumer = otel_kfs.kafka.Consumer({"group.id": "g"})
consumer.poll(1.0).value()  # error: union-attr
consumer.poll("1.0")  # error: arg-type
consumer.consume(timeout_seconds=1)  # error: call-arg
consumer.no_such_method()  # error: attr-defined

reading = otel_kfs.read("traces/")
reading.to_pandas("traces")  # error: arg-type
reading.compare("traces/")  # error: arg-type
print(next(reading.images())["duration"])  # error: typeddict-item
otel_kfs.read("traces/", look_back="1h")  # error: call-arg
