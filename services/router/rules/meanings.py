"""What names mean to people who publish: the sentences of the AsyncAPI document that no model can say."""

from collections.abc import Mapping

# Levels of topics.
PARAMETERS: Mapping[str, str] = {
    "publisher": "The login of the publisher at the broker.",
    "category": "What notifications are about.",
    "tenant": "A customer of a publisher.",
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
    "emails": "The mails. Each may say what a single mail may, but `id`, `channels`, `events`, `tenant`, `actions`.",
    "tokens": "Devices that the directory does not know: tokens, or subscriptions of browsers.",
    "device_info": "Checked, and not kept.",
    "remove": "Take the address off the list.",
    "recall": "Take back what was delivered, too.",
    "note": "For the alert's history.",
    "may": "Filters of the topics that it may publish on; left out: `notifications/#`.",
    "may_answer": "Whose notifications and alerts it may cancel, acknowledge and resolve.",
    "rate": "So many publishes in so long.",
    "share": "Of what waits in a queue, compared with others.",
    "tenant": "Whose customer's it is.",
    "actions": "What a reader can do with it in the inbox.",
    "policy": "`required` cannot be switched off; `opt_in` is off until it is switched on.",
    "quiet_hours": "When nothing that can wait disturbs people who chose no other hours.",
    "snooze_until": "Until then nothing that can wait disturbs the person.",
    "per": "The sliding window.",
    "then": "What becomes of those beyond the limit.",
    "window": "How long the first one waits for others.",
    "at_most": "How long a sliding window may become.",
    "mode": "A sliding window ends so long after the last one.",
    "first": "`now`: the first one goes out alone.",
    "schedule": "When it comes, by the clock of the person's zone.",
    "brand": "Its look; templates get it as `brand`.",
    "registered_at": "When the device last told us its token.",
    "after_s": "Seconds after the alert.",
    "notify": "`oncall`, `admins` or `user:ID`.",
    "repeat": "How often the list runs again.",
    "every_hours": "The length of a turn, in place of `rotation`.",
    "handoff": "When a turn ends, by the clock of `timezone`.",
    "start": "The date on which the first turn begins.",
    "overrides": "Who stands in.",
}

_OF_CATEGORIES: Mapping[str, str] = {
    "title": "What people read in place of its name.",
    "channels": "On or off for those who chose nothing; one that is on is taken at every priority.",
    "priority_at_most": "What is more urgent counts as this urgent.",
    "quiet_hours": "Whether it waits for the end of a person's quiet hours.",
    "throttle": "How many of it a person hears.",
    "digest": "How several become one.",
}
_OF_TENANTS: Mapping[str, str] = {
    "title": "What people read in place of its name.",
    "timezone": "Of its people who have none of their own.",
    "locale": "Of its people who have none of their own.",
    "quiet_hours": "Of its people who have none of their own.",
    "categories": "What it changes of categories.",
}

# Fields with a meaning of their own, by the schema in which they stand.
FIELDS_OF: Mapping[str, Mapping[str, str]] = {
    "Action": {
        "id": "Tells it from the others.",
        "label": "What stands on it.",
        "url": "What it opens.",
        "topic": "Pressing it is published on `notifications/actions/{notification_id}/{id}`; a text is sent along.",
    },
    "Category": _OF_CATEGORIES,
    "CategoryChoice": {"digest": "How often its digest comes; `instant` is no digest."},
    "DigestSpec": {
        "key": "By whose value they are put together.",
        "channels": "On which they are; the others get each one at once.",
        "items": "So many of the newest are shown; all are counted.",
        "template": "Left out: a plain list.",
    },
    "NamedCategory": _OF_CATEGORIES,
    "NamedPublisher": {
        "priority_at_most": "Nothing more urgent is taken from it.",
        "tenant": "What its notifications belong to that say nothing else.",
    },
    "NamedTenant": _OF_TENANTS,
    "Preferences": {"categories": "Choices for single categories."},
    "QuietHours": {"timezone": "Left out: the person's.", "windows": "None at all is never quiet."},
    "QuietWindow": {"days": "On which it begins.", "to": "Not after `from`: on the next day."},
    "Throttle": {"key": "By whose value they are counted apart."},
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
    "duration": "A length of time: `30s`, `10m`, `1h`, `7d`, or seconds.",
    "data_field": "A field of the data, such as `data.thread`.",
    "https_url": "An https URL.",
    "colour": "A colour such as `#0a7cff`.",
    "throttle_window": "From `1s` to `31d`.",
    "own_id": "Each has an `id` of its own.",
    "rate": "Such as `1000/60s`; `0` is no limit.",
    "bounded": "At most 32 levels deep.",
}
