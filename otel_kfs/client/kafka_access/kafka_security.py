"""TLS and SASL of the Kafka clients: Java's settings translated for librdkafka, and refusals explained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from otel_kfs.client import tls
from otel_kfs.errors import ConfigError

# `module required key="value" key=value;`, as org.apache.kafka.common.security.JaasConfig reads it.
_VALUE = r'"(?:[^"\\]|\\.)*"|[^\s";]+'
_JAAS = re.compile(rf"\s*([\w.$]+)\s+\w+((?:\s+[\w.-]+\s*=\s*(?:{_VALUE}))*)\s*;?\s*", re.DOTALL)
_JAAS_OPTION = re.compile(rf"([\w.-]+)\s*=\s*({_VALUE})", re.DOTALL)

# `sasl_ssl://host:port/1: reason (after 12ms in state AUTH_REQ)`: librdkafka's words around its reason.
_BROKER = re.compile(r"^(?:\w+://)?(\[.+?\]|[^/:\s]+):(\d+)/\S+: ")
_STATE = re.compile(r" \(after \d+ms in state \w+.*?\)")


def translate(settings: Mapping[str, str], where: str) -> dict[str, str]:
    """Translate Java's `sasl.jaas.config` and stores for librdkafka; `where` names their file, for messages.

    Source: "Security" in Apache Kafka's documentation, and librdkafka's CONFIGURATION.md.

    Raises:
        ConfigError: a login or a store that librdkafka does not have; the message has no value of a setting.
    """
    settings = dict(settings)
    if (jaas := settings.pop("sasl.jaas.config", None)) is not None:
        settings = {**_login(jaas, where), **settings}
    _trust(settings, where)
    _identity(settings, where)
    if settings.get("ssl.endpoint.identification.algorithm") == "":
        settings["ssl.endpoint.identification.algorithm"] = "none"
    return settings


@contextmanager
def config_errors(where: str) -> Iterator[None]:
    """Turn librdkafka's complaint about a client's settings into a ConfigError.

    A value is not shown, though librdkafka would: in a file's wrong line it may be a password.
    """
    try:
        yield
    except KafkaException as error:
        reason = error.args[0].str()
        if reason.startswith("Invalid value"):
            reason = f"an invalid value for {reason.rpartition('configuration property ')[2]}"
        raise ConfigError(f"{where}: {reason}") from None


class Refusals:
    """An `error_cb` that keeps the errors which trying again can't mend, and passes all others on.

    librdkafka connects again and again, with the same certificate and password. Whoever polls asks `check` after it.
    An exception raised within the callback would never be freed, and neither would the client that its traceback
    holds: its threads, still shaking hands when OpenSSL cleans up at the process's end, crashed it (exit code -11).
    """

    def __init__(self, config: Mapping[str, Any], otherwise: Callable[[KafkaError], None] | None) -> None:
        self._config = config
        self._otherwise = otherwise
        self._reason: str | None = None

    def __call__(self, error: KafkaError) -> None:
        """Take an error that librdkafka reports."""
        if reason := refusal(error, self._config):
            self._reason = self._reason or reason
        elif self._otherwise is not None:
            self._otherwise(error)

    def check(self) -> None:
        """Raise what was kept; called after each `poll`.

        Raises:
            ConfigError: the brokers refused the certificate or the login.
        """
        if self._reason:
            raise ConfigError(self._reason)


def refusal(error: KafkaError, config: Mapping[str, Any]) -> str | None:
    """Explain in one line an error that no new try can mend, with the setting to look at; None for all others.

    librdkafka has the same words for an unknown authority, an expired certificate and another host's: a TLS handshake
    of our own with the same broker says which of them it is.
    """
    text = error.str()
    place = _BROKER.match(text)
    broker = f"{place[1]}:{place[2]}" if place else str(config.get("bootstrap.servers", "?"))
    reason = _STATE.sub("", _BROKER.sub("", text))
    if error.code() == KafkaError._AUTHENTICATION:
        return (
            f"the broker at {broker} refused the login: {reason}; check sasl.mechanism, sasl.username and sasl.password"
        )
    if "certificate verify failed" in text:
        why = place and tls.probe(
            place[1].strip("[]"),
            int(place[2]),
            ca=config.get("ssl.ca.location"),
            ca_pem=config.get("ssl.ca.pem"),
            check_host=config.get("ssl.endpoint.identification.algorithm") != "none",
        )
        why = why or "the server's certificate is not trusted"
        return f"no TLS connection to the broker at {broker}: {why}; check ssl.ca.location and the broker's name"
    if error.code() in {KafkaError._SSL, KafkaError._TRANSPORT} and (why := tls.alert(reason)):
        return (
            f"no TLS connection to the broker at {broker}: {why}; check security.protocol, "
            "ssl.keystore.location or ssl.certificate.location"
        )
    return None


def _login(jaas: str, where: str) -> dict[str, str]:
    """Return user name and password of a JAAS line."""
    match = _JAAS.fullmatch(jaas)
    if match is None:
        raise ConfigError(f'{where}: sasl.jaas.config is not: <module> required username="..." password="...";')
    options = {key: _unquoted(value) for key, value in _JAAS_OPTION.findall(match[2])}
    if not match[1].endswith((".PlainLoginModule", ".ScramLoginModule")) or not {"username", "password"} <= {*options}:
        raise ConfigError(
            f"{where}: sasl.jaas.config is read for PlainLoginModule and ScramLoginModule, with username and password; "
            "write another login with librdkafka's own settings (sasl.oauthbearer.*, sasl.kerberos.*)"
        )
    return {"sasl.username": options["username"], "sasl.password": options["password"]}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL) if value.startswith('"') else value


def _trust(settings: dict[str, str], where: str) -> None:
    """Translate Java's trust store: librdkafka wants PEM."""
    kind = settings.pop("ssl.truststore.type", "JKS").upper()  # Java's default
    settings.pop("ssl.truststore.password", None)
    location = settings.pop("ssl.truststore.location", None)
    certificates = settings.pop("ssl.truststore.certificates", None)
    if certificates is not None:
        settings.setdefault("ssl.ca.pem", certificates)
    if location is None:
        return
    if kind != "PEM":
        raise ConfigError(
            f"{where}: ssl.truststore.location is a {kind} store, which librdkafka can't read; write its certificates "
            f"as PEM (keytool -list -rfc -keystore {location} > ca.pem) and set ssl.truststore.type=PEM and "
            "ssl.truststore.location=ca.pem"
        )
    settings.setdefault("ssl.ca.location", location)


def _identity(settings: dict[str, str], where: str) -> None:
    """Translate Java's key store: librdkafka takes PKCS #12 under the same names, and PEM as two settings."""
    kind = settings.pop("ssl.keystore.type", "PKCS12").upper()  # librdkafka's default: it has no such setting
    for java, ours in (("certificate.chain", "certificate"), ("key", "key")):
        if (pem := settings.pop(f"ssl.keystore.{java}", None)) is not None:
            settings.setdefault(f"ssl.{ours}.pem", pem)
    location = settings.get("ssl.keystore.location")
    if location is None or kind == "PKCS12":
        return
    if kind != "PEM":
        raise ConfigError(
            f"{where}: ssl.keystore.location is a {kind} store, which librdkafka can't read; turn it into PKCS12 "
            f"(keytool -importkeystore -srckeystore {location} -destkeystore client.p12 -deststoretype PKCS12) and set "
            "ssl.keystore.type=PKCS12 and ssl.keystore.location=client.p12"
        )
    del settings["ssl.keystore.location"]
    settings.pop("ssl.keystore.password", None)
    settings.setdefault("ssl.certificate.location", location)
    settings.setdefault("ssl.key.location", location)
