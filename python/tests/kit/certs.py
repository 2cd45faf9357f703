"""Certificates for the tests' TLS listeners and clients, made afresh for each broker. Keys are P-256, PEM is PKCS#8."""

import datetime
import ipaddress
from pathlib import Path
from typing import List, Optional, Tuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Pair = Tuple[x509.Certificate, ec.EllipticCurvePrivateKey]

KEY_PASSWORD = "the-keys-own-secret"


class Certificates:
    """Files in one folder; each attribute is the path of one.

    ``ca`` signed ``server`` (key, certificate and CA in one file; for localhost and 127.0.0.1), ``elsewhere`` (the
    same for other.example), ``client_cert`` with ``client_key`` (``client_key_encrypted``: under ``KEY_PASSWORD``),
    and ``expired_cert`` with ``expired_key``. ``other_ca`` signed nothing but ``stranger_cert`` with ``stranger_key``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = _authority("The tests' CA")
        other = _authority("Another CA")
        now = _now()
        local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        server = _signed("localhost", authority, local)
        elsewhere = _signed("other.example", authority, [x509.DNSName("other.example")])
        client = _signed("client", authority)
        expired = _signed("expired", authority, ends=now - datetime.timedelta(days=1))
        stranger = _signed("stranger", other)

        self.ca = self._write("ca.pem", _pem(authority[0]))
        self.other_ca = self._write("other-ca.pem", _pem(other[0]))
        self.server = self._write("server.pem", _key(server), _pem(server[0]), _pem(authority[0]))
        self.elsewhere = self._write("elsewhere.pem", _key(elsewhere), _pem(elsewhere[0]), _pem(authority[0]))
        self.client_cert = self._write("client.pem", _pem(client[0]))
        self.client_key = self._write("client.key", _key(client))
        self.client_key_encrypted = self._write("client-encrypted.key", _key(client, KEY_PASSWORD))
        self.expired_cert = self._write("expired.pem", _pem(expired[0]))
        self.expired_key = self._write("expired.key", _key(expired))
        self.stranger_cert = self._write("stranger.pem", _pem(stranger[0]))
        self.stranger_key = self._write("stranger.key", _key(stranger))

    def _write(self, name: str, *parts: bytes) -> str:
        path = self.folder / name
        path.write_bytes(b"".join(parts))
        path.chmod(0o600)
        return str(path)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority(common_name: str) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = _name(common_name), _now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _signed(
    common_name: str,
    authority: Pair,
    names: Optional[List[x509.GeneralName]] = None,
    ends: Optional[datetime.datetime] = None,
) -> Pair:
    """A certificate of the authority: a server's with ``names``, else a client's."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = _now()
    usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(authority[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(ends or now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority[1], hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key(pair: Pair, password: Optional[str] = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return pair[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
