"""Topic names: what one side builds the other side parses, under any prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.model import Channel, Priority
from shared.core.topics import Inflow, Kind, Route, Topics
from shared.directory.publishers import matches

_WITHOUT_PARAMETER = {
    Kind.REALTIME_BROADCAST,
    Kind.SYSTEM_STATUS,
    Kind.SYSTEM_MAINTENANCE,
    Kind.EMAIL_SEND,
    Kind.EMAIL_BATCH,
    Kind.SMS_SEND,
}

# One level of a topic, and the prefixes that the setting TOPIC_PREFIX lets through.
_levels = st.text(st.characters(exclude_characters="/+#\x00", exclude_categories=["Cs"]), min_size=1, max_size=40)
_prefixes = st.text(st.characters(exclude_characters="+#{}\x00", exclude_categories=["Cs"]), max_size=20)


@given(prefix=_prefixes, level=_levels, kind=st.sampled_from(Kind))
def test_every_topic_that_is_built_is_parsed_back(prefix: str, level: str, kind: Kind) -> None:
    topics = Topics(prefix)
    route = topics.parse(topics.publish(kind, level))
    assert route is not None
    assert route.kind is kind
    assert list(route.params.values()) == ([] if kind in _WITHOUT_PARAMETER else [level])


@given(prefix=_prefixes.filter(bool), level=_levels, kind=st.sampled_from(Kind))
def test_a_topic_of_another_prefix_is_unknown(prefix: str, level: str, kind: Kind) -> None:
    assert Topics().parse(Topics(prefix).publish(kind, level)) is None
    assert Topics(prefix).parse(Topics().publish(kind, level)) is None


# The wire contract's section 2, word for word: these names are what publishers have written down.
@pytest.mark.parametrize(
    ("topic", "route"),
    [
        ("notifications/realtime/user/user123", Route(Kind.REALTIME_USER, {"user_id": "user123"})),
        ("notifications/realtime/group/ops", Route(Kind.REALTIME_GROUP, {"group_id": "ops"})),
        ("notifications/realtime/broadcast", Route(Kind.REALTIME_BROADCAST, {})),
        ("notifications/alerts/critical/disk", Route(Kind.ALERT_CRITICAL, {"alert_type": "disk"})),
        ("notifications/alerts/warning/disk", Route(Kind.ALERT_WARNING, {"alert_type": "disk"})),
        ("notifications/alerts/info/disk", Route(Kind.ALERT_INFO, {"alert_type": "disk"})),
        ("notifications/alerts/acknowledge/id1", Route(Kind.ALERT_ACKNOWLEDGE, {"alert_id": "id1"})),
        ("notifications/alerts/resolve/id1", Route(Kind.ALERT_RESOLVE, {"alert_id": "id1"})),
        ("notifications/system/status", Route(Kind.SYSTEM_STATUS, {})),
        ("notifications/system/maintenance", Route(Kind.SYSTEM_MAINTENANCE, {})),
        ("notifications/email/send", Route(Kind.EMAIL_SEND, {})),
        ("notifications/email/batch", Route(Kind.EMAIL_BATCH, {})),
        ("notifications/sms/send", Route(Kind.SMS_SEND, {})),
        ("notifications/push/mobile/ios", Route(Kind.PUSH_MOBILE, {"platform": "ios"})),
        ("notifications/cancel/id1", Route(Kind.CANCEL, {"notification_id": "id1"})),
        ("websocket/connect/user123", Route(Kind.SESSION_CONNECT, {"user_id": "user123"})),
        ("websocket/disconnect/user123", Route(Kind.SESSION_DISCONNECT, {"user_id": "user123"})),
        ("websocket/heartbeat/user123", Route(Kind.SESSION_HEARTBEAT, {"user_id": "user123"})),
        ("directory/user/user123", Route(Kind.DIRECTORY_USER, {"user_id": "user123"})),
        ("directory/oncall/*", Route(Kind.DIRECTORY_ONCALL, {"alert_type": "*"})),
    ],
)
def test_the_contract_names_these_topics(topic: str, route: Route) -> None:
    assert Topics().parse(topic) == route


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "notifications",
        "notifications/realtime/user",
        "notifications/realtime/user/",
        "notifications/realtime/user/a/b",
        "notifications/realtime/broadcast/",
        "notifications/Email/send",
        "notifications/events/01890000-0000-7000-8000-000000000000",
        "internal/email/normal",
        "x/notifications/email/send",
    ],
)
def test_a_topic_that_the_contract_does_not_name_is_unknown(topic: str) -> None:
    assert Topics().parse(topic) is None


def test_lanes_and_events_are_told_from_the_rest_under_the_same_prefix() -> None:
    topics = Topics("staging/")
    assert topics.inflow(topics.publish(Kind.ALERT_CRITICAL, "disk")) is Inflow.ALERTS
    assert topics.inflow(topics.of_publisher("shop", topics.publish(Kind.ALERT_CRITICAL, "disk"))) is Inflow.ALERTS
    assert topics.inflow(topics.publish(Kind.ALERT_ACKNOWLEDGE, "id1")) is Inflow.ACTIONS
    assert topics.inflow(topics.of_publisher("shop", topics.publish(Kind.CANCEL, "id1"))) is Inflow.ACTIONS
    assert topics.inflow(topics.publish(Kind.ALERT_WARNING, "disk")) is Inflow.GENERAL
    assert topics.inflow(Topics().publish(Kind.ALERT_CRITICAL, "disk")) is Inflow.GENERAL
    assert topics.is_event(topics.event("id1"))
    assert topics.is_event(topics.action("id1", "approve"))
    assert not topics.is_event(topics.publish(Kind.CANCEL, "id1"))
    assert not topics.is_event(topics.of_publisher("shop", topics.event("id1")))


def test_a_topic_says_who_publishes() -> None:
    topics = Topics("staging/")
    route = topics.parse("staging/from/shop/notifications/realtime/user/user123")
    assert route == Route(Kind.REALTIME_USER, {"user_id": "user123"}, "shop")
    assert topics.plain("staging/from/shop/notifications/email/send") == "notifications/email/send"
    for unknown in ("from//notifications/email/send", "from/-/notifications/email/send", "from/shop", "from/shop/"):
        assert topics.parse("staging/" + unknown) is None
    assert topics.parse("from/shop/notifications/email/send") is None
    assert topics.nearest("staging/from/shop/notifications/emial/send") == "staging/from/shop/notifications/email/send"
    assert topics.masked("staging/from/shop/notifications/email/send") == "from/{publisher}/notifications/email/send"
    assert topics.masked("staging/from/shop/notifications/x/user@example.com") == "from/{publisher}/notifications/*/*"


@pytest.mark.parametrize(
    ("topic", "publisher", "answers"),
    [
        ("receipts/shop/1", "-", True),
        ("receipts/shop/1", "shop", True),
        ("receipts/other/1", "shop", False),
        ("receipts/shop", "shop", False),
        ("receipts/shop2/1", "shop", False),
        ("receipts/shop/", "shop", False),
    ],
)
def test_a_known_publisher_is_answered_below_its_own_name(topic: str, publisher: str, *, answers: bool) -> None:
    assert Topics().is_receipt(topic, publisher) is answers


@given(prefix=_prefixes, priority=st.sampled_from(Priority), channel=st.sampled_from(Channel))
def test_a_lane_reads_what_is_published_for_it(prefix: str, priority: Priority, channel: Channel) -> None:
    topics = Topics(prefix)
    assert topics.jobs(channel, priority) == f"{prefix}internal/{channel}/{priority}"
    assert topics.jobs_filter(channel, priority) == f"$share/{channel}/{topics.jobs(channel, priority)}"


def test_every_publish_is_read_by_its_lane_and_by_no_other_but_the_general_one() -> None:
    topics = Topics("staging/")
    for kind in Kind:
        for topic in (plain := topics.publish(kind, "one"), topics.of_publisher("shop", plain)):
            readers = {
                inflow
                for inflow in Inflow
                for name in topics.intake_filters(inflow)
                if matches(name.removeprefix("$share/router/"), topic)
            }
            inflow = topics.inflow(topic)
            is_alone = topic == plain and inflow is Inflow.LIVENESS
            assert readers == ({inflow} if is_alone else {inflow, Inflow.GENERAL}), topic
