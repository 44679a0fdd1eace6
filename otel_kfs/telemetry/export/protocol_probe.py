"""Tells what exporters don't say of an endpoint: it speaks the other of OTLP's protocols, or is not there."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from urllib.parse import SplitResult, urlsplit

_SECONDS = 1.0  # for each step

# A client of HTTP/2 begins so (RFC 9113, 3.4), with an empty SETTINGS frame.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_FRAME_BYTES, _TYPE, _SETTINGS = 9, 3, 4


def says_of_grpc(url: str) -> str:
    """Return in a few words that what gRPC was expected of speaks HTTP/1 alone; nothing where it does not."""
    is_other = not _is_settings(_first_bytes(url, _PREFACE)) and _first_bytes(url, _request(url)).startswith(b"HTTP/1")
    return "what answers there speaks HTTP; set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" if is_other else ""


def says_of_http(url: str) -> str:
    """Return in a few words that what HTTP was expected of answers a request with HTTP/2; nothing where it does not."""
    is_other = _is_settings(_first_bytes(url, _request(url)))
    return "what answers there speaks gRPC; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc" if is_other else ""


def is_absent(url: str) -> bool:
    """Return whether the endpoint would be on this machine's loopback interface, and nothing listens there."""
    parts = _parts(url)
    try:
        host, port = parts.hostname or "", parts.port or _port(parts)
        if not is_loopback(host):
            return False
        with socket.create_connection((host, port), _SECONDS):
            return False
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False


def is_loopback(host: str) -> bool:
    """Return whether an address is one that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(url: str) -> SplitResult:
    return urlsplit(url if "//" in url else "//" + url)


def _port(parts: SplitResult) -> int:
    return 80 if parts.scheme == "http" else 443


def _request(url: str) -> bytes:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def _is_settings(answer: bytes) -> bool:
    return len(answer) == _FRAME_BYTES and answer[_TYPE] == _SETTINGS


def _first_bytes(url: str, request: bytes) -> bytes:
    """Return what an endpoint answers first; nothing where it can't be reached directly."""
    from urllib.request import getproxies, proxy_bypass

    parts = _parts(url)
    is_tls = parts.scheme != "http"
    proxies = getproxies()
    try:
        host, port = parts.hostname, parts.port or _port(parts)
        if not host or ((proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(host)):
            return b""
        with socket.create_connection((host, port), _SECONDS) as connection:
            if not is_tls:
                return _answer(connection, request)
            # Only to look: nothing secret is sent, and the exporter has its own.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"] if request is _PREFACE else ["http/1.1"])
            with context.wrap_socket(connection, server_hostname=host) as encrypted:
                return _answer(encrypted, request)
    except (OSError, ValueError):
        return b""


def _answer(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    answer = b""
    while len(answer) < _FRAME_BYTES and (more := connection.recv(_FRAME_BYTES - len(answer))):
        answer += more
    return answer
