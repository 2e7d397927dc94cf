"""The target of a push: a person's devices of one platform, tokens that the publisher names, or both."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from services.router.payloads.envelope import Prioritised
from services.router.payloads.rejection import OBJECT_TAG, TEXT_TAG
from shared.core.fields import DeviceToken, Identifier, not_empty, unique
from shared.core.model import Platform
from shared.directory.people import PushSubscription

PUSH_TOKENS = 500


def text_or_object(value: object) -> str | None:
    """Tell the two forms of a field apart: a string or an object; None is neither."""
    if isinstance(value, (Mapping, PushSubscription)):
        return OBJECT_TAG
    return TEXT_TAG if isinstance(value, str) else None


PushToken = Annotated[
    Annotated[DeviceToken, Tag(TEXT_TAG)] | Annotated[PushSubscription, Tag(OBJECT_TAG)],
    Discriminator(
        text_or_object, custom_error_type="token", custom_error_message="must be a string or a subscription object"
    ),
]


class PushTo(Prioritised):
    """A person's devices of one platform, these tokens, or both."""

    platform: Platform
    tokens: (
        Annotated[
            tuple[PushToken, ...], Field(max_length=PUSH_TOKENS), AfterValidator(not_empty), AfterValidator(unique)
        ]
        | None
    ) = None
    user_id: Identifier | None = Field(default=None, validate_default=True)

    @field_validator("tokens", mode="after")
    @classmethod
    def _fit_platform(cls, value: tuple[PushToken, ...] | None, info: ValidationInfo) -> tuple[PushToken, ...] | None:
        platform = info.data.get("platform")
        if value is None or platform is None:
            return value
        wanted = PushSubscription if platform is Platform.WEB else str
        if not all(isinstance(token, wanted) for token in value):
            if platform is Platform.WEB:
                raise PydanticCustomError("token", "must be subscription objects for web")
            raise PydanticCustomError("token", f"must be strings for {platform}")
        return value

    @field_validator("user_id", mode="after")
    @classmethod
    def _user_or_tokens(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("tokens", ()) is None:
            raise PydanticCustomError("alternative", "required, or tokens")
        return value
