"""Whose fault a refusal is: a table of what was told to whom, and longer stories under a clock that the test moves."""

from itertools import count

import pytest

from shared.core.model import (
    Address,
    AppEnvironment,
    Channel,
    Delivery,
    EmailAddress,
    MobileToken,
    PhoneNumber,
    Platform,
    Priority,
    UserInbox,
    WebSubscription,
)
from shared.delivery import witnesses
from shared.delivery.witnesses import (
    ENOUGH,
    ENOUGH_PROVEN,
    KEPT,
    LASTING_S,
    MOST_REFUSALS,
    PROVEN_S,
    Blame,
    Judgement,
    Witness,
    Witnesses,
    peer_of,
    witness_of,
)
from tests.fakes.clock import Seconds

POLICY = "5.7"
NO_MAILBOX = "5.1.1"


def delivery(address: Address, recipient: str | None = None) -> Delivery:
    return Delivery(
        key="k", channel=Channel.EMAIL, priority=Priority.NORMAL, address=address, recipient=recipient, expires_ms=2**42
    )


class Provider:
    """A provider that is asked for one delivery after the other, as the delivery loop does it."""

    def __init__(self) -> None:
        self.seconds = Seconds()
        self.witnesses = Witnesses(self.seconds)
        self._numbers = count()
        self._refused: dict[tuple[str, str], tuple[int, float]] = {}

    def witness(self, name: str, notification: str | None = None, owner: str | None = None) -> Witness:
        """Somebody's address; a notification of its own where the test names none."""
        found = witness_of(
            delivery(EmailAddress(email=f"{name}@example.com"), owner), notification or f"n{next(self._numbers)}"
        )
        assert found is not None
        return found

    def accept(self, name: str = "", notification: str | None = None) -> None:
        self.seconds.now_s += 0.01
        self.witnesses.accepted(self.witness(name or f"good{next(self._numbers)}", notification))

    def refuse(
        self, name: str, code: str = POLICY, notification: str | None = None, owner: str | None = None
    ) -> Judgement:
        """Refuse one delivery; the same name and notification are the same delivery, again."""
        self.seconds.now_s += 0.01
        key = (name, notification or name)
        times, first_s = self._refused.get(key, (0, self.seconds.now_s))
        judged = self.witnesses.refused(
            self.witness(name, notification or name, owner), code, times, self.seconds.now_s - first_s
        )
        self._refused[key] = (judged.times, first_s if judged.times > 1 else self.seconds.now_s)
        return judged

    def refuse_many(self, how_many: int, prefix: str = "somebody", code: str = POLICY) -> list[Blame]:
        return [self.refuse(f"{prefix}{number}", code).blame for number in range(how_many)]


@pytest.fixture
def provider() -> Provider:
    return Provider()


OURS, THEIRS, NOT_YET = Blame.OURS, Blame.THEIRS, Blame.NOT_KNOWN_YET


# What the provider said, one after the other: + is the acceptance of another one, a letter the refusal of one address,
# a digit a wait of so many seconds. And the judgement of the last refusal.
@pytest.mark.parametrize(
    ("story", "blame"),
    [
        pytest.param("a", NOT_YET, id="the first one says nothing"),
        pytest.param("++++++++++a", NOT_YET, id="what was accepted before says nothing, every outage has a beginning"),
        pytest.param("a+", NOT_YET, id="it is not judged before it is repeated"),
        pytest.param("a+a", THEIRS, id="another one was accepted meanwhile"),
        pytest.param("++a2++a", THEIRS, id="others were accepted before and meanwhile"),
        pytest.param("a2a4a8a", NOT_YET, id="alone"),
        pytest.param("a2a4a8aaa", THEIRS, id="alone, as often as anybody waits for"),
        pytest.param("abcd", NOT_YET, id="four are not enough"),
        pytest.param("abcde", OURS, id="everybody"),
        pytest.param("+abcde", NOT_YET, id="as many, where somebody was accepted a moment ago"),
        pytest.param("abcde+a", NOT_YET, id="everybody, and then one was accepted"),
        pytest.param("abcde+++++a", THEIRS, id="everybody there was, who were few"),
        pytest.param("abcd2+++a", NOT_YET, id="fewer were accepted than refused"),
        pytest.param("abcd2++++a", THEIRS, id="as many were accepted as refused"),
        pytest.param("abcdefgh+a", NOT_YET, id="one was accepted of nine"),
        pytest.param("abc2+++++de3a", THEIRS, id="a few that are beginning do not protect another"),
        pytest.param("a2+bcde2a", NOT_YET, id="a is one of many that are being refused all at once"),
    ],
)
def test_whose_fault_it_is(provider: Provider, story: str, blame: Blame) -> None:
    judged = Judgement(NOT_YET, 0)
    for mark in story:
        if mark == "+":
            provider.accept()
        elif mark.isdigit():
            provider.seconds.now_s += int(mark)
        else:
            judged = provider.refuse(mark)
    assert judged.blame is blame


def test_after_it_has_worked_many_more_and_some_time_are_needed(provider: Provider) -> None:
    provider.accept()
    assert set(provider.refuse_many(ENOUGH_PROVEN)) == {NOT_YET}
    provider.seconds.now_s += LASTING_S
    assert provider.refuse("one more").blame is OURS
    later = Provider()
    later.accept()
    later.seconds.now_s += PROVEN_S
    assert later.refuse_many(ENOUGH)[-1] is OURS


def test_one_person_is_one_witness_and_so_is_one_text(provider: Provider) -> None:
    blames = {provider.refuse(f"device{number}", owner="user123").blame for number in range(100)}
    assert OURS not in blames
    for _ in range(3):
        provider.accept()
    # A text that the relay takes for spam, to everybody: the others' mail is accepted.
    for number in range(50):
        provider.refuse(f"reader{number}", notification="spam")
    provider.accept()
    again = [provider.refuse(f"reader{number}", notification="spam") for number in range(50)]
    assert [each.blame for each in again] == [THEIRS] * 50


def test_a_newsletter_that_some_got_protects_nobody_from_an_outage(provider: Provider) -> None:
    provider.refuse("wrong", notification="news")
    for number in range(50):
        provider.accept(f"reader{number}", notification="news")
    provider.seconds.now_s += 60
    blames = [provider.refuse(f"later{number}", notification="news").blame for number in range(200)]
    assert THEIRS not in blames
    assert blames[-1] is OURS


def test_other_codes_are_other_stories(provider: Provider) -> None:
    assert OURS not in {provider.refuse(f"a{number}", code=str(number)).blame for number in range(100)}


def test_who_is_refused_while_everybody_is_does_not_pay_for_it_later(provider: Provider) -> None:
    for _ in range(30):
        provider.accept()
    first = provider.refuse("early")
    provider.seconds.now_s += LASTING_S
    assert provider.refuse_many(40)[-1] is OURS
    # It is over: somebody else, and then one of those that were refused.
    provider.accept()
    provider.accept("somebody7")
    for _ in range(30):
        provider.accept()
    # And it begins again.
    again = provider.refuse("early")
    assert (first.blame, again) == (NOT_YET, Judgement(NOT_YET, 1))
    assert THEIRS not in provider.refuse_many(40)


def test_while_nearly_everybody_is_refused_patience_has_no_end(provider: Provider) -> None:
    # A relay that takes mail to its own domain alone, and for the others says "relay access denied".
    for turn in range(3 * MOST_REFUSALS):
        provider.seconds.now_s += 60
        blames = provider.refuse_many(60)
        if turn:
            provider.accept("operator")
        assert THEIRS not in blames


def test_a_list_of_wrong_addresses_stops_nobody_for_long_and_ends(provider: Provider) -> None:
    """Two hundred wrong addresses come at once, beside a good mail every second; what is refused comes again later."""
    waiting = {f"wrong{number}": 0.0 for number in range(200)}
    closed_s, last_s = 0.0, 0.0
    for second in range(1, 400):
        provider.seconds.now_s += 1
        due = [name for name, due_s in waiting.items() if due_s <= second]
        for name in due:
            judged = provider.refuse(name, NO_MAILBOX)
            if judged.blame is THEIRS:
                del waiting[name]
                last_s = second
            else:
                waiting[name] = second + min(2.0**judged.times, 60)
        closed_s += provider.witnesses.against_us
        provider.accept()
    assert waiting == {}
    assert closed_s <= 5
    assert last_s <= 300


def test_an_address_that_is_known_to_be_wrong_is_judged_at_once(provider: Provider) -> None:
    provider.refuse("gone", NO_MAILBOX, notification="n1")
    for _ in range(3):
        provider.accept()
    assert provider.refuse("gone", NO_MAILBOX, notification="n2") == Judgement(THEIRS, 1, by_others=True)


def test_only_what_others_show_says_that_the_address_is_at_fault(provider: Provider) -> None:
    for _ in range(MOST_REFUSALS - 1):
        provider.refuse("alone")
    assert provider.refuse("alone") == Judgement(THEIRS, MOST_REFUSALS, by_others=False)
    provider.accept()
    assert provider.refuse("alone").by_others


def test_another_processs_refusals_count(provider: Provider) -> None:
    witness = provider.witness("somebody")
    provider.seconds.now_s += 60
    for _ in range(5):
        provider.accept()
    assert provider.witnesses.refused(witness, POLICY, times=1, since_s=2.0).blame is THEIRS
    assert provider.witnesses.refused(provider.witness("x"), POLICY, times=MOST_REFUSALS - 1, since_s=0).blame is THEIRS


def test_the_probe_is_better_somebody_who_was_not_refused(provider: Provider) -> None:
    provider.refuse("somebody", notification="n1")
    assert provider.witnesses.knows(provider.witness("somebody", "n2"))
    assert provider.witnesses.knows(provider.witness("another", "n1"))
    assert not provider.witnesses.knows(provider.witness("another", "n2"))
    provider.accept("somebody", "n2")
    assert not provider.witnesses.knows(provider.witness("somebody", "n2"))


def test_memory_is_bounded_and_holds_no_address(provider: Provider) -> None:
    for number in range(3 * KEPT):
        provider.refuse(f"refused{number}", code=str(number % 7))
        provider.accept(f"accepted{number}")
    kept = {name: value for name, value in vars(provider.witnesses).items() if hasattr(value, "__len__")}
    assert {name: len(value) for name, value in kept.items()} == {
        "_refused": KEPT, "_accepted": KEPT, "_refused_notifications": KEPT, "_accepted_notifications": KEPT,
    }  # fmt: skip
    assert "example.com" not in repr(kept)


def test_a_hash_says_nothing_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    to = delivery(EmailAddress(email="User@Example.com"))
    ours = witness_of(to, "n1")
    assert ours == witness_of(delivery(EmailAddress(email="user@example.com")), "n1")
    monkeypatch.setattr(witnesses, "_KEY", b"another process's")
    assert ours != witness_of(to, "n1")


def web(endpoint: str) -> WebSubscription:
    return WebSubscription(endpoint=endpoint, p256dh="", auth="")


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (EmailAddress(email="user@example.com"), ""),
        (PhoneNumber(phone="+491701234567"), ""),
        (MobileToken(platform=Platform.ANDROID, token="t"), ""),
        (MobileToken(platform=Platform.IOS, token="t"), "production"),
        (MobileToken(platform=Platform.IOS, token="t", environment=AppEnvironment.PRODUCTION), "production"),
        (MobileToken(platform=Platform.IOS, token="t", environment=AppEnvironment.SANDBOX), "sandbox"),
        (web("https://fcm.googleapis.com/fcm/send/abc"), "fcm.googleapis.com"),
        (web("https://user:pass@Push.Example.com:8443/x@y/z"), "push.example.com:8443"),
        (web("no url"), ""),
    ],
)
def test_each_server_has_its_own_witnesses(address: Address, peer: str) -> None:
    assert peer_of(delivery(address)) == peer
    assert witness_of(delivery(address), "n1") is not None


def test_nobody_refuses_an_inbox() -> None:
    assert witness_of(delivery(UserInbox(user_id="user123")), "n1") is None
