"""AWS Signature Version 4, the checking side: is this request signed by whoever has the secret?

Promises to compute the signature itself, from what came over the wire (IAM user guide, "Create a signed AWS API
request"). Refusals have AWS's words ("Troubleshoot signed requests for AWS APIs"). Does not support queries: the
operations that the sandbox serves have none.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# IAM user guide, "Create a signed AWS API request": the Authorization header.
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=(?P<key_id>\w+)/(?P<date>\d{8})/(?P<region>[\w-]+)/(?P<service>[\w-]+)/aws4_request, ?"
    r"SignedHeaders=(?P<names>[a-z0-9-]+(?:;[a-z0-9-]+)*), ?Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
# SES developer guide, "API error codes", RequestExpired; and "Signature expired", "Signature not yet current".
_CLOCK_TOLERANCE = timedelta(minutes=15)


class Refused(Exception):
    """AWS does not take a request.

    Attributes:
        word: its name for the error.
    """

    def __init__(self, word: str, text: str) -> None:
        super().__init__(f"{word}: {text}")
        self.word = word
        self.text = text


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Who may call what.

    Attributes:
        service: the signing name.
    """

    key_id: str
    secret: str
    region: str
    service: str


def check(key: AccessKey, method: str, path: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
    """Check the signature of a request.

    Args:
        headers: as they came, by names in any case.

    Raises:
        Refused: it is not signed with this key.
    """
    if "Authorization" not in headers:
        raise Refused("MissingAuthenticationToken", "Missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(headers["Authorization"])
    if not found:
        raise Refused("IncompleteSignature", "Authorization header is not of the form AWS4-HMAC-SHA256")
    names = found["names"].split(";")
    _check_signed(names, headers)
    if found["key_id"] != key.key_id or "X-Amz-Security-Token" in headers:
        # The key is no temporary one, so none of its tokens are valid.
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    _check_scope(key, found, headers.get("X-Amz-Date", ""), now)
    if headers.get("X-Amz-Content-Sha256", hashlib.sha256(body).hexdigest()) != hashlib.sha256(body).hexdigest():
        raise _mismatch()
    request = canonical_request(method, path, {name: headers[name] for name in names}, body)
    if not hmac.compare_digest(found["signature"], signature(key, headers["X-Amz-Date"], request)):
        raise _mismatch()


def canonical_request(method: str, path: str, signed: Mapping[str, str], body: bytes) -> str:
    """Write a request without a query as both sides hash it."""
    lines = [f"{name}:{' '.join(value.split())}" for name, value in sorted(signed.items())]
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join([method, path, "", *lines, "", ";".join(sorted(signed)), digest])


def signature(key: AccessKey, time: str, request: str) -> str:
    """Sign a canonical request.

    Args:
        time: the header X-Amz-Date.
    """
    scope = [time[:8], key.region, key.service, "aws4_request"]
    secret = f"AWS4{key.secret}".encode()
    for each in scope:
        secret = hmac.digest(secret, each.encode(), hashlib.sha256)
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", time, "/".join(scope), digest])
    return hmac.digest(secret, text.encode(), hashlib.sha256).hex()


def _check_signed(names: list[str], headers: Mapping[str, str]) -> None:
    """Check which headers are signed: host, content-type and every x-amz- that came, in order."""
    came = {name.lower() for name in headers}
    needed = {name for name in came if name.startswith("x-amz-")} | {"host"} | (came & {"content-type"})
    if names != sorted(set(names)) or not needed <= set(names) <= came:
        raise _mismatch()


def _check_scope(key: AccessKey, found: re.Match[str], time: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(time, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise Refused("IncompleteSignature", "Authorization header requires existence of an X-Amz-Date") from None
    if found["date"] != time[:8]:
        raise Refused("SignatureDoesNotMatch", "Date in Credential scope does not match X-Amz-Date")
    if signed_at < now - _CLOCK_TOLERANCE:
        raise Refused("SignatureDoesNotMatch", f"Signature expired: {time} is too old")
    if signed_at > now + _CLOCK_TOLERANCE:
        raise Refused("SignatureDoesNotMatch", f"Signature not yet current: {time} is too late")
    if found["region"] != key.region:
        raise Refused("SignatureDoesNotMatch", f"Credential should be scoped to a valid Region, not {found['region']}")
    if found["service"] != key.service:
        raise Refused("SignatureDoesNotMatch", f"Credential should be scoped to correct service: {key.service}")


def _mismatch() -> Refused:
    return Refused(
        "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."
    )
