"""The teeth fit the source; `python -m teeth`, from `tests/system`, pulls them."""

from pathlib import Path

import pytest

from teeth.bite import ROOT, Blunt, Finding, bites, copied, documented, pull
from teeth.catalogue import TEETH, Kind


def test_every_tooth_fits_the_source() -> None:
    with copied() as root:
        for tooth in TEETH:
            pull(tooth, root)
            file = root.joinpath(*tooth.module.split(".")).with_suffix(".py")
            compile(file.read_text("utf-8"), file, "exec")


def test_a_tooth_that_no_longer_fits_says_so(tmp_path: Path) -> None:
    with pytest.raises(Blunt, match=r"notifier\.storage\.outbox does not define _IS_OURS: adjust"):
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
    assert documented(ROOT / "docs" / "proof.md") == [tooth.name for tooth in TEETH]
