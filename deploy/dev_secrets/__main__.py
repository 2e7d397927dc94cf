"""Prints the Secrets that ``deploy/k8s/overlays/dev`` needs, with fresh passwords, keys and certificates.

With ``--folder FOLDER`` it writes them as files instead, as ``deploy/compose`` needs them: one folder for each part.

Promises that they fit together: broker and store know every login, the services trust the authority that signed the
broker's certificate, and the channels have the accounts that the sandbox knows.
"""

import argparse
import json
import tempfile
from pathlib import Path

from carillon.broker.roles import SERVICES, Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.store.users import STORE_ROLES, acl_file
from sandbox.authority import make_server
from sandbox.credentials import KEY_FILES, point_fcm_at, prepare, settings_for

NAMESPACE = "carillon"
# Logins of a publisher and of a writer of the directory, for trying it out.
OPERATOR = "operator"
CLIENTS = {"publisher": "publisher", OPERATOR: "admin"}
# A login of broker and store, with an operator's rights at both.
CONSOLE = "console"
# The operator's login at the store.
STORE_LOGIN = "store"
# Where the component sandbox answers.
SANDBOX = "sandbox"
_SANDBOX_URLS = {
    "http_url": f"http://{SANDBOX}:8025",
    "smtp_url": f"smtp://{SANDBOX}:1025?tls=none",
    "apns_url": f"https://{SANDBOX}:2197",
}
# The settings of the sandbox that are secret, or fresh with its keys.
_OF_THE_SANDBOX = {
    "email": ("EMAIL_SMTP_URL",),
    "sms": ("SMS_TWILIO_ACCOUNT_SID", "SMS_TWILIO_AUTH_TOKEN"),
    "push": ("PUSH_APNS_KEY_ID", "PUSH_APNS_TEAM_ID"),
}
_INGRESS_HOST = "notifications.example.com"

Secrets = dict[str, dict[str, str]]


def dev_secrets() -> Secrets:
    """Return the contents of each Secret by its name."""
    logins = [Login(name, new_password(), name) for name in SERVICES]
    clients = [Login(name, new_password(), role) for name, role in CLIENTS.items()]
    console = Login(CONSOLE, new_password(), "admin")
    # The operator is a user of the store and a client of the broker; the services are both, with a password for each.
    users = [Login(name, new_password(), name) for name in STORE_ROLES]
    found: Secrets = {f"{login.name}-secrets": {"MQTT_URL": _broker(login)} for login in logins}
    for user in users:
        if user.name != OPERATOR:
            found[f"{user.name}-secrets"]["REDIS_URL"] = _store(user)
    found["realtime-secrets"]["REALTIME_JWT_SECRET"] = new_password() + new_password()
    users.append(Login(CONSOLE, new_password(), OPERATOR))
    found["console-secrets"] = {
        "MQTT_URL": _broker(console),
        "REDIS_URL": _store(users[-1]),
        "CONSOLE_SESSION_SECRET": new_password() + new_password(),
        # For `carillon token` beside it.
        "REALTIME_JWT_SECRET": found["realtime-secrets"]["REALTIME_JWT_SECRET"],
    }
    link_secret = new_password() + new_password()
    for service in ("email", "push", "realtime"):
        found[f"{service}-secrets"]["REALTIME_LINK_SECRET"] = link_secret
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(Path(folder))
        point_fcm_at(made, _SANDBOX_URLS["http_url"])
        found["sandbox-secrets"] = {name: (made.data / name).read_text() for name in KEY_FILES}
        settings = settings_for(made, **_SANDBOX_URLS)
        for service, names in _OF_THE_SANDBOX.items():
            found[f"{service}-secrets"] |= {name: settings[name] for name in names}
        keys = {"apns.p8": made.apns_key_file, "fcm.json": made.fcm_file, "vapid.pem": made.vapid_key_file}
        found["push-secrets"] |= {name: path.read_text() for name, path in keys.items()}
        found["push-secrets"]["sandbox-ca.crt"] = made.ca_file.read_text()
        found["broker-ca"] = {"ca.crt": made.ca_file.read_text()}

        def certificate(*hosts: str) -> dict[str, str]:
            key, chain = make_server(made.ca_key_file, made.ca_file, hosts)
            return {"tls.crt": chain.decode(), "tls.key": key.decode()}

        # Short and long within the cluster, and through `kubectl port-forward`.
        names = ("mosquitto", f"mosquitto.{NAMESPACE}.svc", f"mosquitto.{NAMESPACE}.svc.cluster.local")
        found["mosquitto-secrets"] = certificate(*names, "localhost", "127.0.0.1")
        found["realtime-tls"] = certificate(_INGRESS_HOST)
    found["mosquitto-secrets"]["dynamic-security.json"] = dynamic_security([*logins, *clients, console])
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


def write_to(folder: Path, made: Secrets) -> bool:
    """Write the Secrets as files, each part's into a folder of its own; return whether there were none yet.

    They are readable to all: each container has its own folder alone, and users of their own.
    """
    done = folder / "redis-secrets" / "users.acl"
    if done.exists():
        return False
    authority = {"broker-ca.crt": made["broker-ca"]["ca.crt"]}
    parts = [name for name in made if name.endswith("-secrets")]
    # The one that says that all are there comes last.
    for name in sorted(parts, key="redis-secrets".__eq__):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for key, text in (made[name] | authority).items():
            (place / key).write_text(text)
            (place / key).chmod(0o444)
    return True


def main() -> None:
    """Print them as ``kubectl create -f -`` reads them, as JSON, or write them into a folder."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dev_secrets", description="Make Secrets for trying out.")
    parser.add_argument("--folder", type=Path, help="write files there, where there are none yet, and print nothing")
    folder: Path | None = parser.parse_args().folder
    if folder is not None:
        write_to(folder, dev_secrets())
        return
    items = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": content,
        }
        for name, content in dev_secrets().items()
    ]
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
