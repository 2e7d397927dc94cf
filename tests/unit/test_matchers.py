"""Matchers: labels with several values, bounds, and what holds for every text."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.core.matchers import (
    LIST_CHARS,
    MATCHERS,
    NAME_CHARS,
    OPERATORS,
    TEXT_CHARS,
    VALUE_CHARS,
    Matcher,
    MatcherError,
    Operator,
    read_matcher,
    read_matchers,
)

SYSTEMS = {"system": ("db-1", "web-1")}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("system=db-1", True),
        ("system=web-1", True),
        ("system=db-2", False),
        ("system=~db-.*", True),
        ("system=~cache-.*", False),
        ("system!=db-1", False),
        ("system!=db-2", True),
        ("system!~web-.*", False),
        ("system!~cache-.*", True),
        ('system=""', False),
        ('system!=""', True),
    ],
)
def test_a_positive_matcher_needs_one_value_that_fits_and_a_negative_one_none(text: str, *, holds: bool) -> None:
    assert read_matcher(text).matches(SYSTEMS) is holds


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=VALUE_CHARS)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=NAME_CHARS)
labels = st.lists(st.text("ab\n🙂", max_size=3), min_size=1, max_size=3).map(tuple)
letters = st.text("abc", min_size=1, max_size=2)
# A family that both engines read alike: Python's end of a text is another one, so nothing here names it.
expressions = st.recursive(
    letters | st.sampled_from([".", "[a-b]", "[^a]", "[🙂é]", ""]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@st.composite
def matchers(draw: st.DrawFn) -> Matcher:
    op = draw(st.sampled_from(OPERATORS))
    return Matcher(draw(names), op, draw(texts if op in {"=", "!="} else expressions))


@given(matchers())
@example(Matcher("🙂" * NAME_CHARS, "=", "\x00" * VALUE_CHARS))
@example(Matcher("\x00" * NAME_CHARS, "!=", "\u2028" * VALUE_CHARS))
def test_what_is_written_is_read_as_the_same(matcher: Matcher) -> None:
    assert read_matcher(str(matcher)) == matcher
    assert str(matcher).isprintable() or not (matcher.name + matcher.value).isprintable()
    assert len(str(matcher).splitlines()) == 1


@given(st.lists(matchers(), max_size=MATCHERS))
def test_a_list_that_is_written_is_read_as_the_same(several: list[Matcher]) -> None:
    assert read_matchers("{" + ",".join(map(str, several)) + "}") == tuple(several)


SYNTAX = st.sampled_from(
    [*"{}!=~,\\\"'`", "=~", "!~", 'a="b"', '="', r"\x", r"\u12", r"\U0001f642", r"\777", "(", "[", "*", "\ud800", " "]
)


@given(st.lists(SYNTAX | st.text(max_size=4), max_size=12).map("".join))
def test_a_text_is_read_or_refused_with_the_place_and_in_one_line(text: str) -> None:
    found, refusal = _read(text)
    assert refusal is None or (refusal.startswith("at ") and refusal.isprintable())
    assert read_matchers("{" + ",".join(map(str, found)) + "}") == found


def _read(text: str) -> tuple[tuple[Matcher, ...], str | None]:
    try:
        return read_matchers(text), None
    except MatcherError as error:
        return (), str(error)


def test_a_refusal_does_not_repeat_the_text() -> None:
    for text in (
        'a=~"[secret"',
        "secret",
        "secret=secret secret",
        '"secret\\q"=x',
        'a="secret',
        "{secret",
        'a=~"(?secret',
    ):
        with pytest.raises(MatcherError) as refused:
            read_matcher(text)
        assert "secret" not in str(refused.value)


@given(expressions, st.text("abc🙂\n", max_size=6))
def test_re2_and_python_agree_on_simple_expressions(expression: str, text: str) -> None:
    assert Matcher("a", "=~", expression).matches({"a": (text,)}) is (re.fullmatch(expression, text) is not None)


@given(st.sampled_from(OPERATORS), expressions, labels)
def test_several_values_are_as_each_of_them(op: Operator, value: str, values: tuple[str, ...]) -> None:
    matcher = Matcher("a", op, value)
    each = [matcher.matches({"a": (one,)}) for one in values]
    assert matcher.matches({"a": values}) is (any(each) if matcher.is_positive else all(each))


def test_a_value_that_is_not_unicode_is_held_against_an_expression_all_the_same() -> None:
    assert Matcher("a", "=~", ".").matches({"a": ("\ud800",)})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a=" + " " * TEXT_CHARS, f"must have at most {TEXT_CHARS} characters"),
        ("a" * (NAME_CHARS + 1) + "=b", f"at character 1: the label's name must have at most {NAME_CHARS} characters"),
        ("a=" + "b" * (VALUE_CHARS + 1), f"at character 3: the value must have at most {VALUE_CHARS} characters"),
        ("\ud800=a", "at character 1: the label's name is not Unicode"),
        ("a=\udcff", "at character 3: the value is not Unicode"),
    ],
)
def test_what_is_out_of_bounds_is_refused(text: str, problem: str) -> None:
    with pytest.raises(MatcherError) as refused:
        read_matcher(text)
    assert str(refused.value) == problem


def test_a_list_has_a_bound() -> None:
    assert len(read_matchers(",".join(["a=b"] * MATCHERS))) == MATCHERS
    with pytest.raises(MatcherError, match=f"^must be at most {MATCHERS} matchers$"):
        read_matchers(",".join(["a=b"] * (MATCHERS + 1)))
    with pytest.raises(MatcherError, match=f"^must have at most {LIST_CHARS} characters$"):
        read_matchers(" " * (LIST_CHARS + 1))


@pytest.mark.timeout(2)
def test_a_list_is_not_read_beyond_its_bound() -> None:
    """These are 9,000 expressions, and would take longer than the test may."""
    with pytest.raises(MatcherError, match=f"^must be at most {MATCHERS} matchers$"):
        read_matchers(",".join(f'a=~".{{250}}{number}"' for number in range(9_000)))


@pytest.mark.parametrize("expression", [r"(?:\pL{1,1000}){1,1000}", r"(?i)\pL{900}", "((a{1,100}){1,100}){1,100}"])
def test_an_expression_that_would_take_much_memory_is_refused(expression: str) -> None:
    with pytest.raises(MatcherError, match=r"^not a regular expression of RE2: (pattern too large|invalid repetition)"):
        Matcher("a", "=~", expression)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "expression", ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*)*.*=.*", "([a-z]+)*[0-9]", "(a?){60}a{60}b"]
)
def test_an_expression_that_would_run_for_ever_elsewhere_ends(expression: str) -> None:
    """Python's own engine takes longer than the universe for some of these."""
    assert not Matcher("a", "=~", expression).matches({"a": ("a" * 10_000,)})


def test_a_refused_expression_writes_nothing_to_the_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MatcherError):
        Matcher("a", "=~", "[" + string.ascii_letters)
    assert capfd.readouterr() == ("", "")
