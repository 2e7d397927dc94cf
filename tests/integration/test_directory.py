"""The directory against a real Redis: records, their indexes, and two writers at once."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from shared.core.model import Channel, Platform
from shared.directory.directory import Directory, Members, TooManyCategories
from shared.directory.people import MobileDevice, OnCall, OwnChoices, Person
from shared.directory.person_change import PersonChange
from shared.directory.preferences import CATEGORIES, Preferences
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def directory(opened: Store) -> Directory:
    return Directory(opened, Keys())


def person(user_id: str = "user123", **fields: object) -> Person:
    return Person.model_validate({"user_id": user_id, **fields})


def registering(token: str) -> Callable[[Person, OwnChoices], OwnChoices]:
    """Make the change of a person who registers a device."""
    device = MobileDevice(platform=Platform.IOS, token=token, registered_at=datetime.now(UTC))
    return lambda _, own: own.model_copy(update={"devices": (*own.devices, device)})


def on(found: Person) -> dict[str, bool]:
    return {channel.value: found.choice(channel).on for channel in Channel}


def choosing(**channels: bool) -> Callable[[Person, OwnChoices], OwnChoices]:
    """Make the change of a person who switches channels on and off."""
    return lambda _, own: own.model_copy(update={"preferences": Preferences(**channels)})


async def everything(directory: Directory, members: Members, most: int = 100) -> list[str]:
    found: list[str] = []
    while page := await directory.page(members, found[-1] if found else "", most):
        found += page
    return found


async def everybody(directory: Directory) -> set[str]:
    parts = await asyncio.gather(*(everything(directory, part) for part in directory.everybody()))
    assert sum(map(len, parts)) == len(set().union(*parts))
    return set().union(*parts)


async def test_what_was_put_is_read_back(directory: Directory) -> None:
    written = person(
        email="user@example.com",
        phone="+15005550006",
        name="Ann",
        locale="de-DE",
        timezone="Europe/Paris",
        groups=["ops"],
        roles=["admin"],
        preferences={"sms": True, "push": False},
        devices=[{"platform": "ios", "token": "token-1"}],
    )
    before = datetime.now(UTC)
    await directory.put(written)
    read = await directory.person("user123")
    assert read is not None
    [device] = read.devices
    assert device.registered_at is not None
    assert before <= device.registered_at <= datetime.now(UTC)
    assert read == written.model_copy(update={"devices": (device,)})
    assert await directory.person("stranger") is None


async def test_many_are_read_at_once_and_those_without_a_record_left_out(directory: Directory) -> None:
    await asyncio.gather(*(directory.put(person(f"user{number}")) for number in range(20)))
    found = await directory.people(["stranger", *(f"user{number}" for number in range(20))])
    assert sorted(found) == sorted(f"user{number}" for number in range(20))
    assert await directory.people([]) == {}


async def test_a_user_stands_in_his_groups_among_everybody_and_as_an_admin(directory: Directory) -> None:
    await directory.put(person(groups=["a", "b"], roles=["admin"]))
    assert await everything(directory, directory.group("a")) == ["user123"]
    assert await everything(directory, directory.group("b")) == ["user123"]
    assert await everybody(directory) == {"user123"}
    assert await directory.admins() == ["user123"]


async def test_a_change_of_groups_and_roles_moves_him(directory: Directory) -> None:
    await directory.put(person(groups=["a", "b"], roles=["admin"]))
    await directory.put(person(groups=["b", "c"], roles=[]))
    groups = {name: await everything(directory, directory.group(name)) for name in "abc"}
    assert groups == {"a": [], "b": ["user123"], "c": ["user123"]}
    assert await directory.admins() == []


async def test_a_deleted_user_is_gone_from_everywhere(directory: Directory, opened: Store) -> None:
    await directory.put(person(groups=["a"], roles=["admin"], devices=[phone("company")]))
    await directory.choose("user123", registering("own"))
    await directory.delete("user123")
    await directory.delete("user123")
    assert await directory.person("user123") is None
    assert await everybody(directory) == set()
    # That he was deleted is all that is left.
    assert await opened.command("KEYS", "*") == [f"{Keys().user('user123')}:deleted".encode()]


async def test_a_put_that_is_repeated_completes_what_the_first_one_could_not(
    directory: Directory, opened: Store
) -> None:
    await directory.put(person(groups=["ops"], roles=["admin"]))
    # The record was written, and the store went away before the indexes were.
    await asyncio.gather(*(opened.command("DEL", key) for key in (Keys().group("ops"), Keys().admins)))
    await directory.put(person(groups=["ops"], roles=["admin"]))
    assert await everything(directory, directory.group("ops")) == ["user123"]
    assert await directory.admins() == ["user123"]


async def test_a_large_group_is_read_in_pages(directory: Directory) -> None:
    names = sorted(f"user{number:04}" for number in range(500))
    await asyncio.gather(*(directory.put(person(name, groups=["all"])) for name in names))
    assert await everything(directory, directory.group("all"), most=37) == names
    assert await everybody(directory) == set(names)


@pytest.mark.parametrize("user_id", ["ä ö", "a|b", "a}b", "{a}", "*", "user@example.com", "a:b", "-", "("])
async def test_any_identifier_is_a_user(directory: Directory, user_id: str) -> None:
    await directory.put(person(user_id, groups=[user_id]))
    assert await directory.person(user_id) == person(user_id, groups=[user_id])
    assert await everything(directory, directory.group(user_id), most=1) == [user_id]


async def test_changes_made_at_the_same_time_are_all_kept(directory: Directory) -> None:
    await directory.put(person())

    await asyncio.gather(*(directory.choose("user123", registering(f"token-{number}")) for number in range(20)))
    found = await directory.person("user123")
    assert found is not None
    assert len(found.devices) == 20
    assert await directory.choose("stranger", registering("token-1")) is None


async def test_writers_at_the_same_time_leave_the_indexes_complete(directory: Directory) -> None:
    for _ in range(20):
        await asyncio.gather(*(directory.put(person(groups=[group])) for group in ("a", "b", "c", "d")))
        found = await directory.person("user123")
        assert found is not None
        for group in found.groups:
            assert "user123" in await everything(directory, directory.group(group))


EARLIER = datetime(2026, 1, 5, 9, tzinfo=UTC)
LATER = EARLIER + timedelta(hours=1)


def phone(token: str, registered_at: datetime | None = None) -> dict[str, object]:
    return {"platform": "ios", "token": token, **({"registered_at": registered_at} if registered_at else {})}


async def test_a_record_that_is_written_again_keeps_when_its_devices_were_registered(directory: Directory) -> None:
    await directory.put(person(devices=[phone("old", EARLIER)]))
    await directory.put(person(devices=[phone("new"), phone("old")], name="Ann"))
    read = await directory.person("user123")
    assert read is not None
    new, old = read.devices
    assert old.registered_at == EARLIER
    assert new.registered_at is not None
    assert new.registered_at > LATER
    await directory.put(person(devices=[phone("old", LATER)]))
    read = await directory.person("user123")
    assert read is not None
    assert read.devices[0].registered_at == LATER


async def test_a_device_is_forgotten_unless_it_was_registered_after_it_was_found_gone(directory: Directory) -> None:
    await directory.put(person(devices=[phone("gone", EARLIER), phone("stays", EARLIER), phone("back", LATER)]))
    found_gone = EARLIER + timedelta(minutes=1)
    assert await directory.forget_device("user123", "gone", found_gone)
    assert not await directory.forget_device("user123", "back", found_gone)
    assert not await directory.forget_device("user123", "unknown", found_gone)
    assert not await directory.forget_device("nobody", "gone", found_gone)
    read = await directory.person("user123")
    assert read is not None
    assert [device.identity for device in read.devices] == ["stays", "back"]


async def test_a_device_of_a_record_from_before_times_were_kept_is_forgotten(
    directory: Directory, opened: Store
) -> None:
    old = person(devices=[phone("gone")]).model_dump_json(exclude_none=True)
    await opened.command("SET", f"{Keys().user('user123')}:record", old)
    assert await directory.forget_device("user123", "gone", EARLIER)


async def test_an_estimate_over_few_people_is_exact(directory: Directory) -> None:
    assert await directory.estimate(lambda person: len(person.devices)) == 0
    await asyncio.gather(
        *(directory.put(person(f"user{n}", devices=[phone(f"{n}-{m}") for m in range(n % 3)])) for n in range(60))
    )
    assert await directory.estimate(lambda person: len(person.devices)) == 60


async def test_the_on_call_entry_of_a_type_wins_over_the_one_for_any_type(directory: Directory) -> None:
    disk = OnCall.model_validate({"alert_type": "disk", "users": ["ann"]})
    fallback = OnCall.model_validate({"alert_type": "*", "users": ["user2"]})
    await directory.put_oncall("disk", disk)
    assert await directory.oncall(["disk", "cpu"]) == {"disk": disk}
    await directory.put_oncall("*", fallback)
    assert await directory.oncall(["disk", "cpu"]) == {"disk": disk, "cpu": fallback}
    await directory.delete_oncall("disk")
    assert await directory.oncall(["disk"]) == {"disk": fallback}
    assert await directory.oncall([]) == {}


async def test_a_rotation_with_overrides_is_read_back(directory: Directory) -> None:
    entry = OnCall.model_validate(
        {
            "alert_type": "disk",
            "layers": [
                {
                    "users": ["ann", "user2"],
                    "rotation": "weekly",
                    "start": "2026-01-05",
                    "handoff": "09:30",
                    "weekday": "monday",
                }
            ],
            "overrides": [{"user": "cem", "from": "2026-01-05T00:00:00Z", "until": "2026-01-06T00:00:00Z"}],
            "escalation": [
                {"after_s": 0, "notify": ["oncall"]},
                {"after_s": 60.5, "notify": ["user:boss"], "channels": ["sms"]},
            ],
            "repeat": 2,
        }
    )
    await directory.put_oncall("disk", entry)
    assert await directory.oncall(["disk"]) == {"disk": entry}


async def test_a_record_of_a_newer_version_is_read(directory: Directory, opened: Store) -> None:
    key = f"{Keys().user('user123')}:record"
    newer = (
        '{"user_id":"user123","email":"user@example.com","shoe_size":44,'
        '"preferences":{"sms":true,"letters":true},"devices":[{"platform":"ios","token":"token-1","model":"x"}]}'
    )
    await opened.command("SET", key, newer)
    found = await directory.person("user123")
    assert found is not None
    assert (found.email, found.preferences, len(found.devices)) == ("user@example.com", Preferences(sms=True), 1)


@pytest.mark.parametrize(
    "record", ["", "{", "null", '{"user_id":"user123","email":"hunter2"}', '{"devices":[{"platform":"watch"}]}']
)
async def test_an_unreadable_record_is_nobody_and_does_not_stop_the_others(
    directory: Directory, opened: Store, record: str, caplog: pytest.LogCaptureFixture
) -> None:
    await directory.put(person("other"))
    await opened.command("SET", f"{Keys().user('user123')}:record", record)
    with caplog.at_level(logging.ERROR):
        assert list(await directory.people(["user123", "other"])) == ["other"]
    assert "unreadable" in caplog.text
    assert "hunter2" not in caplog.text
    # It is repaired by the next write.
    await directory.put(person(groups=["a"]))
    assert await directory.person("user123") == person(groups=["a"])
    assert await everything(directory, directory.group("a")) == ["user123"]


async def test_an_unreadable_on_call_entry_leaves_its_type_to_the_admins(directory: Directory, opened: Store) -> None:
    await opened.command("HSET", Keys().oncall, "disk", '{"alert_type":"disk"}')
    assert await directory.oncall(["disk"]) == {}


async def test_a_write_sets_the_fields_that_it_names_and_leaves_the_others(directory: Directory) -> None:
    await directory.put(person(email="user@example.com", name="Ann", groups=["a"], preferences={"sms": True}))
    change = {"user_id": "user123", "name": None, "locale": "de-DE", "preferences": {"push": False, "sms": None}}
    await directory.put(PersonChange.read(change))
    assert await directory.person("user123") == person(
        email="user@example.com", groups=["a"], locale="de-DE", preferences={"push": False}
    )
    assert await everything(directory, directory.group("a")) == ["user123"]
    await directory.put(PersonChange.read({"user_id": "user123", "groups": None}))
    assert await everything(directory, directory.group("a")) == []
    assert await everybody(directory) == {"user123"}


async def test_what_a_person_chose_and_registered_outlives_a_write_to_the_directory(directory: Directory) -> None:
    await directory.put(person(preferences={"email": True, "sms": True}, devices=[phone("company")]))
    await directory.choose("user123", choosing(email=False))
    await directory.choose("user123", registering("own"))
    await directory.put(person(preferences={"email": True, "push": False}, devices=[]))
    found = await directory.person("user123")
    assert found is not None
    assert on(found) == {"realtime": True, "email": False, "sms": True, "push": False}
    assert [device.identity for device in found.devices] == ["own"]
    # What is chosen no more is as the directory has it.
    await directory.choose("user123", choosing())
    found = await directory.person("user123")
    assert found is not None
    assert on(found) == {"realtime": True, "email": True, "sms": True, "push": False}


@pytest.mark.parametrize("first_by", ["directory", "person"])
@pytest.mark.parametrize("then_by", ["directory", "person"])
async def test_a_device_that_changes_its_user_leaves_the_former_one(
    directory: Directory, first_by: str, then_by: str
) -> None:
    async def register(user_id: str, by: str) -> None:
        if by == "directory":
            await directory.put(person(user_id, devices=[phone("shared", LATER), phone(f"{user_id}-own")]))
        else:
            await directory.choose(user_id, registering("shared"))

    async def devices(user_id: str) -> set[str]:
        found = await directory.person(user_id)
        assert found is not None
        return {device.identity for device in found.devices}

    for user_id in ("user123", "user456"):
        await directory.put(person(user_id, devices=[phone(f"{user_id}-own")]))
    await register("user123", first_by)
    await register("user456", then_by)
    assert await devices("user123") == {"user123-own"}
    assert await devices("user456") == {"user456-own", "shared"}
    # And back.
    await register("user123", first_by)
    assert await devices("user123") == {"user123-own", "shared"}
    assert await devices("user456") == {"user456-own"}


async def test_own_choices_that_cannot_be_read_count_as_none(
    directory: Directory, opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await directory.put(person(email="user@example.com"))
    await opened.command("SET", f"{Keys().user('user123')}:own", '{"devices": "hunter2"}')
    with caplog.at_level(logging.ERROR):
        found = await directory.person("user123")
        assert found is not None
        assert (found.email, on(found)["email"]) == ("user@example.com", True)
    assert "unreadable" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_write_keeps_what_only_a_newer_version_knows(directory: Directory, opened: Store) -> None:
    key = f"{Keys().user('user123')}:record"
    await opened.command("SET", key, '{"user_id":"user123","shoe_size":44,"preferences":{"letters":true}}')
    await directory.put(person(name="Ann", preferences={"sms": True}))
    record = json.loads(await opened.command("GET", key))
    assert (record["shoe_size"], record["preferences"]) == (44, {"letters": True, "sms": True})


async def test_categories_that_add_up_to_too_many_are_refused_and_erase_nothing(directory: Directory) -> None:
    await directory.put(person(email="user@example.com", groups=["staff"]))

    def choices(name: str) -> PersonChange:
        categories = {f"{name}-{number}": {"email": False} for number in range(CATEGORIES - 50)}
        return PersonChange.read({"user_id": "user123", "preferences": {"categories": categories}})

    await directory.put(choices("first"))
    with pytest.raises(TooManyCategories):
        await directory.put(choices("second"))
    found = (await directory.people(["user123"]))["user123"]
    assert (found.email, found.groups) == ("user@example.com", ("staff",))
    assert set(found.preferences.categories) == set(choices("first").patch["preferences"]["categories"])
