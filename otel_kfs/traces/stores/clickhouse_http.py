"""Client of ClickHouse's HTTP interface: SQL with parameters, whose rows are read while the query still runs.

Source: ClickHouse's documentation, "HTTP interface" and "Queries with parameters".
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.stores.store_client import ENV_HEADERS, LARGEST, StoreClient, check_header, raise_busy

ENV_USER, ENV_PASSWORD = "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"  # those of ClickHouse's own client

_TIMEOUT = (5.0, 600.0)  # seconds to connect, and to wait for the next bytes: the first come when most work is done
_LONGEST_SQL = 60  # characters in the log
_USER, _KEY = "X-ClickHouse-User", "X-ClickHouse-Key"
_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "'": "\\'"})

_MORE = {
    60: "; database= and table= name the exporter's",
    81: "; database= and table= name the exporter's",
    159: "; ask for a shorter window",
    241: "; ask for a shorter window",
    497: "; the user needs SELECT on that table",
}
_REFUSED = {192, 193, 194, 516}  # unknown user, wrong password


class ClickHouseClient(StoreClient):
    """Sends queries to one ClickHouse; credentials come from the environment or a file."""

    _shown = frozenset({_USER.lower()})

    def __init__(self, url: str) -> None:
        super().__init__("ClickHouse", url)

    def _given(self) -> dict[str, str]:
        credentials = super()._given()
        given = {key.lower() for key in credentials}
        if ENV_USER in os.environ and given.isdisjoint({"authorization", _USER.lower()}):
            for key, variable in ((_USER, ENV_USER), (_KEY, ENV_PASSWORD)):
                credentials[key] = os.environ.get(variable, "")
                check_header(key, credentials[key], variable)
        return credentials

    def rows(self, sql: str, parameters: Mapping[str, str | int | Sequence[str]]) -> Iterator[list[Any]]:
        """Yield the rows of an answer; 64-bit integers may be text.

        Raises:
            TraceQueryError: the store was not reached, or could not answer, be it after some rows.
        """
        used = {f"param_{name}": _text(value) for name, value in parameters.items() if f"{{{name}:" in sql}
        started = time.monotonic()
        with self.reached():
            response = self.again(lambda: self._post(sql, used))
            # A wrong password is 403 here.
            if response.status_code in {401, 403} and self.renewed():
                response.close()
                response = self.again(lambda: self._post(sql, used))
            with response:
                if response.status_code != 200:
                    raise self._error(response.status_code, response.raw.read(2**16, decode_content=True))
                yield from self._lines(response.raw)
                self.log("POST", response, started, f" {' '.join(sql.split())[:_LONGEST_SQL]} ...")

    def _post(self, sql: str, parameters: Mapping[str, str]) -> requests.Response:
        response = self.session().post(
            self._base + "/",
            params=parameters,
            data=f"{sql}\nFORMAT JSONCompactEachRow".encode(),
            headers={**self._headers, **self._credentials},
            timeout=_TIMEOUT,
            stream=True,
            allow_redirects=False,
        )
        raise_busy(response)
        return response

    def _lines(self, body: Any) -> Iterator[list[Any]]:
        rest = b""
        for chunk in body.stream(2**16, decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
            for number, line in enumerate(lines):
                if not line.startswith(b"["):
                    raise self._error(200, b"\n".join([*lines[number:], rest]))
                with self.understood():
                    row = orjson.loads(line)
                yield row
            if len(rest) > LARGEST:
                raise TraceQueryError(f"{self} answered with a row of more than {LARGEST >> 20} MiB")
        if rest.strip():
            raise self._error(200, rest)

    def _error(self, status: int, body: bytes) -> TraceQueryError:
        """Return the error that a response without rows describes, in one line."""
        text = self.said(body, 4000)
        code = _CODE.search(text)
        number = int(code[1]) if code else 0
        if number in _REFUSED or (code is None and status in {401, 403}):
            return TraceQueryError(
                f"{self} does not take the user or password: put them into {ENV_USER} and {ENV_PASSWORD}, or headers "
                f"into {ENV_HEADERS}"
            )
        if code is not None:
            said = text[code.end() :].partition(" (version ")[0].rstrip(". ")
            return TraceQueryError(f"{self}: {excerpt(said, 200)}{_MORE.get(number, '')}")
        if status != 200:
            return TraceQueryError(
                f"{self} answered {status}: {excerpt(text, 200)}; is it the URL of ClickHouse's HTTP interface, "
                f"as http://{excerpt(urlsplit(self._base).hostname or 'host')}:8123?"
            )
        return TraceQueryError(f"{self} did not answer with rows: {excerpt(text, 100)}")


def _text(value: str | int | Sequence[str]) -> str:
    """Return a query parameter's value in ClickHouse's text format."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return f"[{','.join(_quoted(one) for one in value)}]"


def _quoted(text: str) -> str:
    return f"'{text.translate(_ESCAPES)}'"
