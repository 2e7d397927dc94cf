"""Messages between realtime processes, and cursors."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.realtime.sessions.news import CountNews, EntryNews, News, PersonNews, StatusNews, decode, encode
from shared.inbox.cursor import Cursor, Part
from shared.inbox.feed import FeedNews
from shared.inbox.timeline import FeedEntry

NEWS: list[News] = [
    EntryNews("user1", "e" * 16, 0, 2**51, 3, 7, quiet=True, body='{"id":"ä\\n"}'),
    EntryNews("user1", "e" * 16, 0, 2**51, 3, 7, quiet=False, body="{}", order=2**52),
    CountNews("user1", 1, 2, 3, 4, 2**51),
    CountNews("user1", 1, 2, 3, 4, 2**51, 2**42, {"acme": 1}, {"acme": 2, "other": 1}),
    EntryNews("user1", "e" * 16, 0, 2**51, 3, 7, quiet=False, body="{}", order=2**52, tenants={"acme": 3}),
    PersonNews("user1"),
    StatusNews(5, '{"type":"status"}'),
    FeedNews("f" * 16, 1, FeedEntry(2, "n1", None, b"{}")),
    FeedNews("f" * 16, 1, FeedEntry(2, "n1", None, b"{}", 2**52)),
    FeedNews("f" * 16, 1, FeedEntry(2, "n1", frozenset({"ops", "sales"}), b"{}")),
]


@pytest.mark.parametrize("news", NEWS)
def test_what_one_process_writes_another_reads(news: News) -> None:
    assert decode(encode(news).encode()) == news


def test_the_previous_release_finds_no_field_in_a_frame_that_it_does_not_know() -> None:
    entry, broadcast = json.loads(encode(NEWS[1])), json.loads(encode(NEWS[8]))
    assert set(entry["frame"]) == {"type", "epoch", "before", "seq", "unread", "version", "quiet", "body"}
    assert set(broadcast["frame"]) == {"type", "epoch", "before", "seq", "id", "groups", "body"}
    counts = json.loads(encode(NEWS[3]))
    assert set(counts["frame"]) == {"type", "own", "version", "feed", "feed_version", "feed_seq"}
    del entry["order"]
    assert isinstance(NEWS[1], EntryNews)
    assert decode(json.dumps(entry).encode()) == replace(NEWS[1], order=0)


def test_fields_of_a_user_stand_beside_the_frame() -> None:
    message = json.loads(encode(NEWS[2]))
    assert (message["v"], message["user_id"], message["frame"]["type"]) == (1, "user1", "unread")


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"[]", b"5", b"\xff", b'{"v":2,"frame":{"type":"status"}}', b'{"v":1}', b'{"v":1,"frame":[]}',
        b'{"v":1,"frame":{"type":"unheard of"},"user_id":"user1"}',
        b'{"v":1,"frame":{"type":"unread"},"user_id":"user1"}',
        b'{"v":"1","frame":{}}', b'{"v":1,"frame":{"type":"feed"}}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_skipped(payload: bytes) -> None:
    assert decode(payload) is None


EPOCHS = st.one_of(st.just(""), st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex))
SEQUENCES = st.integers(0, 2**53)
PARTS = st.none() | st.builds(Part, SEQUENCES, SEQUENCES, st.integers(0, 2**54 + 1))


@given(EPOCHS, SEQUENCES, EPOCHS, SEQUENCES, PARTS)
def test_cursor_comes_back_as_it_went(
    user_epoch: str, user_seq: int, feed_epoch: str, feed_seq: int, part: Part | None
) -> None:
    cursor = Cursor(user_epoch, user_seq, feed_epoch, feed_seq, part)
    text = cursor.encode()
    assert Cursor.decode(text) == cursor
    assert text.isascii()
    assert not set(text) & set("=+/")


@given(st.text(max_size=60))
def test_text_that_is_no_cursor_is_noticed(text: str) -> None:
    cursor = Cursor.decode(text)
    assert cursor is None or len(text) >= 43
