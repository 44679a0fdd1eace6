"""Posts a payload to a model's URL; what goes wrong becomes one line that says what to do."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from otel_kfs.client.encodings import answer_json, openai_chat, v2
from otel_kfs.client.model_request.answer_limits import (
    DEFAULT_ANSWER_SIZE,
    AnswerLimits,
    AnswerTooLargeError,
    RequestTimeoutError,
)
from otel_kfs.client.model_request.model_session import ModelSession
from otel_kfs.client.model_request.model_url import redact_url
from otel_kfs.client.model_request.request_body import RequestBody
from otel_kfs.errors import PayloadTooLargeError, SendError

# What the servers on the way to a model say of their limits, and the settings that raise them.
_BODY_LIMITS = (
    "KFServing: --max_buffer_size of the transformer and the predictor (bytes, default 104857600); "
    "nginx ingress: client_max_body_size; Istio/Envoy: the buffer filter's max_request_bytes"
)
EXCERPT_LENGTH = 200  # characters of a server's answer that an error shows
_REDIRECTS = 5  # that are followed, of those that leave the request as it is
_DEFAULT_PORTS = {"http": 80, "https": 443}

# All that requests, urllib3 and what they stand on raise where a server or a proxy is not as it should be.
_TRANSPORT_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class ModelClient:
    """Posts payloads to one model and returns its answers; keeps the connection open between them."""

    def __init__(
        self,
        url: str,
        *,
        host: str | None = None,
        timeout: float = 600.0,
        session: requests.Session | None = None,
        max_answer_size: int = DEFAULT_ANSWER_SIZE,
    ) -> None:
        """Make a client; `host` is the Host header by which an ingress finds the model.

        `timeout` is in seconds, for the whole of one request; `max_answer_size` in bytes, of an answer once inflated.
        With a `session` of yours whose adapter is no DeadlineAdapter, the time-out of a server that sends its headers
        byte by byte is that of each byte.
        """
        self.url = url
        self._timeout = timeout
        self._max_answer_size = max_answer_size
        self._session = session or ModelSession()
        self._found_settings: dict[str, Mapping[str, Any]] = {}  # by URL: the model's, and those it redirects to
        self._headers = {"Content-Type": "application/json"}
        if host:
            self._headers["Host"] = host

    def post(
        self,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        watch: Callable[[bytes], None] | None = None,
    ) -> dict[str, Any]:
        """Post a payload and return the model's answer: JSON, or V2 with binary tensors, which become lists.

        `headers` are this request's; they replace the client's own (`Content-Type: application/json`, `Host`). `watch`
        is called with each piece of the answer's body as it comes, and must not raise.

        A redirect is followed only to the same server and with the same request (307, 308): to others requests would
        send a GET without the payload.

        Raises:
            PayloadTooLargeError: the payload is over a limit of the server or of the ingress before it.
            SendError: the server was not reached, did not answer in time, or answered with a failure or a redirect
                (`status`), with something else than JSON, or with too much.
        """
        sent = CaseInsensitiveDict(self._headers)
        sent.update(headers or {})
        limits = AnswerLimits(time.monotonic() + self._timeout, self._max_answer_size, watch)
        response = self._post(payload, sent, limits)
        if response.status_code >= 400:
            raise self._status_error(response, len(payload))
        try:
            answer = _parsed(response)
        except (ValueError, RecursionError) as error:
            if _is_stream(response):
                raise SendError(
                    f"{redact_url(self.url)} answered {response.status_code} with a stream that can't be read: {error}",
                    response.status_code,
                ) from error
            raise SendError(
                f"{redact_url(self.url)} answered {response.status_code} but not with JSON ({_excerpt(response)!r}); "
                f"is it {self._kind_of_url()}?",
                response.status_code,
            ) from error
        return answer if isinstance(answer, dict) else {"answer": answer}

    def _post(self, payload: bytes, headers: Mapping[str, str], limits: AnswerLimits) -> requests.Response:
        """Return the answer to the payload, behind redirects that leave it as it is."""
        url, status = self.url, 0
        for _ in range(_REDIRECTS + 1):
            response, location = self._post_once(url, payload, headers, limits)
            status = response.status_code
            if not 300 <= status < 400:
                return response
            target = _joined(url, location)
            if status not in {307, 308} or target is None or _server(target) != _server(urlsplit(url)):
                raise SendError(_redirected(url, status, location, target), status)
            url = target.geturl()
        raise SendError(f"{redact_url(self.url)} redirects in a circle", status)

    def _post_once(
        self, url: str, payload: bytes, headers: Mapping[str, str], limits: AnswerLimits
    ) -> tuple[requests.Response, str]:
        """Return the answer of one server, whole, and where it redirects to."""
        location = ""

        def look(response: requests.Response, *args: Any, **kwargs: Any) -> requests.Response:
            nonlocal location
            # Taken out, because requests parses where a redirect leads to even if it is not to follow it.
            location = response.headers.pop("location", "")
            return limits.apply(response, *args, **kwargs)

        hooks = {"response": [*self._session.hooks.get("response", []), look]}
        try:
            with limits.for_headers():
                body = RequestBody(payload, before_piece=limits.left)
                # (A tombstone's body is no body: an empty one would be sent in chunks.)
                request = requests.Request("POST", url, headers=headers, data=body or {}, hooks=hooks)
                response = self._session.send(
                    self._session.prepare_request(request),
                    timeout=limits.left(),
                    allow_redirects=False,
                    **self._settings(url),
                )
        except AnswerTooLargeError as error:
            raise SendError(
                f"{redact_url(url)} answered with more than {megabytes(limits.size)}; raise --max-answer-size if the "
                "model's answers are that large",
                200,
            ) from error
        except RequestTimeoutError as error:
            raise self._timeout_error() from error
        except _TRANSPORT_ERRORS as error:
            if time.monotonic() >= limits.deadline:
                raise self._timeout_error() from error
            raise self._broken_answer_error(error) or self._transport_error(error, len(payload)) from error
        return response, location

    def _settings(self, url: str) -> Mapping[str, Any]:
        """Return proxies and certificates for a URL, as the session and the environment have them.

        They are looked for once: requests does it at each request, which takes a tenth of one.
        """
        if url not in self._found_settings:
            self._found_settings[url] = self._session.merge_environment_settings(url, {}, None, None, None)
        return self._found_settings[url]

    def _kind_of_url(self) -> str:
        is_chat = urlsplit(self.url).path.endswith(openai_chat.ROUTE)
        return "a model's chat route" if is_chat else "a model's :predict URL"

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _timeout_error(self) -> SendError:
        return SendError(
            f"no answer from {redact_url(self.url)} within {self._timeout:g} s; raise --timeout if the model needs "
            "longer"
        )

    def _broken_answer_error(self, error: Exception) -> SendError | None:
        url = redact_url(self.url)
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return SendError(f"{url} broke off its answer; the server's log may say why")
        if isinstance(error, requests.exceptions.ContentDecodingError):
            return SendError(f"{url} answered with a body that can't be decompressed: {_innermost(error)}")
        return None

    def _transport_error(self, error: Exception, size: int) -> SendError:
        url = redact_url(self.url)
        text = str(error)
        if isinstance(error, requests.exceptions.ProxyError):
            return SendError(
                f"the proxy before {url} does not let the request through: {_innermost(error)}; check the proxy, and "
                "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
            )
        if isinstance(error, requests.exceptions.SSLError):
            return SendError(f"no TLS connection to {url}: check the scheme and the server's certificate")
        # A connect time-out is both a ConnectionError and a Timeout: the server was never there.
        if isinstance(error, requests.Timeout) and not isinstance(error, requests.ConnectTimeout):
            return self._timeout_error()
        if any(
            sign in text for sign in ("Connection refused", "Failed to resolve", "NameResolution", "ConnectTimeout")
        ):
            return SendError(f"can't reach {url}: nothing answers there; check the URL and that the server runs")
        if isinstance(error, requests.ConnectionError):
            return PayloadTooLargeError(
                f"{url} closed the connection while {megabytes(size)} were sent to it; if its log says "
                f"'Content-Length too long' the body is over its limit ({_BODY_LIMITS})"
            )
        return SendError(f"can't send to {url}: {text or type(error).__name__}")

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


def _innermost(error: BaseException) -> BaseException:
    """Return what went wrong, below what urllib3 has wrapped around it."""
    for inner in (getattr(error, "reason", None), *reversed(error.args)):
        if isinstance(inner, BaseException):
            return _innermost(inner)
    return error


def _joined(url: str, location: str) -> SplitResult | None:
    """Return where a redirect leads to; None where that is not a URL."""
    try:
        target = urlsplit(urljoin(url, location))
        sound = bool(location) and target.scheme in _DEFAULT_PORTS and bool(target.hostname)
    except ValueError:
        return None
    return target if sound else None


def _server(url: SplitResult) -> tuple[str, str | None, int | None]:
    try:
        port = url.port
    except ValueError:  # no number, or too large a one
        port = -1
    return url.scheme, url.hostname, port if port is not None else _DEFAULT_PORTS.get(url.scheme)


def _redirected(url: str, status: int, location: str, target: SplitResult | None) -> str:
    """Say where a redirect points and what to do."""
    where = redact_url(url)
    if target is None:
        return f"{where} redirects ({status}) to {location[:EXCERPT_LENGTH]!r}, which is no URL; is it a model's URL?"
    place = redact_url(target.geturl())
    return (
        f"{where} redirects ({status}) to {place}, and a redirected request would not carry the payload; "
        f'if the model is there, use "{place}"'
    )


def _parsed(response: requests.Response) -> Any:
    """Return the answer's JSON: of binary tensors what describes them, with their values; of a chat's stream the whole.

    Raises:
        ValueError: it is nothing of that kind.
        RecursionError: it is nested too deeply.
    """
    if (length := response.headers.get(v2.HEADER_LENGTH)) is not None:
        return v2.read_answer(response.content, length)
    if _is_stream(response):
        return openai_chat.read_stream(response.content)
    return answer_json.loads(response.content)


def _is_stream(response: requests.Response) -> bool:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == openai_chat.EVENT_STREAM


def megabytes(size: int) -> str:
    """Write a number of bytes as people do: `13.9 MB` (decimal)."""
    return f"{size / 1e6:.1f} MB"


def _excerpt(response: requests.Response) -> str:
    """Return the beginning of an answer as text, whatever encoding the server claims."""
    beginning = response.content[: 4 * EXCERPT_LENGTH]
    try:
        text = beginning.decode(response.encoding or "utf-8", "replace")
    except (LookupError, ValueError):  # no encoding has that name, or it is one that knows no replacement
        text = beginning.decode("utf-8", "replace")
    return " ".join(text[:EXCERPT_LENGTH].split())
