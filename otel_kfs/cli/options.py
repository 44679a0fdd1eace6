"""What several commands read from their options."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    import requests

_MODEL_ACCESS = (
    ("--model-ca", "OTEL_KFS_MODEL_CA", "Authorities to trust for https, in PEM; left out, the usual ones."),
    ("--model-cert", "OTEL_KFS_MODEL_CERT", "The client certificate, in PEM."),
    ("--model-key", "OTEL_KFS_MODEL_KEY", "Its key, unless that is in the same file."),
    ("--model-token-file", "OTEL_KFS_MODEL_TOKEN_FILE", "A bearer token, read anew for each request."),
)


def model_access(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how a model's server is reached; the command gets `model_session`, which opens a session.

    A token itself is never an option, because everyone on the machine can read command lines.
    """

    @functools.wraps(command)
    def with_session(
        *args: Any,
        model_ca: str | None,
        model_cert: str | None,
        model_key: str | None,
        model_token_file: str | None,
        **kwargs: Any,
    ) -> None:
        def open_session() -> requests.Session:
            from otel_kfs.model_access import model_session

            return model_session(ca=model_ca, cert=model_cert, key=model_key, token_file=model_token_file)

        command(*args, model_session=open_session, **kwargs)

    for name, variable, text in reversed(_MODEL_ACCESS):
        option = click.option(name, envvar=variable, show_envvar=True, metavar="FILE", help=text)
        with_session = option(with_session)
    return with_session


def given_model_access() -> dict[str, object]:
    """Which of these options the present command line has; what the environment says is meant for all commands."""
    context = click.get_current_context()
    names = [name.removeprefix("--").replace("-", "_") for name, _, _ in _MODEL_ACCESS]
    return {name: context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names}


def accepted(file: str | None) -> AbstractContextManager[None]:
    """Around the making of a Kafka client: what librdkafka says against its settings, from `file` too, in a line."""
    from otel_kfs.kafka.security import accepted

    return accepted(file or "the settings")


def properties(file: str | None) -> dict[str, str]:
    """The settings in a file in Kafka's properties format; none without a file."""
    from otel_kfs.kafka.config import read_properties

    return read_properties(file) if file else {}
