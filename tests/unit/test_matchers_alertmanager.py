"""Matchers are read, written and held against labels as Alertmanager does it; each difference stands here, with why.

The outcomes are those of Alertmanager 0.34: matcher/parse, matcher/compat, pkg/labels.
"""

import pytest

from shared.core.matchers import Matcher, MatcherError, Operator, read_matcher, read_matchers

M = Matcher
LIKE: Operator = "=~"
UNLIKE: Operator = "!~"

# What its UTF-8 parser takes, and what it reads there.
READ: list[tuple[str, tuple[Matcher, ...]]] = [
    ("", ()),
    ("{}", ()),
    (" { } ", ()),
    ("job=api", (M("job", "=", "api"),)),
    ("{job=api}", (M("job", "=", "api"),)),
    ("{job=api,}", (M("job", "=", "api"),)),
    ("job=api,", (M("job", "=", "api"),)),
    ("{job!=api}", (M("job", "!=", "api"),)),
    ("job!=api", (M("job", "!=", "api"),)),
    ("{job=~[a-z]+}", (M("job", LIKE, "[a-z]+"),)),
    ("job=~[a-z]+", (M("job", LIKE, "[a-z]+"),)),
    ("{job!~[a-z]+}", (M("job", UNLIKE, "[a-z]+"),)),
    ("job!~[a-z]+", (M("job", UNLIKE, "[a-z]+"),)),
    ("severity=~critical|warning", (M("severity", LIKE, "critical|warning"),)),
    ('alertname="HighLoad"', (M("alertname", "=", "HighLoad"),)),
    ('statuscode=~"5.."', (M("statuscode", LIKE, "5.."),)),
    ("{job=🙂}", (M("job", "=", "🙂"),)),
    ("{job=🙂api}", (M("job", "=", "🙂api"),)),
    ("job🙂=api", (M("job🙂", "=", "api"),)),
    ('{"job"="api"}', (M("job", "=", "api"),)),
    ('{"job"="api",}', (M("job", "=", "api"),)),
    ('"job"="api",', (M("job", "=", "api"),)),
    ('{"job"!="api"}', (M("job", "!=", "api"),)),
    ('{"job"=~"[a-z]+"}', (M("job", LIKE, "[a-z]+"),)),
    (r'{"job"=~"\\d+"}', (M("job", LIKE, r"\d+"),)),
    ('{"job"!~"[a-z]+"}', (M("job", UNLIKE, "[a-z]+"),)),
    ('{"job"="🙂"}', (M("job", "=", "🙂"),)),
    (r'{"job"="\xf0\x9f\x99\x82"}', (M("job", "=", "🙂"),)),
    (r'{"job"="\U0001f642"}', (M("job", "=", "🙂"),)),
    (r'{"job"="\u00e9\303\251"}', (M("job", "=", "éé"),)),
    (r'{"job"="api\n"}', (M("job", "=", "api\n"),)),
    (r'{"job"="api\t"}', (M("job", "=", "api\t"),)),
    ('{"job"="api\t"}', (M("job", "=", "api\t"),)),
    (r'{"job"="\"api\""}', (M("job", "=", '"api"'),)),
    (r'{"job"="api\\"}', (M("job", "=", "api\\"),)),
    (r'job="\a\b\f\n\r\t\v"', (M("job", "=", "\a\b\f\n\r\t\v"),)),
    ('job=""', (M("job", "=", ""),)),
    ('{job="a,b", zone="eu"}', (M("job", "=", "a,b"), M("zone", "=", "eu"))),
    ("{job=api,zone!=eu}", (M("job", "=", "api"), M("zone", "!=", "eu"))),
    ('{job="api",zone!="eu"}', (M("job", "=", "api"), M("zone", "!=", "eu"))),
    ("job=api,zone!=eu", (M("job", "=", "api"), M("zone", "!=", "eu"))),
    ('{job = "api", zone != "eu", }', (M("job", "=", "api"), M("zone", "!=", "eu"))),
    ('job != "\\"" , zone !~ "a,b" , ', (M("job", "!=", '"'), M("zone", UNLIKE, "a,b"))),
    ('{a="b",c!~".*d", e="f"}', (M("a", "=", "b"), M("c", UNLIKE, ".*d"), M("e", "=", "f"))),
    ("\njob\r=\u202fapi\u3000", (M("job", "=", "api"),)),
    ("$=hello:world", (M("$", "=", "hello:world"),)),
    ("0job=_x1", (M("0job", "=", "_x1"),)),
    ("job\x1c=api\x1f", (M("job\x1c", "=", "api\x1f"),)),
]

# What its UTF-8 parser refuses, and where we say the mistake is.
REFUSED: list[tuple[str, str]] = [
    (",", "at character 1: expected a label's name"),
    ("{,}", "at character 2: expected a label's name"),
    ("{a=b,,}", "at character 6: expected a label's name"),
    ("{", "at the end: expected a label's name"),
    ("}", "at character 1: expected a label's name"),
    ("{{a=b}", "at character 2: expected a label's name"),
    ("=b", "at character 1: expected a label's name"),
    ("job=api}", "at character 8: expected a comma or the end"),
    ("{job=api", "at the end: expected a comma or a closing brace"),
    ("{job=api}}", "at character 10: expected the end after the closing brace"),
    ("{job=api} b=c", "at character 11: expected the end after the closing brace"),
    ('{job=:"api"}', "at character 7: expected a comma or a closing brace"),
    ("a=b c=d", "at character 5: expected a comma or the end"),
    ("job", "at the end: expected an operator: =, !=, =~ or !~"),
    ("job!api", "at character 4: expected an operator: =, !=, =~ or !~"),
    ("job!", "at character 4: expected an operator: =, !=, =~ or !~"),
    ("invalid name = x", "at character 9: expected an operator: =, !=, =~ or !~"),
    ("job~api", "at character 4: this character must stand in double quotes"),
    ("job=!api", "at character 5: expected an operator: =, !=, =~ or !~"),
    (r'{job="api\w"}', r"at character 10: unknown escape; a backslash is written as \\"),
    (r'{"job"=~"\d+"}', r"at character 10: unknown escape; a backslash is written as \\"),
    (r'job="\'"', r"at character 6: unknown escape; a backslash is written as \\"),
    (r'job="\400"', r"at character 6: unknown escape; a backslash is written as \\"),
    (r"{job=api\n}", "at character 9: this character must stand in double quotes"),
    ('job="a\nb"', r"at character 7: write a line break as \n"),
    (r'{"job"="\xf0\x9f"}', "at character 8: not Unicode"),
    (r'job="\ud800"', "at character 6: not Unicode"),
    (r'job="\U00110000"', "at character 6: not Unicode"),
    ('job="api', "at character 5: these double quotes are never closed"),
    (r'job="api\"', "at character 5: these double quotes are never closed"),
    ('{job=~"invalid[regexp"}', "at character 7: not a regular expression of RE2: missing ]"),
    (r'job=~"(a)\\1"', "at character 6: not a regular expression of RE2: invalid escape sequence"),
    ('job=~"a(?=b)"', "at character 6: not a regular expression of RE2: invalid perl operator"),
    ('job=~"a{1001}"', "at character 6: not a regular expression of RE2: invalid repetition size"),
]

# Without a setting, Alertmanager reads by the older parser, too: it is asked where the new one refuses a text, and it
# is right where they differ. We have the new one alone, so that a text means one thing.
READ_BY_THE_OLDER_PARSER: list[tuple[str, Matcher, str]] = [
    ("job=", M("job", "=", ""), "at the end: expected a value"),
    ("{job='}", M("job", "=", "'"), "at character 6: this character must stand in double quotes"),
    ("{job=`}", M("job", "=", "`"), "at character 6: this character must stand in double quotes"),
    (r"{job=\"}", M("job", "=", '"'), "at character 6: this character must stand in double quotes"),
    ("job=~~~", M("job", LIKE, "~~"), "at character 6: this character must stand in double quotes"),
    ("job==x", M("job", "=", "=x"), "at character 5: expected a value"),
    ("{job=x}}", M("job", "=", "x}"), "at character 8: expected the end"),
    (r"{job=x\t}", M("job", "=", r"x\t"), "at character 7: this character must stand in double quotes"),
    (r'job="x\d"', M("job", "=", r"x\d"), "at character 7: unknown escape"),
    ("{job=", M("job", "=", ""), "at the end: expected a value"),
    ("job=a b", M("job", "=", "a b"), "at character 7: expected a comma"),
    ("code=~[0-9]{3}", M("code", LIKE, "[0-9]{3"), "at character 12: expected a comma"),  # it takes the brace off
]
OTHERWISE_BY_THE_OLDER_PARSER: list[tuple[str, Matcher, Matcher]] = [
    (r'job="\xf0\x9f\x99\x82"', M("job", "=", r"\xf0\x9f\x99\x82"), M("job", "=", "🙂")),
    (r'job="a\tb"', M("job", "=", r"a\tb"), M("job", "=", "a\tb")),
]

# What Alertmanager takes and we do not.
REFUSED_BY_US_ALONE: list[tuple[str, str, str]] = [
    ('""=api', "at character 1: the label's name must not be empty", "no label has an empty name"),
    ("a" * 201 + "=b", "at character 1: the label's name must have at most 200 characters", "a record has a bound"),
    ("a=" + "b" * 257, "at character 3: the value must have at most 256 characters", "a record has a bound"),
    (
        r'job=~"\\pL{1,300}"',
        "at character 6: not a regular expression of RE2: pattern too large",
        "an expression may take 64 KiB",
    ),
    (
        'job=~"a)|(b"',
        "at character 6: not a regular expression of RE2: unexpected )",
        "Alertmanager puts its anchors around the text, so that this becomes one; its silences refuse it, too",
    ),
]

# What we take and Alertmanager does not: both are RE2's, and Go's package has one of them in no form.
TAKEN_BY_US_ALONE: list[tuple[str, str]] = [
    (r'job=~"\\C"', "one byte, whatever it is"),
    (r'job=~"\\Qa.b"', "never closed by \\E: the anchors that Alertmanager puts around it become part of the text"),
]

# The matcher's operator and value, the label's value, and whether it fits.
FITS: list[tuple[Operator, str, str, bool]] = [
    ("=", "bar", "bar", True),
    ("=", "bar", "foo-bar", False),
    ("!=", "bar", "bar", False),
    ("!=", "bar", "foo-bar", True),
    ("=~", "bar", "bar", True),
    ("=~", "bar", "foo-bar", False),
    ("=~", ".*bar", "foo-bar", True),
    ("!~", "bar", "bar", False),
    ("!~", "bar", "foo-bar", True),
    ("!~", ".*bar", "foo-bar", False),
    ("=~", "foo.bar", "foo-bar", True),
    ("=~", r"foo\.bar", "foo-bar", False),
    ("=~", r"foo\.bar", "foo.bar", True),
    ("=", "foo\nbar", "foo\nbar", True),
    ("=~", "foo.bar", "foo\nbar", False),
    ("=~", "(?s)foo.bar", "foo\nbar", True),
    ("=", '~!="', '~!="', True),
    # Anchored as a whole, and the end is the end of the text.
    ("=~", "a|b", "ab", False),
    ("=~", "a|b", "b", True),
    ("=~", "^a$", "a", True),
    ("=~", "a$", "a\n", False),
    ("=~", "a", "a\n", False),
    ("=~", "(?i)crit.*", "CRITICAL", True),
    ("=~", r"\d", "5", True),
    ("=~", "a|", "", True),
    ("!~", "critical|warning", "warning", False),
    ("=~", "é.", "é🙂", True),
    # A missing label is the empty text.
    ("=", "", "", True),
    ("!=", "", "", False),
    ("!=", "bar", "", True),
    ("=~", ".*", "", True),
    ("=~", ".+", "", False),
    ("!~", ".+", "", True),
]

WRITTEN: list[tuple[Matcher, str]] = [
    (M("foo", "=", "bar"), 'foo="bar"'),
    (M("foo", "!=", "bar"), 'foo!="bar"'),
    (M("foo", LIKE, "bar"), 'foo=~"bar"'),
    (M("foo", UNLIKE, "bar"), 'foo!~"bar"'),
    (M("foo", "=", "back\\slash"), r'foo="back\\slash"'),
    (M("foo", "=", 'double"quote'), r'foo="double\"quote"'),
    (M("foo", "=", "new\nline"), r'foo="new\nline"'),
    (M("foo", "=", "🙂"), 'foo="🙂"'),
    (M("foo!", "!=", "bar"), '"foo!"!="bar"'),
    (M("foo🙂", "=", "bar"), 'foo🙂="bar"'),
    (M("foo bar", "=", "baz"), '"foo bar"="baz"'),
]
# Alertmanager writes these as they are. Both texts are read as the same; ours keeps a log and a terminal whole.
WRITTEN_OTHERWISE: list[tuple[Matcher, str, str]] = [
    (M("foo", "=", "tab\tstop"), 'foo="tab\tstop"', r'foo="tab\tstop"'),
    (M("foo", "=", "\x1b[2J"), 'foo="\x1b[2J"', r'foo="\u001b[2J"'),
]


@pytest.mark.parametrize(("text", "meant"), READ)
def test_a_text_is_read_as_alertmanager_reads_it(text: str, meant: tuple[Matcher, ...]) -> None:
    assert read_matchers(text) == meant
    assert read_matchers("{" + ",".join(map(str, meant)) + "}") == meant


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_what_alertmanager_refuses_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(MatcherError) as refused:
        read_matchers(text)
    assert str(refused.value) == problem


@pytest.mark.parametrize(("text", "older", "problem"), READ_BY_THE_OLDER_PARSER)
def test_what_only_the_older_parser_takes_is_refused(text: str, older: Matcher, problem: str) -> None:
    with pytest.raises(MatcherError) as refused:
        read_matchers(text)
    assert str(refused.value).startswith(problem)
    assert read_matcher(str(older)) == older


@pytest.mark.parametrize(("text", "older", "ours"), OTHERWISE_BY_THE_OLDER_PARSER)
def test_escapes_are_those_of_the_newer_parser(text: str, older: Matcher, ours: Matcher) -> None:
    assert read_matcher(text) == ours != older


@pytest.mark.parametrize(("text", "problem", "why"), REFUSED_BY_US_ALONE)
def test_what_we_refuse_and_alertmanager_takes(text: str, problem: str, why: str) -> None:
    with pytest.raises(MatcherError) as refused:
        read_matcher(text)
    assert str(refused.value).startswith(problem), why


@pytest.mark.parametrize(("text", "why"), TAKEN_BY_US_ALONE)
def test_what_we_take_and_alertmanager_refuses(text: str, why: str) -> None:
    assert str(read_matcher(text)) == text, why


@pytest.mark.parametrize(("text", "problem"), [("", "none"), ("{}", "none"), ("a=b,c=d", "several")])
def test_where_one_matcher_is_asked_for_another_number_is_refused(text: str, problem: str) -> None:
    with pytest.raises(MatcherError, match=f"^must be one matcher such as severity=critical, and holds {problem}$"):
        read_matcher(text)


@pytest.mark.parametrize(("op", "value", "label", "is_fit"), FITS)
def test_a_label_with_one_value_fits_as_in_alertmanager(op: Operator, value: str, label: str, is_fit: bool) -> None:
    matcher = Matcher("name", op, value)
    assert matcher.matches({"name": (label,)}) is is_fit
    if not label:
        assert matcher.matches({}) is matcher.matches({"name": ()}) is is_fit


@pytest.mark.parametrize(("matcher", "text"), WRITTEN)
def test_a_matcher_is_written_as_alertmanager_writes_it(matcher: Matcher, text: str) -> None:
    assert str(matcher) == text
    assert read_matcher(text) == matcher


@pytest.mark.parametrize(("matcher", "theirs", "ours"), WRITTEN_OTHERWISE)
def test_control_characters_are_written_as_escapes(matcher: Matcher, theirs: str, ours: str) -> None:
    assert str(matcher) == ours
    assert read_matcher(theirs) == read_matcher(ours) == matcher
