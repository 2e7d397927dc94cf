"""What senders need to log in: keys, certificates, accounts, and the settings that hold them.

Promises that a data folder is prepared once and then stays the same, so configured services and issued push
subscriptions outlive a restart of the sandbox. Only the server certificate is made anew at each start. Only the owner
can read the files. The keys are worth nothing outside the sandbox.
"""

import base64
import hashlib
import hmac
import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sandbox.authority import make_authority
from sandbox.files import write_private

APNS_TOPIC = "com.example.app"
FCM_PROJECT = "carillon-sandbox"
EMAIL_FROM = "Carillon <notifications@example.com>"
SES_REGION = "eu-west-1"
# Twilio's magic number that may send (twilio.com/docs/iam/test-credentials).
SMS_FROM = "+15005550006"
WEBPUSH_SUBJECT = "mailto:operator@example.com"
# What a starter waits for and service_environment reads: the addresses of the running sandbox.
READY_FILE = "sandbox.json"
CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key.pem"
APNS_KEY_FILE, FCM_FILE, VAPID_KEY_FILE = "apns.p8", "fcm-service-account.json", "vapid.pem"
ACCOUNTS_FILE = "accounts.json"
# All that a prepared folder holds.
KEY_FILES = (CA_FILE, CA_KEY_FILE, APNS_KEY_FILE, FCM_FILE, VAPID_KEY_FILE, ACCOUNTS_FILE)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The contents of a prepared data folder.

    Attributes:
        secret: What push subscriptions, access tokens and the access key of SES are derived from.
    """

    data: Path
    apns_key_id: str
    apns_team_id: str
    apns_topic: str
    fcm_project: str
    fcm_client_email: str
    twilio_sid: str
    twilio_token: str
    secret: bytes

    @property
    def ca_file(self) -> Path:
        """The certificate that signs the sandbox's server certificate."""
        return self.data / CA_FILE

    @property
    def ca_key_file(self) -> Path:
        """The key of that certificate."""
        return self.data / CA_KEY_FILE

    @property
    def apns_key_file(self) -> Path:
        """The provider token signing key, as Apple hands it out."""
        return self.data / APNS_KEY_FILE

    @property
    def fcm_file(self) -> Path:
        """The service account, as Google hands it out."""
        return self.data / FCM_FILE

    @property
    def vapid_key_file(self) -> Path:
        """The application server's key."""
        return self.data / VAPID_KEY_FILE

    @property
    def ses_access_key_id(self) -> str:
        """The id of the access key, as AWS hands it out: AKIA and 16 characters (IAM user guide, "IAM identifiers")."""
        return f"AKIA{base64.b32encode(self._derived('ses access key id')).decode()[:16]}"

    @property
    def ses_secret_access_key(self) -> str:
        """The secret of the access key: 40 characters."""
        return base64.b64encode(self._derived("ses secret access key")).decode()[:40]

    def _derived(self, name: str) -> bytes:
        return hmac.digest(self.secret, name.encode(), hashlib.sha256)


def take_keys(keys: Path, data: Path) -> None:
    """Put the files of a prepared folder, which may be a read-only one, into the data folder.

    Raises:
        FileNotFoundError: one is missing. Another would be made up for it, and senders have the one that is missing.
    """
    data.mkdir(parents=True, exist_ok=True)
    for name in KEY_FILES:
        write_private(data / name, (keys / name).read_bytes())


def prepare(data: Path) -> Credentials:
    """Make what is missing in the data folder and read the rest."""
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    accounts = _accounts(data / ACCOUNTS_FILE)
    credentials = Credentials(
        data=data,
        apns_key_id=accounts["apns_key_id"],
        apns_team_id=accounts["apns_team_id"],
        apns_topic=APNS_TOPIC,
        fcm_project=FCM_PROJECT,
        fcm_client_email=f"carillon@{FCM_PROJECT}.iam.gserviceaccount.com",
        twilio_sid=accounts["twilio_sid"],
        twilio_token=accounts["twilio_token"],
        secret=bytes.fromhex(accounts["secret"]),
    )
    if not (credentials.ca_file.exists() and credentials.ca_key_file.exists()):
        key, certificate = make_authority()
        write_private(credentials.ca_key_file, key)
        write_private(credentials.ca_file, certificate)
    for key_file in (credentials.apns_key_file, credentials.vapid_key_file):
        if not key_file.exists():
            write_private(key_file, _pem(ec.generate_private_key(ec.SECP256R1())))
    if not credentials.fcm_file.exists():
        key = _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        write_private(credentials.fcm_file, _service_account(credentials, key.decode()))
    return credentials


def point_fcm_at(credentials: Credentials, http_url: str) -> None:
    """Write the address of the running sandbox into the service account, as its token endpoint."""
    account = json.loads(credentials.fcm_file.read_bytes())
    account["token_uri"] = f"{http_url}/token"
    write_private(credentials.fcm_file, json.dumps(account, indent=2).encode())


def service_environment(data: Path) -> dict[str, str]:
    """The settings that point Carillon's services at the sandbox that runs on this data folder.

    Raises:
        FileNotFoundError: no sandbox runs on it.
    """
    addresses: Mapping[str, str] = json.loads((data / READY_FILE).read_bytes())
    return settings_for(prepare(data), addresses["http_url"], addresses["smtp_url"], addresses["apns_url"])


def settings_for(credentials: Credentials, http_url: str, smtp_url: str, apns_url: str) -> dict[str, str]:
    """The settings that point Carillon's services at a sandbox at these addresses."""
    return {
        "EMAIL_SMTP_URL": smtp_url,
        "EMAIL_FROM": EMAIL_FROM,
        "SMS_TWILIO_ACCOUNT_SID": credentials.twilio_sid,
        "SMS_TWILIO_AUTH_TOKEN": credentials.twilio_token,
        "SMS_TWILIO_FROM": SMS_FROM,
        "SMS_TWILIO_BASE_URL": http_url,
        "SMS_ALLOWED_COUNTRIES": "*",
        "REALTIME_WEBPUSH_PUBLIC_KEY": vapid_public_key(credentials),
        "PUSH_APNS_KEY_FILE": str(credentials.apns_key_file),
        "PUSH_APNS_KEY_ID": credentials.apns_key_id,
        "PUSH_APNS_TEAM_ID": credentials.apns_team_id,
        "PUSH_APNS_TOPIC": credentials.apns_topic,
        "PUSH_APNS_URL": apns_url,
        "PUSH_APNS_CA_FILE": str(credentials.ca_file),
        "PUSH_FCM_CREDENTIALS_FILE": str(credentials.fcm_file),
        "PUSH_FCM_URL": http_url,
        "PUSH_WEBPUSH_VAPID_KEY_FILE": str(credentials.vapid_key_file),
        "PUSH_WEBPUSH_SUBJECT": WEBPUSH_SUBJECT,
        # With the port: the address is not public, and nothing else on this machine may be reached.
        "PUSH_WEBPUSH_ALLOWED_HOSTS": urlsplit(http_url).netloc,
    }


def vapid_public_key(credentials: Credentials) -> str:
    """Return the key that browsers subscribe with (RFC 8292, 3.2)."""
    key = serialization.load_pem_private_key(credentials.vapid_key_file.read_bytes(), None)
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def _accounts(path: Path) -> dict[str, str]:
    if not path.exists():
        # Key and team ids are ten upper-case characters, as in Apple's developer account.
        alphabet = string.ascii_uppercase + string.digits
        accounts = {
            "apns_key_id": "".join(secrets.choice(alphabet) for _ in range(10)),
            "apns_team_id": "".join(secrets.choice(alphabet) for _ in range(10)),
            "twilio_sid": f"AC{secrets.token_hex(16)}",
            "twilio_token": secrets.token_hex(16),
            "secret": secrets.token_hex(32),
        }
        write_private(path, json.dumps(accounts, indent=2).encode())
    loaded: dict[str, str] = json.loads(path.read_bytes())
    return loaded


def _service_account(credentials: Credentials, private_key: str) -> bytes:
    account = {
        "type": "service_account",
        "project_id": credentials.fcm_project,
        "private_key_id": secrets.token_hex(20),
        "private_key": private_key,
        "client_email": credentials.fcm_client_email,
        "client_id": str(secrets.randbelow(10**21)),
        "token_uri": "",
        "universe_domain": "googleapis.com",
    }
    return json.dumps(account, indent=2).encode()


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
