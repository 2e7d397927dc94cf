"""The calls of publishers in the table of calls, see ``services.realtime.http.operations``."""

from services.realtime.http.operations import (
    FORBIDDEN_ORIGIN,
    TOO_SLOW,
    UNAVAILABLE,
    Answer,
    Operation,
)
from services.realtime.http.shapes import Error
from services.realtime.publish.shapes import (
    Accepted,
    Duplicate,
    NotificationOutcome,
    NotificationPath,
    NotificationQuery,
    NotPublished,
    Payload,
    PublishHeaders,
    Rejected,
    TopicPath,
)

NO_KEY = Answer("There is no key, or no publisher has it.", Error, name="NoKey")

PUBLISHER_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="post",
        url="/v1/publish/{topic}",
        id="publish",
        tag="publishers",
        summary="Publish a notification, or anything else that publishers publish on MQTT",
        description="The body is what the topic takes on MQTT, as `GET /v1/asyncapi` tells, and the answer is the "
        "router's receipt. Nothing else is different: rules, rights, rates and idempotency are those of the publisher "
        "whose key it is. "
        "CloudEvents 1.0 are taken in binary and in structured mode: `data` is the payload, `source` and `id` are the "
        "idempotency key.",
        proofs=("publisher",),
        path=TopicPath,
        headers=PublishHeaders,
        body=Payload,
        body_types=("application/json", "application/cloudevents+json"),
        body_required=False,
        answers={
            200: Answer("A duplicate.", Duplicate),
            202: Answer("Accepted: it is stored.", Accepted),
            400: Answer("The payload, the topic or a header is not valid.", NotPublished),
            401: NO_KEY,
            403: Answer("The publisher may not do this; or a page asks that is not one of ours.", NotPublished),
            408: TOO_SLOW,
            409: Answer("The idempotency key was used for another notification within the last 24 hours.", Rejected),
            413: Answer("The body is larger than the topic takes.", NotPublished),
            429: Answer(
                "Too many publishes of this publisher; or too many unknown keys from this address. Retry-After says "
                "when to come again.",
                NotPublished,
            ),
            503: Answer(
                "No router answers. The message says whether it may have been accepted all the same: send it again "
                "with the same idempotency key.",
                Error,
            ),
        },
    ),
    Operation(
        method="get",
        url="/v1/notifications/{id}",
        id="readOutcome",
        tag="publishers",
        summary="Show what became of a notification",
        description="Of the publisher's own: what belongs to another publisher looks like what does not exist. It "
        "shows users by their ids and no addresses.",
        proofs=("publisher",),
        path=NotificationPath,
        query=NotificationQuery,
        answers={
            200: Answer("Where it stands.", NotificationOutcome),
            400: Answer("The limit is not valid.", Error),
            401: NO_KEY,
            403: FORBIDDEN_ORIGIN,
            404: Answer("This publisher has published no such notification, or it ended too long ago.", Error),
            429: Answer("Too many requests of this publisher in too short a time.", Error),
            503: UNAVAILABLE,
        },
    ),
)
