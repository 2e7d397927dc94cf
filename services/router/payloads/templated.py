"""Notifications that name a template in place of their texts, one model for each topic that takes one.

``data`` holds the template's variables. On topics whose clients read ``data``, they get it, too. These models do not
check that the template exists or that the data fits it.
"""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from services.router.payloads.envelope import JsonObject, Prioritised
from services.router.payloads.push_to import PushTo
from shared.core.fields import Email, Identifier, Locale, Phone, Word, ZoneName, unique
from shared.directory.people import GROUPS


def _not_beside(_value: object) -> object:
    raise PydanticCustomError("not_beside", "not together with template")


NotBeside = Annotated[None, BeforeValidator(_not_beside)]
"""A text that the template stands for: with both, it would be in doubt which one counts."""


class Templated(Prioritised):
    """A notification whose texts are a template's.

    Attributes:
        locale: the language of readers of whom the directory does not know one.
        timezone: their time zone.
    """

    template: Identifier
    data: JsonObject = Field(default_factory=dict)
    locale: Locale | None = None
    timezone: ZoneName | None = None


class TemplatedRealtime(Templated):
    """Something to read in the inbox."""

    type: Word = "info"
    title: NotBeside = None
    message: NotBeside = None


class TemplatedUser(TemplatedRealtime):
    """``notifications/realtime/user/{user_id}``."""

    user_id: Identifier


class TemplatedGroup(TemplatedRealtime):
    """``notifications/realtime/group/{group_id}``."""

    group_id: Identifier


class TemplatedBroadcast(TemplatedRealtime):
    """``notifications/realtime/broadcast``."""

    target_groups: Annotated[tuple[Identifier, ...], Field(max_length=GROUPS), AfterValidator(unique)] = ()


class TemplatedEmail(Templated):
    """``notifications/email/send``."""

    to: Email
    subject: NotBeside = None
    body: NotBeside = None
    html_body: NotBeside = None


class TemplatedSms(Templated):
    """``notifications/sms/send``."""

    phone: Phone
    message: NotBeside = None


class TemplatedPush(Templated, PushTo):
    """``notifications/push/mobile/{platform}``."""

    title: NotBeside = None
    message: NotBeside = None


TemplatedNotification: TypeAlias = (
    TemplatedUser | TemplatedGroup | TemplatedBroadcast | TemplatedEmail | TemplatedSms | TemplatedPush
)
