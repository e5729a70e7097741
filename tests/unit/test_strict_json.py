"""Every text is a JSON value as Python reads it, or refused in few words; nothing else happens."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt.strict_json import DEEPEST, DIGITS, SHOWN, JsonError, cut, parse, parse_object

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_what_json_can_say_is_read_as_python_reads_it(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse(text) == parse(text.encode()) == json.loads(text) == value


@settings(max_examples=300)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"{", b"}", b"[", b"]", b'"a"', b":", b",", b"NaN", b"1e999", b"-", b"0",
                         b"\\ud800", b'"\\ud800"', b"\xff", b" ", b"9" * 5000, b"[" * 3000]),
        max_size=12,
    ).map(b"".join)
)  # fmt: skip
def test_any_bytes_are_a_value_or_a_short_error(line: bytes) -> None:
    try:
        value = parse(line)
    except JsonError as error:
        assert 0 < len(str(error)) <= SHOWN
    else:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"id": ' + "9" * 5000 + "}", "a number of 5,000 digits"),
        ('{"id": -' + "9" * 5000 + ".5}", "out of range"),
        ("[" * 20_000, "deep"),
        ("[" * 20_000 + "]" * 20_000, "deep"),
        ('{"a":' * 20_000, "deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deep"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ("[-Infinity]", "-Infinity is no JSON value"),
        ("1e999", "out of range"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ('[{"' + "k" * 9999 + '": 1, "' + "k" * 9999 + '": 1}]', "stands twice"),
        (r'{"a": ["x\ud800"]}', r"half of a surrogate pair \(U\+D800"),
        (r'{"\uDFFF": 1}', r"U\+DFFF"),
        (b'{"a": "\xff"}', r"not UTF-8 \(byte 8\)"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        ('{"a": 1', "not JSON at column 8"),
        ('{"a": 1}\n}', r"not JSON at line 2 \(Extra data\)"),
        ("", "not JSON"),
    ],
)
def test_what_is_refused_says_why(text: str | bytes, reason: str) -> None:
    with pytest.raises(JsonError, match=reason) as error:
        parse(text)
    assert len(str(error.value)) <= SHOWN


def test_the_limits_themselves_pass() -> None:
    assert parse("9" * DIGITS) == int("9" * DIGITS)
    nested = "[" * DEEPEST + "]" * DEEPEST
    assert json.dumps(parse(nested)) == nested
    assert len(parse(json.dumps([[]] * 50_000))) == 50_000  # many brackets, two deep
    assert parse(r'"\ud83d\ude00 \\ud800"') == "\U0001f600 \\ud800"
    assert parse(r'"\ud800"', halves=True) == "\ud800"
    assert parse('"123"', longest=5) == "123"
    with pytest.raises(JsonError, match="longer than 5 characters"):
        parse('"1234"', longest=5)
    with pytest.raises(JsonError, match="longer than 5 bytes"):
        parse('"é12"'.encode(), longest=5)


def test_an_object_is_told_from_other_values() -> None:
    assert parse_object('{"a": []}') == {"a": []}
    for text, kind in (("[]", "list"), ('"a"', "str"), ("null", "NoneType"), ("1", "int")):
        with pytest.raises(JsonError, match=f"expected a JSON object, found {kind}"):
            parse_object(text)


@pytest.mark.parametrize("part", ["[", '{"a":', "[[],", '"\\ud800",', "9"])
def test_the_longest_line_is_answered_in_time(part: str) -> None:
    start = time.process_time()
    with pytest.raises(JsonError):
        parse(part * ((1 << 22) // len(part)))
    assert time.process_time() - start < 10


@given(st.text(max_size=2 * SHOWN))
def test_a_message_is_cut_at_its_end(message: str) -> None:
    shown = cut(message)
    assert len(shown) <= SHOWN
    assert shown == message or (len(message) > SHOWN and message.startswith(shown[:-3]))
