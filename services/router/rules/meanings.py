"""What names mean to people who publish: the sentences of the AsyncAPI document that no model can say."""

from collections.abc import Mapping

# Levels of topics.
PARAMETERS: Mapping[str, str] = {
    "publisher": "The login of the publisher at the broker.",
    "user_id": "A person of the directory.",
    "group_id": "A group of people, as the directory names it.",
    "alert_type": "What kind of trouble it is; the directory tells who is on call for it.",
    "alert_id": "The `alert_id` of the alert's receipt.",
    "notification_id": "The `notification_id` of its receipt.",
    "platform": "The kind of device.",
    "channel": "The channel whose address it is.",
}

# Fields with one meaning wherever they stand.
FIELDS: Mapping[str, str] = {
    "id": "The publisher's own key: the same key again within 24 hours is the same notification.",
    "category": "What it is about, for preferences and statistics.",
    "channels": "Only these, of those that would be taken.",
    "send_at": "Not before.",
    "expires_at": "Not after.",
    "ttl_s": "Not after so many seconds.",
    "events": "Publish each later step on `notifications/events/{notification_id}`.",
    "priority": "How urgent it is; it decides the channels, too.",
    "data": "What the reader's program gets beside the text, or the variables of the template.",
    "template": "The template that the texts are written with.",
    "locale": "The language of readers of whom the directory does not know one.",
    "target_groups": "Only the members of these groups; none is everybody.",
    "dedup_key": "Names the trouble, so that one trouble is one alert.",
    "html_body": "The text as HTML; without a `body`, its text is made from it.",
    "emails": "The mails. Each may say what a single mail may say, but `id`, `channels` and `events`.",
    "tokens": "Devices that the directory does not know: tokens, or subscriptions of browsers.",
    "device_info": "Checked, and not kept.",
    "remove": "Take the address off the list.",
    "note": "For the alert's history.",
    "may": "Filters of the topics that it may publish on; left out: `notifications/#`.",
    "may_answer": "Whose notifications and alerts it may cancel, acknowledge and resolve.",
    "priority_at_most": "Nothing more urgent is taken from it.",
    "rate": "So many publishes in so long.",
    "share": "Of what waits in a queue, compared with others.",
    "tenant": "What its notifications belong to that say nothing else.",
    "registered_at": "When the device last told us its token.",
    "after_s": "Seconds after the alert.",
    "notify": "`oncall`, `admins` or `user:ID`.",
    "repeat": "How often the list runs again.",
    "every_hours": "The length of a turn, in place of `rotation`.",
    "handoff": "When a turn ends, by the clock of `timezone`.",
    "start": "The date on which the first turn begins.",
    "overrides": "Who stands in.",
}

# Checks of ``services.router.rules.checks``.
CHECKS: Mapping[str, str] = {
    "single_line": "One line, without `=?`.",
    "identifier": "One line, without `/`, `+`, `#` and `=?`.",
    "email": "A mailbox in ASCII.",
    "phone": "E.164, such as `+33612345678`.",
    "device_token": "As the provider gave it.",
    "push_endpoint": "An https URL.",
    "p256dh": "An uncompressed P-256 key in base64url.",
    "auth_secret": "16 bytes in base64url.",
    "timezone": "A name of the IANA time zone database, such as `Europe/Paris`.",
    "locale": "A language tag, such as `fr-CA`.",
    "moment": "Seconds since 1970, or RFC 3339 with a zone.",
    "date": "A date, such as `2026-01-05`.",
    "time_of_day": "A time, such as `09:00`.",
    "notify_target": "`oncall`, `admins` or `user:ID`.",
    "topic_filter": "A topic filter of MQTT, without `from/` and the publisher.",
    "digest": "In hexadecimal, lower case.",
    "publisher": "1 to 64 letters, digits, hyphens, dots and underscores; `-` is who publishes on plain topics.",
    "rate": "Such as `1000/60s`; `0` is no limit.",
    "bounded": "At most 32 levels deep.",
}
