"""An S3-compatible store on loopback (S3Proxy, from Maven), its objects in memory."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service_maven import fetch_jars
from service_process import HERE, HOST, Server, ServiceMissing, choose_ports, fill, program, running

FILES = HERE / "s3"


@dataclass(frozen=True)
class S3:
    """A running store, and the credentials that it accepts."""

    server: Server
    url: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables from which AWS's SDKs take the credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        try:
            import boto3
        except ImportError as error:
            raise ServiceMissing("buckets are made by boto3: pip install '.[claim-check]'") from error
        credentials = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **credentials)
        client.create_bucket(Bucket=name)


def fetch_s3() -> Path:
    """Return the folder of the store's jars, copying them there with Maven the first time."""
    return fetch_jars("s3", FILES / "pom.xml")


@contextmanager
def s3(port: int = 0, buckets: Sequence[str] = ()) -> Iterator[S3]:
    """Run a store with these buckets on the port, or on a free one; it forgets them at the end."""
    home = fetch_s3()
    (port,) = choose_ports(port)
    access_key, secret_key = "otel-kfs", uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="otel-kfs-s3-") as scratch:
        settings = fill(
            FILES / "s3proxy.properties",
            Path(scratch) / "s3proxy.properties",
            host=HOST,
            port=port,
            access_key=access_key,
            secret_key=secret_key,
        )
        java = program("java", "install a Java 17 or newer")
        command = [
            java,
            "-XX:MaxRAMPercentage=50",  # an experiment stores hundreds of images, which are all kept
            f"-Dlogback.configurationFile={FILES / 'logback.xml'}",
            "-cp",
            f"{home / 'libs'}/*",
            "org.gaul.s3proxy.Main",
            "--properties",
            str(settings),
        ]
        url = f"http://{HOST}:{port}"
        with running("s3", command, Path(scratch), lambda: _answers(url)) as server:
            store = S3(server, url, access_key, secret_key)
            for bucket in buckets:
                store.create_bucket(bucket)
            yield store


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:  # it wants credentials, so it is there
        return True
    except OSError:
        return False
    return True
