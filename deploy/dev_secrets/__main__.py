"""Prints the Secrets that ``deploy/k8s/overlays/dev`` needs, with fresh passwords, keys and certificates.

Promises that they fit together: broker and store know every service's login, and the services trust the authority that
signed the broker's certificate. What only a provider hands out comes from the environment, under the setting's own
name. Without it the channel starts, and its deliveries wait.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from carillon.broker.roles import SERVICES, Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.store.users import STORE_ROLES, acl_file
from sandbox.authority import make_server
from sandbox.credentials import prepare

NAMESPACE = "carillon"
# Logins of a publisher and of a writer of the directory, for trying it out.
OPERATOR = "operator"
CLIENTS = {"publisher": "publisher", OPERATOR: "admin"}
# The operator's login at the store.
STORE_LOGIN = "store"
# What only a provider hands out, and its placeholder: it has the right form, and no provider accepts it.
PROVIDERS = {
    "email": {"EMAIL_SMTP_URL": "smtp://smtp.example.com:587"},
    "sms": {"SMS_TWILIO_ACCOUNT_SID": f"AC{'0' * 32}", "SMS_TWILIO_AUTH_TOKEN": "none"},
}
_INGRESS_HOST = "notifications.example.com"

Secrets = dict[str, dict[str, str]]


def dev_secrets(environment: Mapping[str, str]) -> Secrets:
    """Return the contents of each Secret by its name.

    Args:
        environment: has the providers' accounts, if there are any.
    """
    logins = [Login(name, new_password(), name) for name in SERVICES]
    clients = [Login(name, new_password(), role) for name, role in CLIENTS.items()]
    # The operator is a user of the store and a client of the broker; the services are both, with a password for each.
    users = [Login(name, new_password(), name) for name in STORE_ROLES]
    found: Secrets = {f"{login.name}-secrets": {"MQTT_URL": _broker(login)} for login in logins}
    for user in users:
        if user.name != OPERATOR:
            found[f"{user.name}-secrets"]["REDIS_URL"] = _store(user)
    for service, accounts in PROVIDERS.items():
        found[f"{service}-secrets"] |= {name: environment.get(name) or stand_in for name, stand_in in accounts.items()}
    found["realtime-secrets"]["REALTIME_JWT_SECRET"] = new_password() + new_password()
    link_secret = new_password() + new_password()
    for service in ("email", "push", "realtime"):
        found[f"{service}-secrets"]["REALTIME_LINK_SECRET"] = link_secret
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(Path(folder))
        found["push-secrets"]["vapid.pem"] = made.vapid_key_file.read_text()
        found["broker-ca"] = {"ca.crt": made.ca_file.read_text()}

        def certificate(*hosts: str) -> dict[str, str]:
            key, chain = make_server(made.ca_key_file, made.ca_file, hosts)
            return {"tls.crt": chain.decode(), "tls.key": key.decode()}

        # Short and long within the cluster, and through `kubectl port-forward`.
        names = ("mosquitto", f"mosquitto.{NAMESPACE}.svc", f"mosquitto.{NAMESPACE}.svc.cluster.local")
        found["mosquitto-secrets"] = certificate(*names, "localhost", "127.0.0.1")
        found["realtime-tls"] = certificate(_INGRESS_HOST)
    found["mosquitto-secrets"]["dynamic-security.json"] = dynamic_security([*logins, *clients])
    found["redis-secrets"] = {"users.acl": acl_file(users)}
    found["client-logins"] = {
        **{login.name: _broker(login) for login in clients},
        STORE_LOGIN: next(_store(user) for user in users if user.name == OPERATOR),
    }
    return found


def _broker(login: Login) -> str:
    return f"mqtts://{login.name}:{login.password}@mosquitto:8883"


def _store(login: Login) -> str:
    return f"redis://{login.name}:{login.password}@redis:6379/0"


def main() -> None:
    """Print them as ``kubectl create -f -`` reads them: JSON, which needs no package."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": content,
        }
        for name, content in dev_secrets(os.environ).items()
    ]
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
