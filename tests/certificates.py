"""Certificates made for one run of the tests: an authority, servers that are right, expired or elsewhere, a client."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)


class Certificates:
    """An authority of the tests' own and what it signed, as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = self._write("ca.pem", self._authority.cert_pem.bytes())
        self.other_ca = self._write("other-ca.pem", trustme.CA().cert_pem.bytes())
        self.server = self.issue("server", "127.0.0.1", "localhost")
        self.client = self.issue("client", "client.example.com")
        self.elsewhere = self.issue("elsewhere", "elsewhere.example.com")
        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        self.expired = self.issue("expired", "127.0.0.1", "localhost", not_after=past)
        self.stranger = self.issue("stranger", "client.example.com", authority=trustme.CA())

    def issue(
        self,
        name: str,
        *identities: str,
        not_after: datetime.datetime | None = None,
        authority: trustme.CA | None = None,
    ) -> Path:
        """One PEM file with a key (PKCS #8, as Java wants it) and its certificate."""
        issued = (authority or self._authority).issue_cert(*identities, not_after=not_after)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return self._write(f"{name}.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)

    def in_two_files(self, pem: Path) -> tuple[Path, Path]:
        """The certificate and the key of a PEM file, each in a file of its own."""
        content = pem.read_bytes()
        at = content.index(b"-----BEGIN CERTIFICATE")
        certificate = self._write(f"{pem.stem}-certificate.pem", content[at:])
        return certificate, self._write(f"{pem.stem}-key.pem", content[:at])

    def pkcs12(self, pem: Path, password: str) -> Path:
        """The key and certificate of a PEM file in a PKCS #12 store."""
        content = pem.read_bytes()
        store = pkcs12.serialize_key_and_certificates(
            b"client",
            load_pem_private_key(content, None),  # type: ignore[arg-type]
            x509.load_pem_x509_certificate(content),
            None,
            BestAvailableEncryption(password.encode()),
        )
        return self._write(f"{pem.stem}.p12", store)

    def encrypted(self, pem: Path, password: str) -> Path:
        """The same PEM file, its key protected by a password."""
        content = pem.read_bytes()
        key = load_pem_private_key(content, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
        )
        return self._write(f"{pem.stem}-encrypted.pem", key + content[content.index(b"-----BEGIN CERT") :])

    def server_context(self, server: Path | None = None, *, mutual: bool = False) -> ssl.SSLContext:
        """What a TLS server needs: its certificate, and with `mutual` the demand for one of its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server or self.server)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        return path
