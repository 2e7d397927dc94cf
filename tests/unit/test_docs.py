"""What the documents say about settings is what the services read."""

from pathlib import Path

import pytest

from services.email.settings import EmailSettings
from services.push.settings import PushSettings
from services.realtime.settings import RealtimeSettings
from services.router.settings import RouterSettings
from services.sms.settings import SmsSettings
from shared.runtime.settings import CommonSettings

ROOT = Path(__file__).parents[2]
SERVICES = (RouterSettings, EmailSettings, SmsSettings, PushSettings, RealtimeSettings)


def rows(settings: type[CommonSettings], *, without: set[str]) -> list[str]:
    """Return the lines that docs/reference/settings.md has for these settings."""
    lines = []
    for name, field in settings.model_fields.items():
        if name in without:
            continue
        default = "required" if field.is_required() else "" if field.default in (None, "") else str(field.default)
        description = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name.upper()}` | {description} | {default} |")
    return lines


@pytest.mark.parametrize("settings", [CommonSettings, *SERVICES])
def test_every_setting_is_documented_with_its_default(settings: type[CommonSettings]) -> None:
    common = {"ops_port"} if settings is CommonSettings else set(CommonSettings.model_fields)
    document = (ROOT / "docs" / "reference" / "settings.md").read_text()
    missing = [row for row in rows(settings, without=common) if row not in document]
    assert missing == []


@pytest.mark.parametrize("settings", SERVICES)
def test_every_service_has_its_documented_ops_port(settings: type[CommonSettings]) -> None:
    service = settings.__module__.split(".")[1]
    port = settings.model_fields["ops_port"].default
    assert f"{port} {service}" in (ROOT / "docs" / "reference" / "settings.md").read_text()
