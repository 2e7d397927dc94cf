"""One method for each kind of publish, the same for every publisher: asynchronous, synchronous, and the test kit's."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, Unpack

from carillon_publisher import payloads
from carillon_publisher.payloads import Level, Mail, Platform
from carillon_publisher.topics import level

AnswerT = TypeVar("AnswerT")


class Sends(ABC, Generic[AnswerT]):
    """Publishes by name. Each method waits for the receipt and raises what ``publish`` raises."""

    @abstractmethod
    def _send(self, topic: str, payload: Mapping[str, Any] | bytes, timeout_s: float | None) -> AnswerT:
        """Publish and wait for the receipt.

        Args:
            timeout_s: None for the usual one.
        """

    def _said(self, topic: str, fields: Mapping[str, Any], **more: object) -> AnswerT:
        said = {name: value for name, value in fields.items() if name != "timeout_s"}
        return self._send(topic, {**said, **more}, fields.get("timeout_s"))

    def send_user(self, user_id: str, **fields: Unpack[payloads.Realtime]) -> AnswerT:
        """Notify one person."""
        return self._said(f"notifications/realtime/user/{level('user_id', user_id)}", fields)

    def send_group(self, group_id: str, **fields: Unpack[payloads.Realtime]) -> AnswerT:
        """Notify the members of a group."""
        return self._said(f"notifications/realtime/group/{level('group_id', group_id)}", fields)

    def broadcast(self, **fields: Unpack[payloads.Broadcast]) -> AnswerT:
        """Notify everybody, or the members of some groups."""
        return self._said("notifications/realtime/broadcast", fields)

    def alert(self, how_bad: Level, alert_type: str, **fields: Unpack[payloads.Alert]) -> AnswerT:
        """Tell the people on call for this type of alert, and the admins."""
        return self._said(f"notifications/alerts/{how_bad}/{level('alert_type', alert_type)}", fields)

    def critical_alert(self, alert_type: str, **fields: Unpack[payloads.Alert]) -> AnswerT:
        """Alert on every channel, and escalate until somebody acknowledges."""
        return self.alert("critical", alert_type, **fields)

    def warning_alert(self, alert_type: str, **fields: Unpack[payloads.Alert]) -> AnswerT:
        """Alert with priority high."""
        return self.alert("warning", alert_type, **fields)

    def info_alert(self, alert_type: str, **fields: Unpack[payloads.Alert]) -> AnswerT:
        """Alert with priority normal."""
        return self.alert("info", alert_type, **fields)

    def acknowledge(self, alert_id: str, **fields: Unpack[payloads.Acknowledge]) -> AnswerT:
        """Say that ``user_id`` has seen an alert and takes it; its escalation stops."""
        return self._said(f"notifications/alerts/acknowledge/{level('alert_id', alert_id)}", fields)

    def resolve(self, alert_id: str, **fields: Unpack[payloads.Resolve]) -> AnswerT:
        """Say that the trouble of an alert is over."""
        return self._said(f"notifications/alerts/resolve/{level('alert_id', alert_id)}", fields)

    def cancel(self, notification_id: str, **fields: Unpack[payloads.Cancel]) -> AnswerT:
        """End what has not left yet of a notification; with ``recall=True`` take back what was delivered, too."""
        return self._said(f"notifications/cancel/{level('notification_id', notification_id)}", fields)

    def send_email(self, to: str, **fields: Unpack[payloads.Email]) -> AnswerT:
        """Send one mail."""
        return self._said("notifications/email/send", fields, to=to)

    def send_email_batch(self, emails: Iterable[Mail], **fields: Unpack[payloads.EmailBatch]) -> AnswerT:
        """Send up to 1,000 mails in one publish, which is accepted or rejected as a whole."""
        return self._said("notifications/email/batch", fields, emails=list(emails))

    def send_sms(self, phone: str, **fields: Unpack[payloads.Sms]) -> AnswerT:
        """Send one text to a number in E.164 form."""
        return self._said("notifications/sms/send", fields, phone=phone)

    def send_push(self, platform: Platform, **fields: Unpack[payloads.Push]) -> AnswerT:
        """Push to a person's devices of one platform, or to device tokens."""
        return self._said(f"notifications/push/mobile/{level('platform', platform)}", fields)

    def status(self, **fields: Unpack[payloads.Status]) -> AnswerT:
        """Tell everybody who is connected how the system is."""
        return self._said("notifications/system/status", fields)

    def maintenance(self, **fields: Unpack[payloads.Maintenance]) -> AnswerT:
        """Tell everybody when something will be worked on."""
        return self._said("notifications/system/maintenance", fields)
