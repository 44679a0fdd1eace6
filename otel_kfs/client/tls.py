"""Says what is wrong with a TLS connection, alike for a model's server, a broker and a trace store."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

_PROBE_SECONDS = 5.0
_ALERT_SECONDS = 1.0  # for a server to say that it does not like the client's certificate

# OpenSSL's X509_V_ERR_* numbers; Python gives them as `verify_code`.
_EXPIRED = {10}
_NOT_YET_VALID = {9}
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}

# What a server says of a client's certificate: parts of OpenSSL's names of alerts.
_WANTS_ONE = ("certificate required", "handshake failure")
_HUNG_UP = (
    "the server hung up after the handshake; most likely it wants a client certificate and got none, or does not "
    "accept the one it got"
)
_REFUSES_IT = ("bad certificate", "unknown ca", "certificate expired", "certificate unknown", "certificate revoked")


def cause(error: BaseException) -> str | None:
    """Explain the TLS error within `error`, or within what it wraps; None if there is none that says anything."""
    for inner in _within(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return _untrusted(inner)
        if isinstance(inner, ssl.SSLError) and not isinstance(inner, ssl.SSLEOFError):
            return alert(str(inner)) or f"the TLS handshake failed ({inner.reason or inner.args[-1]})"
    return None


def probe(
    host: str,
    port: int,
    *,
    ca: str | None = None,
    ca_pem: str | None = None,
    identity: tuple[str, str] | None = None,
    check_host: bool = True,
    http2: bool = False,
) -> str | None:
    """Find out by a handshake of our own what is wrong with the TLS server there; None if that shows nothing.

    Libraries lose the reason: librdkafka has one word for all that may be wrong with a certificate, and a server of
    TLS 1.3 refuses a client's only after the handshake, when its alert is easily lost with the connection.

    `http2` is for a server that speaks it, and so speaks first. One that hangs up instead did not accept the client's
    certificate: gRPC's own servers do not even send an alert.
    """
    try:
        context = ssl.create_default_context(cafile=ca, cadata=ca_pem)
        context.check_hostname = check_host
        if identity is not None:
            context.load_cert_chain(*identity, password=lambda: "")
        if http2:
            context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, port), timeout=_PROBE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host) as wrapped,
        ):
            wrapped.settimeout(_ALERT_SECONDS)
            if http2 and wrapped.selected_alpn_protocol() != "h2":
                return "the server does not speak HTTP/2 on this port"
            hung_up = not _speaks_or_waits(wrapped)
    except (OSError, ValueError) as error:
        return cause(error)
    return _HUNG_UP if http2 and hung_up else None


def _speaks_or_waits(wrapped: ssl.SSLSocket) -> bool:
    """Return whether the connection lasts until the server has sent something, or been silent for a while."""
    try:
        return wrapped.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def alert(text: str) -> str | None:
    """Explain what OpenSSL's own `text` says about a client certificate or the protocol; None if nothing."""
    text = text.lower().replace("_", " ")
    if "alert" in text and any(sign in text for sign in _REFUSES_IT):
        return "the server wants a client certificate and got none, or does not accept the one it got"
    if "alert" in text and any(sign in text for sign in _WANTS_ONE):
        return "the server wants a client certificate"
    if any(sign in text for sign in ("wrong version number", "http request", "record layer failure")):
        return "the server does not speak TLS on this port"
    return None


def refusal(text: str) -> str | None:
    """Explain what a library's text, which quotes OpenSSL, says about the server's certificate; None if nothing."""
    _, found, reason = text.partition("CERTIFICATE_VERIFY_FAILED: ")
    return f"the server's certificate is not trusted ({reason.partition(':')[0]})" if found else None


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _EXPIRED:
        return "the server's certificate has expired"
    if error.verify_code in _NOT_YET_VALID:
        return "the server's certificate is not valid yet (check both clocks)"
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return "the server's certificate is signed by no authority that is trusted here"
    reason = error.verify_message.rstrip(".")
    if "mismatch" in reason:
        return f"the server's certificate is another host's ({reason})"
    return f"the server's certificate is not trusted ({reason})"


def _within(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all it wraps: urllib3 keeps inner errors in `reason` and `args`, Python in `__cause__`."""
    seen: set[int] = set()
    left: list[object] = [error]
    while left:
        inner = left.pop(0)
        if isinstance(inner, BaseException) and id(inner) not in seen:
            seen.add(id(inner))
            yield inner
            left += [getattr(inner, "reason", None), *inner.args, inner.__cause__, inner.__context__]
