"""The session for requests to one model: what requests would find out anew for each of them is found out once."""

from __future__ import annotations

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_netrc_auth

from otel_kfs.client.model_request.answer_limits import DeadlineAdapter


class ModelSession(requests.Session):
    """A `requests.Session` in every way, whose requests keep to their limits, and take less time to prepare."""

    _last_url: tuple[object, str | None] = (None, None)  # as given, and as it is sent

    def __init__(self) -> None:
        super().__init__()
        for prefix in ("http://", "https://"):
            self.mount(prefix, DeadlineAdapter())

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request with the outcome that it has in the base class: its URL once, if the next ones have it too.

        In the base class this takes a quarter of the time of a small request.
        """
        if request.params or request.files or request.json is not None or request.cookies or self.params:
            return super().prepare_request(request)
        prepared = requests.PreparedRequest()
        prepared.prepare_method(request.method)
        given, prepared.url = self._last_url
        if given != request.url:
            prepared.prepare_url(request.url, None)
            self._last_url = request.url, prepared.url
        headers = CaseInsensitiveDict(self.headers)
        headers.update(request.headers)
        prepared.prepare_headers({name: value for name, value in headers.items() if value is not None})
        prepared.prepare_cookies(self.cookies.copy())
        prepared.prepare_body(request.data, None)
        auth = self.auth if request.auth is None else request.auth
        if not auth and self.trust_env:
            auth = get_netrc_auth(request.url)
        prepared.prepare_auth(auth, request.url)  # after all else, which it may sign
        prepared.prepare_hooks(request.hooks if request.hooks["response"] else self.hooks)
        return prepared
