"""TLS of outgoing connections: trusted authorities, and the causes of failures in plain words."""

from pathlib import Path

from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS

BEGIN = b"-----BEGIN CERTIFICATE-----"
UNTRUSTED = "certificate verify failed"
"""OpenSSL's reason for a certificate that no trusted authority has signed, or that is not valid now."""
NO_TLS = ("wrong version number", "packet length too long", "http request", "record overflow")
"""OpenSSL's reasons if the peer's first bytes are not TLS."""


def trust_policy(ca_file: Path | None) -> BrowserLikePolicyForHTTPS:
    """Return the policy that verifies certificates of https servers.

    :param ca_file: PEM file of the certificate authorities; ``None`` means the system's.
    """
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()
    pems = [BEGIN + rest for rest in ca_file.read_bytes().split(BEGIN)[1:]]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(pem) for pem in pems]))


def first_error(failure: Failure) -> object:
    """Return the error that made an HTTP request fail: Twisted wraps it in one about the request."""
    reasons = getattr(failure.value, "reasons", None)
    return reasons[0].value if reasons else failure.value


def tls_fault(error: object, url_key: str, ca_key: str, plain: str = "http:") -> str | None:
    """Return the cause of a TLS error, and the fix; ``None`` for any other error.

    It contains nothing that the peer sent.

    :param url_key: key of the configuration that has the URL.
    :param ca_key: key of the configuration that has the certificate authority.
    :param plain: scheme of URLs without TLS.
    """
    if isinstance(error, VerificationError):
        return f"the certificate is for another name than the one in {url_key}: use a name that is in the certificate"
    if not isinstance(error, TLSError):
        return None
    reasons = _reasons(error)
    if UNTRUSTED in reasons:
        return (
            "certificate verification failed: it is self-signed, signed by an unknown authority, or expired; "
            f"set {ca_key} to a PEM file with its authority"
        )
    if any(reason in NO_TLS for reason in reasons):
        return f"the port does not speak TLS: use {plain} in {url_key}, or the port of a listener with TLS"
    return f"TLS failed: {reasons[0] if reasons else 'the peer ended the handshake'}; check {url_key} and {ca_key}"


def is_certificate_fault(error: object) -> bool:
    """True if a connection failed because the certificate of the peer can't be verified."""
    return isinstance(error, VerificationError) or (isinstance(error, TLSError) and UNTRUSTED in _reasons(error))


def _reasons(error: TLSError) -> list[str]:
    return [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []


def connection_fault(error: object) -> str:
    """Return a short text for the kind of an error. It contains nothing that the peer sent."""
    text = type(error).__doc__ or type(error).__name__
    return text.strip().splitlines()[0].rstrip(".").lower() if len(text) < 200 else type(error).__name__
