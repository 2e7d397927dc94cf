"""Alertmanager's webhook in the table of calls, see ``services.realtime.http.operations``."""

from services.realtime.alertmanager.endpoint import PATH
from services.realtime.alertmanager.shapes import AlertTypePath, TakenMessage, WebhookMessage, WebhookQuery
from services.realtime.http.operations import Answer, Operation
from services.realtime.http.shapes import Error
from services.realtime.publish.operations import NO_KEY

ALERTMANAGER_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="post",
        url=PATH,
        id="takeAlertmanagerMessage",
        tag="publishers",
        summary="Take a message of Alertmanager's webhook",
        description="Version 4. Each alert becomes a publish on `notifications/alerts/{level}/{alert_type}`, with the "
        "rights and the rate of the publisher whose key it is. The same alert in the same state is taken once, however "
        "often it comes and whichever member of a cluster sends it. Alertmanager sends a message again after 503 "
        "only. At most 1 MiB and 1,000 alerts: set `max_alerts` of the receiver.",
        proofs=("publisher",),
        path=AlertTypePath,
        query=WebhookQuery,
        body=WebhookMessage,
        answers={
            200: Answer("Every alert is in the ledger, but for those that are refused for good.", TakenMessage),
            400: Answer("The message or the URL is not valid, or every alert was refused for good.", Error),
            401: NO_KEY,
            403: Answer("The publisher may not publish alerts; or a page asks that is not one of ours.", Error),
            413: Answer("The message is larger than 1 MiB.", Error),
            429: Answer("Too many unknown keys from this address. Retry-After says when to come again.", Error),
            503: Answer("Not every alert is in the ledger for now: send the message again.", Error),
        },
    ),
)
