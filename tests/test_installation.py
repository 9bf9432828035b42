"""Where the toolchain runs from decides what its messages say, and where its caches lie."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT

from toolchain.system import caches, installation
from toolchain.system.installation import checkout, how_to_get


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package lies where pip puts it."""
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "site-packages" / "toolchain")
    return tmp_path


def test_a_checkout_knows_itself(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkout() is None
    monkeypatch.undo()
    assert checkout() == ROOT


def test_its_own_environment_is_mended_by_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv"))
    assert how_to_get("tflite") == "make setup EXTRAS=tflite"
    assert how_to_get() == "make setup"


def test_an_environment_of_others_is_mended_by_pip(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert how_to_get("ray") == "pip install 'edge-toolchain[ray]'"
    assert "make" not in how_to_get()
    monkeypatch.undo()  # a checkout that is installed into another environment
    monkeypatch.setattr(sys, "prefix", str(elsewhere))
    assert how_to_get("ray") == "pip install 'edge-toolchain[ray]'"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/home/me/.cache/edge-toolchain"),
        ({"XDG_CACHE_HOME": "/fast"}, "/fast/edge-toolchain"),
        ({"XDG_CACHE_HOME": "not/absolute"}, "/home/me/.cache/edge-toolchain"),
        ({"XDG_CACHE_HOME": "/fast", "TOOLCHAIN_CACHE": "mine"}, "mine"),
        ({"TOOLCHAIN_CACHE": ""}, "/home/me/.cache/edge-toolchain"),
    ],
)
def test_caches_lie_where_the_platform_or_the_user_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("TOOLCHAIN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert caches.cache_folder() == Path(expected)
    assert caches.arm_cache() == Path(expected) / "arm"
    assert caches.photo_cache() == Path(expected) / "photos"


def test_caches_on_a_mac_and_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOOLCHAIN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/Users/me")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert caches.cache_folder() == Path("/Users/me/Library/Caches/edge-toolchain")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert caches.cache_folder() == Path(".cache")
