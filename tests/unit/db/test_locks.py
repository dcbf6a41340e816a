"""The written order of locks is one: in the code, in the design, and for every table."""

import re

from db.locks import LOCK_ORDER
from db.models import Base
from face3d.settings import ROOT


def test_every_table_has_a_place_in_the_order() -> None:
    assert set(Base.metadata.tables) <= set(LOCK_ORDER)
    assert len(set(LOCK_ORDER)) == len(LOCK_ORDER)


def test_the_design_writes_the_same_order() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    section = design.split("**Order of row locks**")[1]
    written = section[section.index("):\n") :].split(";")[0]
    assert tuple(re.findall(r"`(\w+)`", written)) == LOCK_ORDER
