"""The sender: sends images straight to the transformer, then through Kafka. otel_kfs: three lines each.

python sender.py --url http://127.0.0.1:8080 --bootstrap-servers 127.0.0.1:9092 photos/chelsea.jpg
"""

import argparse

import otel_kfs

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the transformer, or its ingress")
    parser.add_argument("--host", help="the Host header that the ingress routes by")
    parser.add_argument("--bootstrap-servers", help="Kafka; default: only HTTP")
    parser.add_argument("--topic", default="mobilenet")
    parser.add_argument(
        "--encoding", default="json", help="json; cloudevent for the fast transformers (v2, raw: KServe)"
    )
    parser.add_argument("--resize", type=int, help="pixels of the shorter side; this model needs 256")
    parser.add_argument("images", nargs="+")
    args = parser.parse_args()

    otel_kfs.configure("image-sender")
    form = {"encoding": args.encoding, "resize": args.resize}
    sender = otel_kfs.HttpSender(args.url, model="mobilenet", host=args.host, **form)
    for image in args.images:
        print(image, sender.send(image))

    if args.bootstrap_servers:
        kafka_sender = otel_kfs.KafkaSender(args.bootstrap_servers, args.topic, **form)
        for image in args.images:
            print(image, kafka_sender.send(image))
