"""The teeth fit the source; `python -m teeth`, from `tests/system`, pulls them."""

from pathlib import Path

import pytest

from teeth import page
from teeth.bite import bites
from teeth.catalogue import TEETH
from teeth.copy import ROOT
from teeth.tooth import Blunt, Finding, Kind, Tooth, pull


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_every_tooth_fits_the_source(tooth: Tooth) -> None:
    for edit in tooth.edits:
        assert (ROOT / edit.file).read_text("utf-8").count(edit.old) == 1


def test_a_tooth_that_no_longer_fits_says_so(tmp_path: Path) -> None:
    with pytest.raises(Blunt, match=r"no longer fits notifier/.*, adjust it"):
        pull(TEETH[0], tmp_path)


def test_only_what_is_expected_is_a_bite() -> None:
    tooth = TEETH[0]
    [expected] = tooth.expects
    telling = Finding(kind=expected, text="1 repeated, where 0 may be")
    beside = Finding(kind=Kind.OTHER, text="it said nothing")
    broken = Finding(kind=Kind.ERROR, text="ImportError: no such name")

    assert bites(tooth, [beside, telling])
    assert not bites(tooth, [beside])
    assert not bites(tooth, [telling, broken])


def test_the_page_shows_every_tooth() -> None:
    assert page.names(ROOT / "docs" / "proof.md") == [tooth.name for tooth in TEETH]
