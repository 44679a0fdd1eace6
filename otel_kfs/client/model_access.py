"""What it takes to be let in by a model's server: the authority to trust, a client certificate, a bearer token."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from requests.utils import select_proxy

from otel_kfs.client import tls
from otel_kfs.client.model_request.answer_limits import DeadlineAdapter
from otel_kfs.client.model_request.model_session import ModelSession
from otel_kfs.errors import ConfigError

ENV_TOKEN = "OTEL_KFS_MODEL_TOKEN"  # noqa: S105 - the variable's name


class ModelAccess:
    """What a model's server asks for: `session` has it for HTTP, and a GrpcSender takes it as `access`.

    `ca` is the file of the authorities, `identity` those of the client's certificate and its key.
    """

    def __init__(
        self,
        *,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        token_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Read and check the files; `ca` is a PEM file of the authorities to trust in place of the usual ones.

        `cert` is a PEM file with a client certificate, and `key` one with its key (without a password), unless `cert`
        holds that too. `token_file` holds a bearer token and is read for each request, so that a token that Kubernetes
        rotates is always the current one; without it, the environment variable OTEL_KFS_MODEL_TOKEN may hold a token.

        Raises:
            ConfigError: one of the files, or the token, can't be used.
        """
        if key is not None and cert is None:
            raise ConfigError("a client key is of no use without its certificate: give --model-cert, too")
        _check_certificates(ca, cert, key)
        self.ca = None if ca is None else os.fspath(ca)
        self.identity = None if cert is None else (os.fspath(cert), os.fspath(key if key is not None else cert))
        self._token_file = token_file
        given = None if token_file is not None else os.environ.get(ENV_TOKEN)
        self._given_token = _token(given, ENV_TOKEN) if given else None
        self.authorization()  # a token that can't be used is an error before anything is sent

    def authorization(self) -> str | None:
        """Return the next request's `authorization` header, with the token as it is now; None without one.

        Raises:
            ConfigError: the token's file can't be used.
        """
        token = self._given_token if self._token_file is None else _read_token(self._token_file)
        return None if token is None else f"Bearer {token}"

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Read the files of the authorities, the client's key and its certificate, in gRPC's order.

        Raises:
            ConfigError: one can't be read.
        """
        cert, key = self.identity or (None, None)
        authorities, own_key, chain = (None if file is None else _read(file) for file in (self.ca, key, cert))
        return authorities, own_key, chain

    def session(self) -> requests.Session:
        """Make a session for HttpSender or Bridge; a token takes precedence over user and password in the URL."""
        session = ModelSession()
        session.mount("https://", _Adapter(self.ca, self.identity))
        if self.authorization() is not None:
            session.auth = _Bearer(self)
        return session


def model_session(
    *,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    token_file: str | os.PathLike[str] | None = None,
) -> requests.Session:
    """Make a session for HttpSender or Bridge, with what the server asks for: see `ModelAccess` for the arguments.

    Raises:
        ConfigError: one of the files, or the token, can't be used; a token file is read again with each request, and
            raises then.
    """
    return ModelAccess(ca=ca, cert=cert, key=key, token_file=token_file).session()


def no_tls(place: str, why: str) -> ConfigError:
    """Make the error for a TLS connection that failed for a reason which a new try can't mend."""
    return ConfigError(f"no TLS connection to {place}: {why}; check the URL, --model-ca and --model-cert")


class _Bearer(AuthBase):
    """Puts the current token into each request."""

    def __init__(self, access: ModelAccess) -> None:
        self._access = access

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if (authorization := self._access.authorization()) is not None:
            request.headers["Authorization"] = authorization
        return request


class _Adapter(DeadlineAdapter):
    """Uses its own certificates, whatever REQUESTS_CA_BUNDLE says, and says what is wrong with the server's.

    In requests that variable takes precedence over a session's own settings.
    """

    def __init__(self, ca: str | None, identity: tuple[str, str] | None) -> None:
        super().__init__()
        self._ca = ca
        self._identity = identity

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request.

        Raises:
            ConfigError: TLS failed for a reason that a new try can't mend; the message says which.
        """
        if self._ca is not None:
            kwargs["verify"] = self._ca
        if self._identity is not None:
            kwargs["cert"] = self._identity
        try:
            return super().send(request, *args, **kwargs)
        except requests.exceptions.ProxyError:  # what a proxy says is not about the server, and may pass
            raise
        except requests.ConnectionError as error:
            parts = urlsplit(request.url or "")
            why = tls.cause(error)
            is_direct = not select_proxy(request.url or "", kwargs.get("proxies"))  # a probe would go around a proxy
            if why is None and is_direct and not isinstance(error, requests.ConnectTimeout) and parts.hostname:
                why = tls.probe(parts.hostname, parts.port or 443, ca=self._ca, identity=self._identity)
            if why is None:
                raise
            where = f"https://{parts.netloc.rpartition('@')[2]}{parts.path}"
            raise no_tls(where, why) from error


def _check_certificates(
    ca: str | os.PathLike[str] | None, cert: str | os.PathLike[str] | None, key: str | os.PathLike[str] | None
) -> None:
    """Try the files before anything is sent.

    Raises:
        ConfigError: one can't be read, or holds something else than it should.
    """
    for file in (ca, cert, key):
        if file is not None:
            _read(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise ConfigError(f"{os.fspath(ca)} holds no certificates in PEM") from error
    if cert is not None:
        try:
            # Without a password at hand, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(cert, key, password=lambda: "")
        except ssl.SSLError as error:
            files = os.fspath(cert) if key is None else f"{os.fspath(cert)} and {os.fspath(key)}"
            raise ConfigError(
                f"{files}: not a client certificate and its own key, both in PEM, the key without a password"
            ) from error


def _read_token(file: str | os.PathLike[str]) -> str:
    try:
        return _token(_read(file).decode("ascii"), os.fspath(file))
    except UnicodeDecodeError:
        # Its own words, and its context, would show some of the token.
        raise ConfigError(f"{os.fspath(file)} does not hold a token: it is not ASCII") from None


def _read(file: str | os.PathLike[str]) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read {os.fspath(file)}: {error.strerror}") from error


def _token(text: str, where: str) -> str:
    """Return a token without the blanks around it, fit for a header."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{where} does not hold a token: one line of ASCII without blanks is expected")
    return token
