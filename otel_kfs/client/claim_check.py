"""The claim check: the image goes to an object store (S3), and the model or the topic gets only a reference to it.

Both ends trace their call of the store, by OpenTelemetry's instrumentation of botocore. Objects stay until the bucket's
own lifecycle rules delete them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from otel_kfs.client.encodings import Encoded, Encoding
from otel_kfs.errors import InputError, MissingExtra, SendError
from otel_kfs.telemetry.safe_tracer import SafePropagator, SafeTracerProvider

NAME = "claim-check"
_PREFIX = "otel-kfs/"  # of the keys, so that a lifecycle rule can tell these objects from others
_MISSING = {"NoSuchKey", "NoSuchBucket", "404"}


class ClaimStore:
    """One bucket of an S3-compatible store."""

    def __init__(self, bucket: str, *, endpoint_url: str | None = None) -> None:
        """Open a bucket; credentials are found as boto3 finds them (AWS_...).

        `endpoint_url` is that of a store which is not AWS's.

        Raises:
            MissingExtra: boto3 is not installed.
        """
        try:
            import boto3
            from botocore.config import Config
            from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
        except ImportError as error:
            raise MissingExtra("boto3 (with its instrumentation)", "claim-check") from error
        instrumentor = BotocoreInstrumentor()
        if not instrumentor.is_instrumented_by_opentelemetry:
            propagator = SafePropagator(instrumentor.propagator)
            instrumentor.instrument(tracer_provider=SafeTracerProvider(), propagator=propagator)
        self.bucket = bucket
        self._place = f"bucket {bucket}" + (f" at {endpoint_url}" if endpoint_url else "")
        session = boto3.Session()
        # Not every store knows AWS's newer checksums, and TCP and TLS check the image on its way.
        config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        self._client: Any = session.client(
            "s3", endpoint_url=endpoint_url, region_name=session.region_name or "us-east-1", config=config
        )

    @property
    def encoding(self) -> Encoding:
        """`claim-check`: V1 JSON, `{"instances": [{"image_ref": {"bucket": ..., "key": ...}}]}`."""
        return Encoding(NAME, self._encode)

    def _encode(self, image: bytes, media_type: str) -> Encoded:
        body = orjson.dumps({"instances": [{"image_ref": self.put(image, media_type)}]})
        return Encoded(body, {"content-type": "application/json"})

    def put(self, image: bytes, media_type: str) -> dict[str, str]:
        """Store an image and return its reference, `{"bucket": ..., "key": ...}`.

        Raises:
            SendError: the store was not reached, or refused.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"{_PREFIX}{uuid.uuid4().hex}"
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=image, ContentType=media_type)
        except (BotoCoreError, ClientError) as error:
            raise SendError(
                f"can't store the image in {self._place}: {error}; check the bucket, the endpoint and the AWS_... "
                "credentials"
            ) from error
        return {"bucket": self.bucket, "key": key}

    def fetch(self, reference: Mapping[str, Any]) -> bytes:
        """Return the image of a reference. The store's own errors pass through.

        Raises:
            InputError: it is no reference into this bucket, or nothing lies there.
        """
        from botocore.exceptions import ClientError

        bucket, key = (reference.get(name) if isinstance(reference, Mapping) else None for name in ("bucket", "key"))
        # The reference comes from outside: it must not lead to other buckets that these credentials can read.
        if bucket != self.bucket or not isinstance(key, str) or not key.startswith(_PREFIX):
            raise InputError(f"not a reference to an image in {self._place}")
        try:
            content: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                raise InputError(f"no image {key} in {self._place}") from error
            raise
        return content
