"""Who may send: TLS, a bearer token, and where neither is needed."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from otel_kfs.errors import ConfigError
from otel_kfs.telemetry.export.protocol_probe import is_loopback


@dataclass(frozen=True, slots=True)
class ReceiverSecurity:
    """Certificate and key (PEM) for TLS, both or neither, and the token that senders have to give."""

    tls_cert: Path | None = None
    tls_key: Path | None = None
    token: str = ""

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_cert is not None

    def allows(self, authorization: str | bytes | None) -> bool:
        """Return whether the `authorization` header of a request is right; anything is where there is no token."""
        if not self.token:
            return True
        given = authorization.encode() if isinstance(authorization, str) else authorization or b""
        scheme, _, token = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token.encode())

    def check(self, host: str, *, insecure: bool) -> None:
        """Refuse to listen on other interfaces than loopback without TLS and a token, unless that is wanted.

        Raises:
            ConfigError: it is not.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key belong together: give both")
        if insecure or is_loopback(host) or (self.is_tls and self.token):
            return
        raise ConfigError(
            f"--listen {host} lets other machines send: give --tls-cert, --tls-key and --token-file, "
            "or --insecure if the network may be trusted"
        )


def read_pem(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
