"""Why a publish was not accepted, in words that a publisher can act on.

Promises that a rejection names fields and rules only and never repeats a value: it is sent back, counted and logged.
The only text of the publisher's that it shows is the name of an unknown field, shortened. The words are stable;
programs may compare them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.router.payloads.receipts import Problem, Refusal, RejectedReceipt
from services.router.payloads.receipts import RejectionCode as RejectionCode  # noqa: PLC0414 - whoever refuses names it
from shared.core.errors import CarillonError

# A receipt must not outgrow the publish it answers: a batch of 1,000 wrong mails gets the first problems only.
PROBLEMS_SHOWN = 20
FIELD_CHARS = 100

# Tags of unions that are told apart by a function. They turn up in an error's location, where the publisher's document
# has nothing of that name.
FLAG_TAG = "<flag>"
LIST_TAG = "<list>"
OBJECT_TAG = "<object>"
TEXT_TAG = "<text>"
TEMPLATE_TAG = "<template>"
_TAGS = frozenset({FLAG_TAG, LIST_TAG, OBJECT_TAG, TEXT_TAG, TEMPLATE_TAG})


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field and what is wrong with it.

    Attributes:
        field: the path in the payload (``emails.3.to``) or the name of a topic level; empty for the whole payload.
        problem: a short stable phrase such as ``required``.
        meant: the name that its writer most likely meant.
    """

    field: str
    problem: str
    meant: str | None = None

    def document(self) -> Problem:
        """Return it as it stands in a receipt."""
        written: Problem = {"field": self.field, "problem": self.problem}
        if self.meant is not None:
            written["meant"] = self.meant
        return written


class Rejected(CarillonError):
    """This publish is not accepted, now or ever; only ``rate_limited`` is worth another try.

    Args:
        code: the receipt's code.
        message: one plain sentence for a person; no personal data.
        fields: what is wrong, field by field.
        retry_after_s: when another try may succeed.
    """

    def __init__(
        self,
        code: RejectionCode,
        message: str,
        fields: tuple[FieldProblem, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.retry_after_s = retry_after_s
        self.code = code
        self.message = message
        self.fields = fields

    def receipt(self) -> RejectedReceipt:
        """Return the receipt for the publisher, ready for JSON."""
        fields = [each.document() for each in self.fields]
        error: Refusal = {"code": self.code.value, "message": self.message, "fields": fields}
        if self.retry_after_s is not None:
            error["retry_after_s"] = self.retry_after_s
        return {"status": "rejected", "error": error}


def invalid_payload(fields: tuple[FieldProblem, ...], total: int | None = None) -> Rejected:
    """Build the rejection of a payload that is JSON but not what the topic takes.

    Args:
        fields: the problems to show.
        total: how many there are; None is as many as shown.
    """
    count = len(fields) if total is None else total
    message = "One field is not valid." if count == 1 else f"{count} fields are not valid."
    if count > len(fields):
        message += f" The first {len(fields)} are listed."
    return Rejected(RejectionCode.INVALID_PAYLOAD, message, fields)


Meant = Callable[[tuple[int | str, ...]], str | None]
"""Says which field is meant where an unknown one was found."""


def rejection_of(error: ValidationError, meant: Meant, unread: Sequence[FieldProblem] = ()) -> Rejected:
    """Translate what pydantic found into the words of a rejection.

    Args:
        unread: fields that would be a warning in another payload; here one of them may be what is missing.
    """
    details = error.errors(include_url=False, include_input=False)
    shown = [_problem(each, meant) for each in details[:PROBLEMS_SHOWN]]
    problems = tuple(dict.fromkeys([*shown, *unread]))[:PROBLEMS_SHOWN]
    total = error.error_count() + len(unread)
    return invalid_payload(problems, total if len(details) + len(unread) > PROBLEMS_SHOWN else None)


# pydantic's error types to our words; filled with the error's context. Its own sentences change between releases and
# some quote the value. Every lower bound of a length here is 1.
WORDS: Mapping[str, str] = {
    "missing": "required",
    "extra_forbidden": "unknown",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_too_long": "too long: at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_long": "too many: at most {max_length}",
    "greater_than": "must be greater than {gt:.15g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "less_than_equal": "must be at most {le:.15g}",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "union_tag_not_found": "required",
    "union_tag_invalid": "must be one of {expected}",
}

_MEMBER = re.compile(r"<\w+\.\w+: (\w+)>")


def _problem(detail: ErrorDetails, meant: Meant) -> FieldProblem:
    context = dict(detail.get("ctx", {}))
    field = _path(detail["loc"])
    if "discriminator" in context and detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
        # pydantic blames the object; the field that decides is in the context, in quotes.
        field = f"{field}.{str(context['discriminator']).strip(chr(39))}".removeprefix(".")
        context["expected"] = context.get("expected_tags")
    if "expected" in context:
        # "'a', 'b' or 'c'"; for tags "'a', 'b', 'c'", or the repr of an enumeration's members.
        plain = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        context["expected"] = _MEMBER.sub(r"\1", plain)
    if detail["type"] == "extra_forbidden":
        return FieldProblem(field[:FIELD_CHARS], WORDS["extra_forbidden"], meant(detail["loc"]))
    template = WORDS.get(detail["type"])
    # A type that is not in the table is one of ours (shared.core.fields), whose message is already in our words.
    return FieldProblem(field[:FIELD_CHARS], template.format(**context) if template else detail["msg"])


def _path(location: tuple[int | str, ...]) -> str:
    parts = [part for part in location if part not in _TAGS]
    if parts and parts[-1] == "[key]":
        # The name itself is wrong: it is the value that must not be repeated.
        del parts[-2:]
    if len(parts) > 2 and parts[0] == "devices":
        # The platform, by which pydantic tells devices apart.
        del parts[2]
    return ".".join(str(part) for part in parts)
