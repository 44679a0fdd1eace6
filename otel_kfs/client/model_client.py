"""Posts a payload to a model's URL; what goes wrong becomes one line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
import requests
from requests.structures import CaseInsensitiveDict

from otel_kfs.client.encodings import v2
from otel_kfs.client.request_body import RequestBody
from otel_kfs.errors import ConfigError, PayloadTooLargeError, SendError

# What the servers on the way to a model say of their limits, and the settings that raise them.
_BODY_LIMITS = (
    "KFServing: --max_buffer_size of the transformer and the predictor (bytes, default 104857600); "
    "nginx ingress: client_max_body_size; Istio/Envoy: the buffer filter's max_request_bytes"
)
EXCERPT_LENGTH = 200  # characters of a server's answer that an error shows


def predict_url(url: str, model: str | None, protocol: str = "v1") -> str:
    """Return the predict URL of `model` at the server or ingress `url`; without a model, `url` as it is.

    Source: KFServing and KServe data plane, V1 protocol, `/v1/models/<model_name>:predict`, and V2 protocol (Open
    Inference Protocol), `/v2/models/<model_name>/infer`.

    Raises:
        ConfigError: `url` is not an http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        # What is no URL can't be parsed: user and query, which may be secrets, are cut off at their marks.
        bare = url.partition("?")[0].rpartition("@")[2]
        raise ConfigError(f"{bare!r} is not a URL of a model server; write it as http://host:port")
    if not model:
        return url
    path = f"v2/models/{model}/infer" if protocol == "v2" else f"v1/models/{model}:predict"
    return f"{url.rstrip('/')}/{path}"


def redact_url(url: str) -> str:
    """Return `url` without user-info, query and fragment, fit for a message."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class ModelClient:
    """Posts payloads to one model and returns its answers; keeps the connection open between them."""

    def __init__(
        self,
        url: str,
        *,
        host: str | None = None,
        timeout: float = 600.0,
        session: requests.Session | None = None,
    ) -> None:
        """Make a client; `host` is the Host header by which an ingress finds the model, `timeout` is in seconds."""
        self.url = url
        self._timeout = timeout
        self._session = session or requests.Session()
        self._headers = {"Content-Type": "application/json"}
        if host:
            self._headers["Host"] = host

    def post(self, payload: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Post a payload and return the model's answer: JSON, or V2 with binary tensors, which become lists.

        `headers` are this request's; they replace the client's own (`Content-Type: application/json`, `Host`).

        Raises:
            PayloadTooLargeError: the payload is over a limit of the server or of the ingress before it.
            SendError: the server was not reached, or answered with a failure (`status`) or something else than JSON.
        """
        sent = CaseInsensitiveDict(self._headers)
        sent.update(headers or {})
        try:
            response = self._session.post(self.url, data=RequestBody(payload), headers=sent, timeout=self._timeout)
        except requests.RequestException as error:
            raise self._transport_error(error, len(payload)) from error
        if response.status_code >= 400:
            raise self._status_error(response, len(payload))
        try:
            answer = _parsed(response)
        except ValueError as error:
            raise SendError(
                f"{redact_url(self.url)} answered {response.status_code} but not with JSON ({_excerpt(response)!r}); "
                "is it a model's :predict URL?",
                response.status_code,
            ) from error
        return answer if isinstance(answer, dict) else {"answer": answer}

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _transport_error(self, error: requests.RequestException, size: int) -> SendError:
        url = redact_url(self.url)
        text = str(error)
        if isinstance(error, requests.exceptions.SSLError):
            return SendError(f"no TLS connection to {url}: check the scheme and the server's certificate")
        # A connect time-out is both a ConnectionError and a Timeout: the server was never there.
        if isinstance(error, requests.Timeout) and not isinstance(error, requests.ConnectTimeout):
            return SendError(
                f"no answer from {url} within {self._timeout:g} s; raise --timeout if the model needs longer"
            )
        if any(
            sign in text for sign in ("Connection refused", "Failed to resolve", "NameResolution", "ConnectTimeout")
        ):
            return SendError(f"can't reach {url}: nothing answers there; check the URL and that the server runs")
        if isinstance(error, requests.ConnectionError):
            return PayloadTooLargeError(
                f"{url} closed the connection while {megabytes(size)} were sent to it; if its log says "
                f"'Content-Length too long' the body is over its limit ({_BODY_LIMITS})"
            )
        return SendError(f"can't send to {url}: {text}")

    def _status_error(self, response: requests.Response, size: int) -> SendError:
        url, status = redact_url(self.url), response.status_code
        if status == 413 or (status == 400 and not response.content):
            return PayloadTooLargeError(
                f"{url} refused a body of {megabytes(size)} ({status}): raise the limit of the server or of the "
                f"ingress before it ({_BODY_LIMITS})",
                status,
            )
        hint = "; check the model's name" if status == 404 else ""
        return SendError(f"{url} answered {status} {response.reason}: {_excerpt(response)}{hint}", status)


def _parsed(response: requests.Response) -> Any:
    """Return the answer's JSON; with binary tensors, the JSON that describes them, with their values in place."""
    if (length := response.headers.get(v2.HEADER_LENGTH)) is not None:
        return v2.read_answer(response.content, length)
    return orjson.loads(response.content)


def megabytes(size: int) -> str:
    """Write a number of bytes as people do: `13.9 MB` (decimal)."""
    return f"{size / 1e6:.1f} MB"


def _excerpt(response: requests.Response) -> str:
    return " ".join(response.text[:EXCERPT_LENGTH].split())
