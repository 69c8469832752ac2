# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache of roots: never half a root, never a stale one."""

from dataclasses import replace
from pathlib import Path

import pytest
from ksmvm import roots
from ksmvm.errors import HarnessError
from ksmvm.mirrors import Mirrors
from ksmvm.roots import HeadersRecipe, Recipe

RECIPE = Recipe("bookworm", "bookworm", ("gcc", "make"))


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """The recipes that were really built, in order."""
    done = []

    def build(recipe: Recipe, _mirrors: Mirrors, target: Path) -> None:
        target.mkdir()
        (target / "half").touch()
        if "broken" in recipe.packages:
            raise HarnessError("no such package: broken")
        (target / "half").rename(target / "whole")
        done.append(recipe)

    monkeypatch.setenv("KSM_CACHE", str(tmp_path))
    monkeypatch.setattr(roots, "_mmdebstrap", build)
    monkeypatch.setattr(roots, "machine_mirrors", lambda: Mirrors("http://a", "http://b"))
    monkeypatch.setattr(roots.host, "require", lambda: None)
    return done


def test_a_root_is_built_once(built: list) -> None:
    first = roots.ensure(RECIPE)
    assert (first / "whole").exists()
    assert roots.ensure(RECIPE) == first
    assert built == [RECIPE]


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, packages=("gcc", "make", "kmod")),
        replace(RECIPE, suite="trixie"),
        replace(RECIPE, backports=True),
    ],
    ids=["packages", "suite", "backports"],
)
def test_a_changed_recipe_builds_anew(built: list, other: Recipe) -> None:
    roots.ensure(RECIPE)
    roots.ensure(other)
    assert built == [RECIPE, other]


def test_changed_headers_build_anew(built: list) -> None:
    first = HeadersRecipe("arm64", "trixie", ("gcc",), architecture="arm64", headers=("linux-headers-arm64/trixie",))
    other = replace(first, headers=("linux-headers-arm64/trixie-backports",))
    for recipe in (first, first, other):
        roots.ensure(recipe)
    assert built == [first, other]


def test_a_new_version_of_the_recipe_builds_anew(built: list, monkeypatch: pytest.MonkeyPatch) -> None:
    roots.ensure(RECIPE)
    monkeypatch.setattr(roots, "RECIPE_VERSION", roots.RECIPE_VERSION + 1)
    roots.ensure(RECIPE)
    assert built == [RECIPE, RECIPE]


def test_half_a_root_is_not_taken_for_one(built: list) -> None:
    broken = replace(RECIPE, packages=("broken",))
    with pytest.raises(HarnessError, match="broken"):
        roots.ensure(broken)
    assert not roots.location(broken).exists()
    assert (roots.ensure(RECIPE) / "whole").exists()
    assert built == [RECIPE]


def test_a_root_that_lost_its_stamp_is_built_anew(built: list) -> None:
    roots.ensure(RECIPE)
    roots.location(RECIPE).with_suffix(".recipe").unlink()
    roots.ensure(RECIPE)
    assert built == [RECIPE, RECIPE]
