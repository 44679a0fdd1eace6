"""OTLP over gRPC and HTTP, as it comes: acknowledged when it is kept, refused when there is too much."""
