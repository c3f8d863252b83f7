import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.demo.cursor import Key, decode, encode

REAL = "CgYI8KnivQYSJDBlZDRhMTA5LTllZDEtNDJhYy04MjRkLTA4MzgxODlmODdkMg"


def test_a_real_cursor_is_understood_and_made_again() -> None:
    key = (1_740_150_000, "0ed4a109-9ed1-42ac-824d-0838189f87d2")

    assert decode(REAL) == key
    assert encode(key) == REAL


@settings(deadline=None)
@given(st.tuples(st.integers(-(2**62), 2**62), st.text(max_size=300)))
def test_any_key_survives_its_cursor(key: Key) -> None:
    assert decode(encode(key)) == key


@settings(deadline=None)
@given(st.text(alphabet="ABCabc012-_ é", max_size=20) | st.just(REAL[:-9]))
def test_what_is_no_cursor_is_refused_or_understood_but_never_breaks(text: str) -> None:
    try:
        decode(text)
    except ValueError:
        return


@pytest.mark.parametrize("text", ["", "Cg", "nonsense", REAL[:10], REAL + "AAAA"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)
