"""The keys of the push service: read from files, checked, never shown.

If anything is wrong with a file, raises a ConfigError that names the variable. Does not check that a provider accepts
the key.
"""

import ssl
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account
from py_vapid import Vapid02, VapidException  # type: ignore[import-untyped]

from shared.core.errors import ConfigError

# developers.google.com/identity/protocols/oauth2/scopes, "Firebase Cloud Messaging API".
FCM_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


def load_apns_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the provider token signing key, the .p8 file that Apple hands out."""
    return _p256_key("PUSH_APNS_KEY_FILE", path)


def load_apns_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that offers HTTP/2 and trusts ``ca_file``, or the system's authorities."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"PUSH_APNS_CA_FILE: cannot use the file ({_kind(error)})") from None
    # Without it a server may fall back to HTTP/1.1, which APNs does not speak (RFC 9113, 3.2).
    context.set_alpn_protocols(["h2"])
    return context


def load_service_account(path: Path) -> service_account.Credentials:
    """Read the service account, the JSON file that the Firebase console hands out."""
    try:
        account: service_account.Credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            str(path), scopes=[FCM_SCOPE]
        )
    except (OSError, ValueError, GoogleAuthError) as error:
        raise ConfigError(f"PUSH_FCM_CREDENTIALS_FILE: cannot use the file ({_kind(error)})") from None
    if not account.project_id:
        raise ConfigError("PUSH_FCM_CREDENTIALS_FILE: the file names no project_id")
    return account


def load_vapid(path: Path, subject: str) -> Vapid02:
    """Read the application server's key and check that it can sign for ``subject`` (RFC 8292, 2.1)."""
    vapid = Vapid02(_p256_key("PUSH_WEBPUSH_VAPID_KEY_FILE", path))
    try:
        vapid.sign({"aud": "https://push.example.com", "sub": subject})
    except VapidException:
        raise ConfigError("PUSH_WEBPUSH_SUBJECT: mailto:name@example.com or https://example.com is required") from None
    return vapid


def _p256_key(variable: str, path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{variable}: cannot use the file ({_kind(error)})") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{variable}: a private key on the curve P-256 is required")
    return key


def _kind(error: Exception) -> str:
    # Never the text of a parser's error: it may quote the key.
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
