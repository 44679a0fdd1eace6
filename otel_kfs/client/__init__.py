"""Senders of images over HTTP, through Kafka and over gRPC, and what each of them is made of."""
