"""Direct mail: one, or many in one publish."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from services.router.payloads.envelope import Action, Body, Key, Prioritised
from services.router.payloads.rejection import OBJECT_TAG, TEMPLATE_TAG
from services.router.payloads.templated import TemplatedEmail
from shared.core.fields import Channels, Email, Identifier, Line, not_empty

BATCH_EMAILS = 1_000
# Their texts are written before the receipt, and each may be much longer than the data that it is written from.
BATCH_TEMPLATED = 100


class EmailSend(Prioritised):
    """``notifications/email/send``: one mail to one address; without a ``body`` its text is made from ``html_body``."""

    to: Email
    subject: Line
    html_body: Body | None = None
    body: Body | None = Field(default=None, validate_default=True)

    @field_validator("body", mode="after")
    @classmethod
    def _text_or_html(cls, value: str | None, info: ValidationInfo) -> str | None:
        # An html_body that is not valid is missing here, and is a problem of its own.
        if value is None and info.data.get("html_body", "") is None:
            raise PydanticCustomError("alternative", "required")
        return value


def _of_the_batch(_value: object) -> object:
    raise PydanticCustomError("of_the_batch", "is the whole batch's, and not a single mail's")


_OfTheBatch = BeforeValidator(_of_the_batch)
# Among a thousand mails, what is ignored in one of them would go unnoticed.
_NOTHING_ELSE = ConfigDict(extra="forbid")


class _InBatch(BaseModel):
    """What a mail of a batch cannot say, because the batch is accepted, traced and told of as one notification."""

    id: Annotated[Key | None, _OfTheBatch] = None
    channels: Annotated[Channels | None, _OfTheBatch] = None
    events: Annotated[StrictBool, _OfTheBatch] = False
    tenant: Annotated[Identifier | None, _OfTheBatch] = None
    actions: Annotated[tuple[Action, ...], _OfTheBatch] = ()


class BatchMail(_InBatch, EmailSend):
    """A mail of a batch."""

    model_config = _NOTHING_ELSE


class TemplatedBatchMail(_InBatch, TemplatedEmail):
    """A mail of a batch that names a template."""

    model_config = _NOTHING_ELSE


def _without_nulls(value: object) -> object:
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


def _texts_or_template(value: object) -> str:
    if isinstance(value, TemplatedEmail) or (isinstance(value, Mapping) and value.get("template") is not None):
        return TEMPLATE_TAG
    return OBJECT_TAG


class EmailBatch(Prioritised):
    """``notifications/email/batch``: what it says of sending counts for each mail that does not say otherwise."""

    inherited: ClassVar[tuple[str, ...]] = ("category", "send_at", "expires_at", "ttl_s", "priority")

    emails: Annotated[
        tuple[
            Annotated[
                Annotated[BatchMail, Tag(OBJECT_TAG)] | Annotated[TemplatedBatchMail, Tag(TEMPLATE_TAG)],
                Discriminator(_texts_or_template),
                BeforeValidator(_without_nulls),
            ],
            ...,
        ],
        Field(max_length=BATCH_EMAILS),
        AfterValidator(not_empty),
    ]

    @field_validator("emails", mode="after")
    @classmethod
    def _inherit(
        cls, emails: tuple[BatchMail | TemplatedBatchMail, ...], info: ValidationInfo
    ) -> tuple[BatchMail | TemplatedBatchMail, ...]:
        if sum(isinstance(mail, TemplatedBatchMail) for mail in emails) > BATCH_TEMPLATED:
            raise PydanticCustomError("too_many", "too many with a template: at most {most}", {"most": BATCH_TEMPLATED})
        said: dict[str, Any] = {
            name: info.data[name]
            for name in cls.inherited
            if name in info.data and info.data[name] != cls.model_fields[name].default
        }
        if not said:
            return emails
        return tuple(
            mail.model_copy(update={name: said[name] for name in said.keys() - mail.model_fields_set})
            for mail in emails
        )
