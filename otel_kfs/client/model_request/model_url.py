"""URLs of models: where to send a request, and how to print one without its secrets."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from otel_kfs.client.encodings import openai_chat
from otel_kfs.errors import ConfigError


def predict_url(url: str, model: str | None, protocol: str = "v1") -> str:
    """Return the predict URL of `model` at the server or ingress `url`; without a model, `url` as it is.

    With the protocol `openai` it is that of KServe's chat route, unless `url` is that of another server's already.

    Source: KFServing and KServe data plane, V1 protocol, `/v1/models/<model_name>:predict`, V2 protocol (Open
    Inference Protocol), `/v2/models/<model_name>/infer`, and OpenAI's, `/openai/v1/chat/completions`.

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
    if protocol == openai_chat.NAME:
        return url if parts.path.endswith(openai_chat.ROUTE) else f"{url.rstrip('/')}/{openai_chat.PATH}"
    path = f"v2/models/{model}/infer" if protocol == "v2" else f"v1/models/{model}:predict"
    return f"{url.rstrip('/')}/{path}"


def redact_url(url: str) -> str:
    """Return `url` without user-info, query and fragment, fit for a message."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
