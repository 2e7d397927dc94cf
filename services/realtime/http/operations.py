"""The table of the HTTP calls: what each takes, and what it may answer.

``openapi`` writes the document from it. A test compares it with the routes that are served, and schemathesis compares
it with their behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from services.realtime.access.snooze import Snooze
from services.realtime.http.choosing import OwnPreferences
from services.realtime.http.shapes import (
    Acknowledgement,
    ActionPath,
    AlertPath,
    AlertSnooze,
    AnsweredAlert,
    AnswerLinkQuery,
    BounceEvents,
    BounceOutcomes,
    BounceReport,
    CalendarQuery,
    DescriptionQuery,
    Device,
    DevicePath,
    Document,
    EntryPath,
    Error,
    Frame,
    Inbox,
    InboxQuery,
    IncidentsQuery,
    LinkQuery,
    ListedIncidents,
    ListedSilence,
    ListedSilences,
    NewSilence,
    OnCall,
    OnCallPath,
    OnCallQuery,
    Preferences,
    Reassignment,
    SessionQuery,
    ShownIncident,
    SilencePath,
    SilencesQuery,
    StreamHeaders,
    Ticket,
    WebPushKey,
)
from shared.directory.answer_link import PATH as ANSWER_PATH
from shared.directory.unsubscribe import PATH as UNSUBSCRIBE_PATH

Tag = Literal["live", "inbox", "user", "alerts", "oncall", "publishers", "bounces"]
Proof = Literal["token", "ticket", "link", "publisher", "password"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the answers to a call.

    Attributes:
        shape: of its JSON body; None if the body is empty or not JSON.
        text_type: media type of a body that is not JSON; with a shape, the other one that it may have.
        name: under which several calls share it in the document; empty for an answer of one call.
    """

    description: str
    shape: type[BaseModel] | None = None
    text_type: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call.

    Attributes:
        path, query, headers: models whose fields are its parameters.
        proofs: any one of these shows who asks.
        body_types: media types that a body may have.
    """

    method: Literal["delete", "get", "post", "put"]
    url: str
    id: str
    tag: Tag
    summary: str
    description: str = ""
    proofs: tuple[Proof, ...] = ("token",)
    path: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = True
    body_types: tuple[str, ...] = ("application/json",)
    answers: Mapping[int, Answer] = field(default_factory=dict)


def _refusal(name: str, description: str) -> Answer:
    return Answer(description, Error, name=name)


INVALID = _refusal("Invalid", "Some fields are not valid; `fields` names them.")
UNAUTHORIZED = _refusal("Unauthorized", "There is no token, or it does not hold.")
FORBIDDEN_ORIGIN = _refusal("ForbiddenOrigin", "The page that asks is not one of ours.")
NOT_FOUND = _refusal("NotFound", "There is nothing by that name for this user.")
UNKNOWN_USER = _refusal("UnknownUser", "The directory does not know this user.")
OVER = _refusal("Over", "The alert is resolved or cancelled, and stays so.")
TOO_SLOW = _refusal("TooSlow", "The body did not come in time.")
TOO_LARGE = _refusal("TooLarge", "The body is larger than 64 KiB.")
TOO_MANY_REQUESTS = _refusal(
    "TooManyRequests",
    "Too many requests of this user, or too many sessions from this address, in too short a time; Retry-After says "
    "when to come again.",
)
UNAVAILABLE = _refusal("Unavailable", "Try again shortly.")

_DONE = {204: Answer("Done.")}
_OF_A_USER = {401: UNAUTHORIZED, 403: FORBIDDEN_ORIGIN, 429: TOO_MANY_REQUESTS, 503: UNAVAILABLE}
_WITH_BODY = {400: INVALID, 408: TOO_SLOW, 413: TOO_LARGE}
_LINK_INVALID = Answer("The link is not valid.", text_type="text/html")
_LINK_UNAVAILABLE = Answer("Try again shortly.", text_type="text/html")

_REPORT_ANSWERS = {
    200: Answer("What became of the report's entries.", BounceOutcomes),
    400: _refusal("InvalidReport", "The report cannot be read."),
    404: _refusal("NoProvider", "This provider's secret is not set."),
    408: TOO_SLOW,
    409: _refusal("Replayed", "This report was taken before."),
    413: _refusal("ReportTooLarge", "The report is larger than 1 MiB, or has more than 5,000 entries."),
    503: UNAVAILABLE,
}
_BAD_SIGNATURE = _refusal("BadSignature", "The signature does not hold, or is too old.")


def _bounces(
    name: str,
    provider: str,
    how: str,
    *,
    proofs: tuple[Proof, ...] = (),
    body: type[BaseModel] = BounceReport,
) -> Operation:
    """Describe the call of one mail provider."""
    proof = {401: _refusal("NoPassword", "The name or the password is wrong.")} if proofs else {403: _BAD_SIGNATURE}
    return Operation(
        method="post",
        url=f"/v1/bounces/{name}",
        id=f"take{provider.replace(' ', '')}Report",
        tag="bounces",
        summary=f"Take a report of bad addresses from {provider}",
        description=f"{how} Served where the secret is set. Hard bounces and complaints suppress mail to the address.",
        proofs=proofs,
        body=body,
        answers=_REPORT_ANSWERS | proof,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="get",
        url="/v1/ws",
        id="openWebSocket",
        tag="live",
        summary="Open a WebSocket session",
        description="Frames are JSON text messages. First come the system status (where there is one), `hello`, and "
        "the pending unread notifications (at most the 10 newest, oldest first) or, with a cursor, everything after "
        'it. Client frames: `{"type": "read", "id"}`, `{"type": "acknowledge", "alert_id"}`, `{"type": "focus", '
        '"focused": true | false}`, `{"type": "snooze", "id", "until" | "for"}`, `{"type": "act", "id", "action"}`, '
        '`{"type": "ping"}`; at most 16 KiB each and 20 a second. One that cannot be done '
        "is answered with an `error` frame, a ping with `pong`. Close codes: 4001 unauthenticated or expired, 4008 too "
        "slow, 4009 too many sessions, 1001 going away (reconnect), 1008 too many frames, 1009 frame too large, 1013 "
        "try again later. A refused handshake is accepted first and then closed, so that browsers can read the code.",
        proofs=("token", "ticket"),
        query=SessionQuery,
        answers={
            101: Answer("The session is open.", Frame),
            403: FORBIDDEN_ORIGIN,
            426: Answer("The request is not a WebSocket handshake.", Error),
            429: TOO_MANY_REQUESTS,
        },
    ),
    Operation(
        method="get",
        url="/v1/events",
        id="openEventStream",
        tag="live",
        summary="Open a stream of server-sent events",
        description="The frames of the WebSocket as events: the event name is the frame's type, the id its cursor, the "
        "data its JSON.",
        proofs=("token", "ticket"),
        query=SessionQuery,
        headers=StreamHeaders,
        answers={
            200: Answer("The stream.", text_type="text/event-stream"),
            **_OF_A_USER,
            429: Answer(
                "The user or the address has too many open sessions, or begins too many in too short a time.", Error
            ),
        },
    ),
    Operation(
        method="post",
        url="/v1/tickets",
        id="createTicket",
        tag="live",
        summary="Make a one-time ticket",
        description="It opens one session, for this user, from the page's own origin, and ends with the token that "
        "bought it.",
        answers={200: Answer("The ticket.", Ticket), **_OF_A_USER},
    ),
    Operation(
        method="get",
        url="/v1/inbox",
        id="readInbox",
        tag="inbox",
        summary="List notifications, newest first",
        description="A token with the claim `tenant` sees the notifications of that tenant and of none, here and in "
        "every other call and frame.",
        query=InboxQuery,
        answers={200: Answer("A part of the inbox.", Inbox), 400: INVALID, **_OF_A_USER},
    ),
    Operation(
        method="post",
        url="/v1/inbox/read-all",
        id="markAllRead",
        tag="inbox",
        summary="Mark everything as read",
        answers=_DONE | _OF_A_USER,
    ),
    Operation(
        method="post",
        url="/v1/inbox/{id}/read",
        id="markRead",
        tag="inbox",
        summary="Mark as read",
        description="An archived entry stays archived.",
        path=EntryPath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/inbox/{id}/unread",
        id="markUnread",
        tag="inbox",
        summary="Mark as unread",
        description="An archived entry comes back into the inbox.",
        path=EntryPath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/inbox/{id}/archive",
        id="archive",
        tag="inbox",
        summary="Archive",
        description="It counts as read and is listed only with `state=archived`.",
        path=EntryPath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/inbox/{id}/snooze",
        id="snooze",
        tag="inbox",
        summary="Put away for a while",
        description="Until then the entry is listed only with `state=snoozed`, and not counted. Then it comes back as "
        "unread, on top, and open sessions get a `notification` frame.",
        path=EntryPath,
        body=Snooze,
        answers=_DONE
        | _OF_A_USER
        | _WITH_BODY
        | {
            404: NOT_FOUND,
            409: Answer(
                "The entry is an alert that waits for an answer (`unanswered_alert`), or too many entries are snoozed "
                "already (`too_many_snoozed`).",
                Error,
            ),
        },
    ),
    Operation(
        method="delete",
        url="/v1/inbox/{id}/snooze",
        id="endSnooze",
        tag="inbox",
        summary="Let a snoozed entry come back now",
        description="An entry that is not snoozed stays as it is.",
        path=EntryPath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/inbox/{id}/actions/{action}",
        id="pressAction",
        tag="inbox",
        summary="Press an action",
        description="The press is published, once, to the system that sent the notification. Pressing again changes "
        "nothing. After a 503 the press does not count: press again.",
        path=ActionPath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url="/v1/preferences",
        id="readPreferences",
        tag="user",
        summary="Show what the user hears of, and what there is to choose",
        description="For the channels, what holds: the user's own choices over what the directory says. For "
        "categories, what the user chose, and in `offered` what holds. With a token that names a tenant, the "
        "categories are as they are for that tenant's notifications.",
        answers={200: Answer("The preferences.", Preferences), **_OF_A_USER, 404: UNKNOWN_USER},
    ),
    Operation(
        method="put",
        url="/v1/preferences",
        id="replacePreferences",
        tag="user",
        summary="Replace the user's own choices",
        description="A channel that is not named is as the directory has it, or its default. `categories`, "
        "`quiet_hours` and `snooze_until` stay as they are if they are not named. `categories` replaces the choices "
        "for all categories that are offered. Switching on a category's email ends an unsubscription from its mail. "
        "What GET answers can be sent back: `offered`, `rules` and `timezone` are ignored. No write to the directory "
        "changes an own choice. Critical alerts go past preferences.",
        body=OwnPreferences,
        answers={
            200: Answer("The preferences as they are now.", Preferences),
            **_OF_A_USER,
            **_WITH_BODY,
            404: UNKNOWN_USER,
        },
    ),
    Operation(
        method="post",
        url="/v1/devices",
        id="addDevice",
        tag="user",
        summary="Add a device that pushes go to",
        description="One that is there already counts as registered now, so that an older word of its push service "
        "does not remove it.",
        body=Device,
        answers={
            **_DONE,
            **_OF_A_USER,
            **_WITH_BODY,
            404: UNKNOWN_USER,
            409: Answer("The user has too many devices.", Error),
        },
    ),
    Operation(
        method="delete",
        url="/v1/devices/{token}",
        id="removeDevice",
        tag="user",
        summary="Remove a device",
        path=DevicePath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url="/v1/webpush",
        id="readWebPushKey",
        tag="user",
        summary="Show the key that browsers subscribe with",
        answers={200: Answer("The application server's public key.", WebPushKey), **_OF_A_USER, 404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/alerts/{id}/acknowledge",
        id="acknowledgeAlert",
        tag="alerts",
        summary="Take an alert",
        description="Its escalation ends. Only somebody whom the alert was sent to can take it.",
        path=AlertPath,
        body=Acknowledgement,
        body_required=False,
        answers=_DONE | _OF_A_USER | _WITH_BODY | {404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/alerts/{id}/resolve",
        id="resolveAlert",
        tag="alerts",
        summary="Say that an alert is over",
        description="Only somebody whom the alert was sent to can say so, and admins. Saying it again changes nothing.",
        path=AlertPath,
        body=Acknowledgement,
        body_required=False,
        answers=_DONE | _OF_A_USER | _WITH_BODY | {404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/alerts/{id}/snooze",
        id="snoozeAlert",
        tag="alerts",
        summary="Take an alert, and put it away for a while",
        description="At the end it is open again, and people are told from the beginning. At most 31 days. Only "
        "somebody whom the alert was sent to can do it, and admins.",
        path=AlertPath,
        body=AlertSnooze,
        answers=_DONE | _OF_A_USER | _WITH_BODY | {404: NOT_FOUND, 409: OVER},
    ),
    Operation(
        method="post",
        url="/v1/alerts/{id}/reassign",
        id="reassignAlert",
        tag="alerts",
        summary="Hand an alert on",
        description="It is open again, they are told at once, and it escalates from there. Only somebody whom the "
        "alert was sent to can do it, and admins.",
        path=AlertPath,
        body=Reassignment,
        answers=_DONE | _OF_A_USER | _WITH_BODY | {404: NOT_FOUND, 409: OVER},
    ),
    Operation(
        method="get",
        url="/v1/incidents",
        id="listIncidents",
        tag="alerts",
        summary="List the incidents that are not over, newest first",
        description="For admins. A page may hold fewer than were asked for: where there is `next`, there may be more.",
        query=IncidentsQuery,
        answers={200: Answer("A part of the list.", ListedIncidents), 400: INVALID, **_OF_A_USER, 404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url="/v1/incidents/{id}",
        id="readIncident",
        tag="alerts",
        summary="Show an incident and its timeline",
        description="Those who were told of it see it, and the admins.",
        path=AlertPath,
        answers={200: Answer("The incident.", ShownIncident), **_OF_A_USER, 404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url="/v1/silences",
        id="listSilences",
        tag="alerts",
        summary="List the silences that hold or are to begin",
        description="For admins.",
        query=SilencesQuery,
        answers={200: Answer("The silences.", ListedSilences), 400: INVALID, **_OF_A_USER, 404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url="/v1/silences",
        id="addSilence",
        tag="alerts",
        summary="Let alerts tell nobody for a while",
        description="For admins. What is still open at the end is told then.",
        body=NewSilence,
        answers={201: Answer("The silence.", ListedSilence), **_OF_A_USER, **_WITH_BODY, 404: NOT_FOUND},
    ),
    Operation(
        method="delete",
        url="/v1/silences/{id}",
        id="endSilence",
        tag="alerts",
        summary="End a silence now",
        description="For admins. One that has not begun is deleted. What it kept from telling is told if it is open.",
        path=SilencePath,
        answers=_DONE | _OF_A_USER | {404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url="/v1/oncall/{type}",
        id="readOnCall",
        tag="oncall",
        summary="Show who is on call",
        description="Those whom the entry puts on call see it, and the admins.",
        path=OnCallPath,
        query=OnCallQuery,
        answers={200: Answer("Who is on call, and who is next.", OnCall), 400: INVALID, **_OF_A_USER, 404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url="/v1/oncall/{type}.ics",
        id="readOnCallCalendar",
        tag="oncall",
        summary="Show who is on call as iCalendar",
        description="From four weeks ago to thirteen weeks from now. Links work where `REALTIME_LINK_SECRET` is set.",
        proofs=("token", "link"),
        path=OnCallPath,
        query=CalendarQuery,
        answers={200: Answer("The calendar.", text_type="text/calendar"), **_OF_A_USER, 404: NOT_FOUND},
    ),
    Operation(
        method="get",
        url=ANSWER_PATH,
        id="askToAcknowledge",
        tag="alerts",
        summary="Show the alert of a mail's or push's link",
        description="A page with what the alert says, where it stands, and a button that takes it. It changes nothing. "
        "Served where `REALTIME_LINK_SECRET` is set.",
        proofs=(),
        query=AnswerLinkQuery,
        answers={
            200: Answer("The page.", text_type="text/html"),
            400: _LINK_INVALID,
            404: NOT_FOUND,
            429: TOO_MANY_REQUESTS,
            503: _LINK_UNAVAILABLE,
        },
    ),
    Operation(
        method="post",
        url=ANSWER_PATH,
        id="acknowledgeByLink",
        tag="alerts",
        summary="Take the alert of a mail's or push's link",
        description="In the name of the person to whom the link was sent, until seven days after that. The link alone "
        "decides; there is no other proof, and no body is needed. An alert that was taken or resolved before stays as "
        "it is. The answer is JSON where `Accept` names `application/json`, else a page.",
        proofs=(),
        query=AnswerLinkQuery,
        answers={
            200: Answer("Where the alert stands now.", AnsweredAlert, text_type="text/html"),
            400: _LINK_INVALID,
            404: NOT_FOUND,
            429: TOO_MANY_REQUESTS,
            503: _LINK_UNAVAILABLE,
        },
    ),
    Operation(
        method="get",
        url=UNSUBSCRIBE_PATH,
        id="askToUnsubscribe",
        tag="user",
        summary="Show a page that asks whether to unsubscribe",
        description="It changes nothing. Served where `EMAIL_UNSUBSCRIBE_SECRET` is set.",
        proofs=(),
        query=LinkQuery,
        answers={200: Answer("A page with a button.", text_type="text/html"), 400: _LINK_INVALID, 404: NOT_FOUND},
    ),
    Operation(
        method="post",
        url=UNSUBSCRIBE_PATH,
        id="unsubscribe",
        tag="user",
        summary="Unsubscribe a mailbox (RFC 8058)",
        description="From now on mail to it ends as suppressed if it is of the category that the link is about, and "
        "not critical. Other mail goes on. Asking again changes nothing.",
        proofs=(),
        query=LinkQuery,
        answers={
            200: Answer("Done.", text_type="text/html"),
            400: _LINK_INVALID,
            404: NOT_FOUND,
            503: UNAVAILABLE,
        },
    ),
    _bounces("ses", "Amazon SES", "A message of SNS, signed by it for one of our topics."),
    _bounces("sendgrid", "SendGrid", "The events of the signed Event Webhook.", body=BounceEvents),
    _bounces("postmark", "Postmark", "A bounce or a spam complaint, with our name and password.", proofs=("password",)),
    _bounces("mailgun", "Mailgun", "One event with its signature; each signature counts once."),
    Operation(
        method="get",
        url="/v1/openapi.json",
        id="readDescription",
        tag="live",
        summary="This document",
        proofs=(),
        answers={200: Answer("The document.", Document)},
    ),
    Operation(
        method="get",
        url="/v1/asyncapi",
        id="readMqttDescription",
        tag="live",
        summary="Show what goes over MQTT: topics, payloads, receipts",
        description="An AsyncAPI 3.0 document, or a page for people where that is asked for.",
        proofs=(),
        query=DescriptionQuery,
        answers={200: Answer("The document, or the page.", Document, text_type="text/html"), 400: INVALID},
    ),
)
