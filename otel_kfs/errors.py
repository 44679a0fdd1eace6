"""The errors that otel-kfs itself raises. Each message is one line that says what is wrong and what to do.

    OtelKfsError
     +-- ConfigError               options or settings that can't work together
     |    +-- ConfigErrors         ... several at once, a line each
     +-- MissingExtra              a library is not installed that an extra of this package brings (an ImportError)
     |    +-- MissingLibrary       ... the very library to be traced
     +-- InputError                a file, image or payload that can't be used
     +-- SendError                 an image that did not reach the model, or was refused
     |    +-- PayloadTooLargeError  ... because it exceeds a limit of the broker, client or server
     +-- DeadLetterError           a record that could not be written to the dead-letter topic
     +-- TraceQueryError           a trace query that can't be understood or answered
     +-- DemoError                 a process of the demo that did not start, or died

Errors of a wrapped library (confluent_kafka, requests, a model server) pass through the wrappers unchanged. Only our
own parts raise these: senders, bridge, trace stores, tables and command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class OtelKfsError(Exception):
    """The root of the tree: catch it to catch all of our errors."""


class ConfigError(OtelKfsError):
    """Options or settings that can't work together."""


class ConfigErrors(ConfigError):
    """Several mistakes in one file; the message has each of `lines` on a line of its own."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class MissingExtra(OtelKfsError, ImportError):
    """A library is not installed; `extra` is the extra of otel-kfs that brings it."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; in a clone of otel-kfs, run: pip install '.[{extra}]'")
        self.extra = extra


class MissingLibrary(MissingExtra, ModuleNotFoundError):
    """The library to be traced is not installed; a ModuleNotFoundError, which `opentelemetry-instrument` skips."""


class InputError(OtelKfsError):
    """A file, image or payload that can't be used."""


class SendError(OtelKfsError):
    """An image that did not reach the model, or that the model's server refused."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PayloadTooLargeError(SendError):
    """A payload that exceeds a limit; the message names the limit and the setting that raises it."""


class DeadLetterError(OtelKfsError):
    """A record that could not be written to the dead-letter topic; its offset stays uncommitted."""


class TraceQueryError(OtelKfsError):
    """A trace query that can't be understood, or that its store can't answer."""


class DemoError(OtelKfsError):
    """A process of the demo that did not start, or died."""
