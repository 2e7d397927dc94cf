"""Our count of segments against Twilio's own calculator (npm sms-segments-calculator)."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.sms.segments import count_segments

ORACLE = Path(__file__).parents[1] / "sms_oracle"
TEXTS = 10_000
INSTALL_DEADLINE_S = 100
COUNT_DEADLINE_S = 120

# Each is what one press of a key may write: signs come with what they stand on, because the calculator takes two signs
# on a flag apart. Characters are drawn from a few of these pools at a time.
POOLS: tuple[list[str], ...] = (
    list("abcdefgh XYZ.,?!12"),
    list("^{}\\[~]|€\f"),
    ["\r\n", "\n", "\r"],
    list("éàüßÑ"),
    list("жщыя"),
    list("漢字仮名"),
    ["😀", "🎉", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "🇫🇷", "🏳️‍🌈", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
    ["e\u0301", "a\u0308", "o\u0302\u0323"],
    ["한", "국", "어", "\u1112\u1161\u11ab"],
    ["क", "ष", "क्ष", "नि", "स्ते"],
    ["ก", "กำ", "ที่"],
    ["\u200b", "\u2013", "\u201c", "\u2019", "…"],
)
# Where a segment more begins.
EDGES = (67, 70, 134, 153, 160, 201, 306)

Count = Callable[[list[str]], list[tuple[str, int]]]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Count]:
    """Twilio's calculator, installed from the lock file."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        if os.environ.get("CARILLON_REQUIRE_REAL") == "1":
            pytest.fail("npm is not installed, and CARILLON_REQUIRE_REAL=1 forbids a skip", pytrace=False)
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("oracle") / "sms"
    shutil.copytree(ORACLE, folder)
    install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(  # noqa: S603 - our own command
        install, cwd=folder, check=True, capture_output=True, timeout=INSTALL_DEADLINE_S
    )

    def count(texts: list[str]) -> list[tuple[str, int]]:
        done = subprocess.run(  # noqa: S603 - our own command
            [node, "count.js"], cwd=folder, check=True, capture_output=True, timeout=COUNT_DEADLINE_S,
            input=json.dumps(texts).encode(),
        )  # fmt: skip
        return [(encoding, segments) for encoding, segments in json.loads(done.stdout)]

    yield count
    shutil.rmtree(folder)


def generated(seed: int) -> list[str]:
    """Texts of all lengths and mixtures, many of them at the edge of a segment."""
    chance = random.Random(seed)  # noqa: S311 - test data
    texts = []
    for _ in range(TEXTS):
        pools = chance.sample(POOLS, chance.randint(1, 4))
        weights = [chance.random() ** 3 for _ in pools]
        # Mostly short: the calculator's time grows with the square of the length.
        edge = chance.choice(EDGES) + chance.randint(-2, 2)
        length = chance.choice([chance.randint(0, 80), chance.randint(0, 80), edge])
        texts.append("".join(chance.choice(pool) for pool in chance.choices(pools, weights, k=length)))
    return texts


@pytest.mark.timeout(INSTALL_DEADLINE_S + COUNT_DEADLINE_S + 30)
def test_every_text_has_as_many_segments_as_twilio_counts(oracle: Count) -> None:
    # Other texts each time, and a failure says which.
    seed = random.randrange(2**32)  # noqa: S311 - test data
    texts = generated(seed)
    ours = [({"gsm7": "GSM-7", "ucs2": "UCS-2"}[found.encoding], found.count) for found in map(count_segments, texts)]
    wrong = [each for each in zip(texts, ours, oracle(texts), strict=True) if each[1] != each[2]]
    assert wrong == [], f"seed {seed}"
    assert len({count for _, count in ours}) > 5
