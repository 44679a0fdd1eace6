"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from otel_kfs.cli.command import option
from otel_kfs.cli.output import STDOUT
from otel_kfs.cli.parameter_types import FILE, Choice
from otel_kfs.errors import ConfigError
from otel_kfs.reader.output_file import need_folder
from otel_kfs.report.render import FORMATS
from otel_kfs.traces.printable import did_you_mean

if TYPE_CHECKING:
    from otel_kfs.client.model_access import ModelAccess

_ACCESS = "TLS and tokens"
_MODEL_ACCESS = (
    ("--model-ca", "OTEL_KFS_MODEL_CA", "CA certificates to trust, in PEM.  [default: the usual ones]"),
    ("--model-cert", "OTEL_KFS_MODEL_CERT", "The client certificate, in PEM."),
    ("--model-key", "OTEL_KFS_MODEL_KEY", "The certificate's key, unless it is in the same file."),
    ("--model-token-file", "OTEL_KFS_MODEL_TOKEN_FILE", "A file with a bearer token; read again for each request."),
)


def model_access(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for reaching a model server; the command gets `access`, which reads them.

    There is no option for the token itself, because everyone on the machine can read command lines.
    """

    @functools.wraps(command)
    def with_access(
        *args: Any,
        model_ca: str | None,
        model_cert: str | None,
        model_key: str | None,
        model_token_file: str | None,
        **kwargs: Any,
    ) -> None:
        def access() -> ModelAccess:
            from otel_kfs.client.model_access import ModelAccess

            return ModelAccess(ca=model_ca, cert=model_cert, key=model_key, token_file=model_token_file)

        command(*args, access=access, **kwargs)

    for name, variable, text in reversed(_MODEL_ACCESS):
        add = option(name, group=_ACCESS, envvar=variable, show_envvar=True, type=FILE, metavar="FILE", help=text)
        with_access = add(with_access)
    return with_access


# Which format a file's ending stands for; the first ending of each is the one that messages name.
_ENDINGS = {
    ".txt": "text",
    ".text": "text",
    ".md": "md",
    ".markdown": "md",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".svg": "svg",
    ".png": "png",
}
_REPORT = {"html", "svg", "png"}


def results_as(
    formats: Sequence[str], *, file: str | None = None, what: str = "What to write."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --format and -o; the command gets `format_`, by default that of the output's ending, and `output`.

    `output` is None where the results go to standard output: by -o -, and without -o if there is no `file` to be
    written then. The first of the formats is that of standard output and of a file without an ending.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_results(*args: Any, format_: str | None, output: Path | None, **kwargs: Any) -> None:
            output = None if output == STDOUT else output
            format_ = format_ or _format_of(output, formats)
            if output is not None:
                need_folder(output)
            command(*args, format_=format_, output=output, **kwargs)

        path: Any = click.Path(dir_okay=False, path_type=Path)
        default = {} if file is None else {"default": Path(file), "show_default": True}
        help_ = f"Write to this file{'' if file else ', not to the terminal'}; - is standard output."
        with_output = option("-o", "--output", type=path, metavar="FILE", help=help_, **default)(with_results)
        help_ = f"{what}  [default: by the output's ending, else {formats[0]}]"
        return option("--format", "format_", type=Choice(formats), help=help_)(with_output)

    return add


def _format_of(output: Path | None, formats: Sequence[str]) -> str:
    """Return the format that a file's ending stands for.

    Raises:
        ConfigError: it stands for none that can be written.
    """
    ending = "" if output is None else output.suffix.lower()
    found = _ENDINGS.get(ending)
    if not ending or found in formats:
        return found or formats[0]
    endings = [next(one for one, of in _ENDINGS.items() if of == format_) for format_ in formats]
    meant = did_you_mean(ending, endings)
    elsewhere = "; `otel-kfs report` writes .html, .svg and .png" if found in _REPORT and "svg" not in formats else ""
    raise ConfigError(
        f"unknown format of {output}{meant}: use the ending {', '.join(endings[:-1])} or {endings[-1]}, or give "
        f"--format{elsewhere}"
    )


result_options = results_as(FORMATS)


# By HTTP; of gRPC's answers the client's own setting is a limit already.
max_answer_size = option(
    "--max-answer-size",
    type=click.FloatRange(0, min_open=True),
    default=64,
    show_default=True,
    metavar="MB",
    callback=lambda _, __, megabytes: round(megabytes * 1_000_000),
    help="HTTP: the largest answer to accept, in MB after decompression.",
)


def no_sketch(why: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Refuse `--sketch`, with the reason, in a command that can't work with sketches."""

    def refuse(_: click.Context, __: click.Parameter, given: bool) -> None:
        if given:
            raise click.UsageError(f"--sketch is only for `otel-kfs tables`: {why}")

    help_ = f"Only for `otel-kfs tables`: {why}."
    return option("--sketch", is_flag=True, hidden=True, expose_value=False, callback=refuse, help=help_)


def given_model_access() -> dict[str, object]:
    """Tell which of these options are on the command line; environment variables are meant for all commands."""
    context = click.get_current_context()
    names = [name.removeprefix("--").replace("-", "_") for name, _, _ in _MODEL_ACCESS]
    return {name: context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names}


def quiet_grpc() -> None:
    """Keep gRPC's core from writing to standard error: our own error says in one line what went wrong.

    Call it before gRPC is imported. gRPC's own variable still decides where it is set.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def config_errors(file: str | None) -> AbstractContextManager[None]:
    """Report in one line what librdkafka rejects in a Kafka client's settings, while the client is created."""
    from otel_kfs.client.kafka_access.kafka_security import config_errors

    return config_errors(file or "the settings")


def properties(file: str | None) -> dict[str, str]:
    """Read settings from a file in Kafka's properties format; return none without a file."""
    from otel_kfs.client.kafka_access.kafka_settings import read_properties

    return read_properties(file) if file else {}
