"""The wheel and the sdist work in an environment of others, beside folders of the same names."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ARM_CACHE, ROOT

from toolchain.arm.sysroot import Sysroot

pytestmark = pytest.mark.long

TEMPLATE = ROOT / "deploy" / "ci" / "github.yml"
SMALL = "eresfd --rate 0.5 --size 96x128 --formats onnx"
NOT_OURS = "raise ImportError('this folder is the project\\'s own')\n"


@dataclass(frozen=True)
class Project:
    """A folder of somebody who uses the toolchain, with an environment in ``.venv``."""

    folder: Path
    variables: Mapping[str, str]

    def bash(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line there, without a package index; it must succeed."""
        done = subprocess.run(
            ["bash", "-e", "-c", line], cwd=self.folder, env=dict(self.variables),
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    def toolchain(self, words: str) -> str:
        return self.bash(f".venv/bin/toolchain {words}").stdout


def make_project(folder: Path, variables: Mapping[str, str]) -> Project:
    """A project with its own ``deploy`` and ``recipes``, and an environment without toolchain.

    What the toolchain depends on is this environment's, so that nothing is fetched.
    """
    for name in ("deploy", "recipes"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(NOT_OURS)
    programs = folder / "programs"
    programs.mkdir()
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (programs / "python3").symlink_to(base)
    subprocess.run([programs / "python3", "-m", "venv", folder / ".venv"], check=True)
    (site,) = (folder / ".venv" / "lib").glob("python3*/site-packages")
    for old in site.glob("setuptools*"):  # as venv brings it, it would hide a newer one
        shutil.rmtree(old)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    hidden = ("PYTHONPATH", "XDG_CACHE_HOME", "TOOLCHAIN_CACHE")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return Project(
        folder,
        kept | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder / "home")}
        | {"PIP_NO_INDEX": "1", "OMP_NUM_THREADS": "1"} | variables,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that nothing is built in it."""
    copy = tmp_path_factory.mktemp("wheel") / "edge"
    left_out = shutil.ignore_patterns(".*", "out", "build", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, copy, ignore=left_out, symlinks=True)
    return copy


def built(kind: str, source: Path, into: Path) -> Path:
    """Build ``kind`` by setuptools as it is installed here; pip would fetch it."""
    code = f"from setuptools import build_meta as b; print(b.build_{kind}({str(into)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    return built("sdist", checkout, checkout.parent)


@pytest.fixture(scope="module")
def project(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project of the template: all that is to be done once, and its installation, are done."""
    template = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("project") / "mine"
    made = make_project(folder, template["env"] | {"SHRINK": SMALL, "EDGE": str(checkout)})
    (folder / ".cache").mkdir()
    ARM_CACHE.mkdir(parents=True, exist_ok=True)
    (folder / ".cache" / "arm").symlink_to(ARM_CACHE)
    copying, packing = once()[:2]
    made.bash(copying)
    made.bash(f".venv/bin/{packing} --no-build-isolation")
    for line in steps("install"):
        made.bash(line)
    return made


def once() -> list[str]:
    """The commands of the template's head."""
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]


def steps(*names: str) -> list[str]:
    """The template's commands, of these steps."""
    found = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))["jobs"]["gate"]["steps"]
    return [step["run"] for step in found if step.get("name") in names]


@pytest.fixture(scope="module")
def shrunk(project: Project) -> Project:
    """The project with its model made, by the command of the template."""
    for line in steps("make the model"):
        project.bash(line)
    return project


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_brings_one_package_and_the_sdist_the_same(
    project: Project, sdist: Path, tmp_path: Path
) -> None:
    (wheel,) = (project.folder / "wheels").glob("*.whl")
    names = names_in(wheel)
    assert {name.partition("/")[0] for name in names} == {"toolchain"}
    assert {"toolchain/LICENSE", "toolchain/py.typed"} <= names
    for data in ("page/index.html", "eresfd.toml", "eresfd-0.1.json", "count.c", "page.css"):
        assert any(name.endswith(data) for name in names), data
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert names_in(built("wheel", source, tmp_path)) == names


def test_what_is_installed_is_the_wheel_and_pip_finds_nothing_amiss(project: Project) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert project.toolchain("--version") == f"toolchain {wanted}\n"
    assert project.bash(".venv/bin/python -m toolchain --version").stdout.endswith(f"{wanted}\n")
    code = "import toolchain; from toolchain.deploy import detect as d; print(toolchain, d)"
    shown = project.bash(f".venv/bin/python -c {shlex.quote(code)}").stdout
    assert shown.count(f"'{project.folder}/.venv/") == 2
    project.bash(".venv/bin/pip check")


def test_the_sdist_installs_too(sdist: Path, tmp_path: Path) -> None:
    other = make_project(tmp_path / "other", {})
    other.bash(f".venv/bin/pip install --quiet --no-build-isolation --no-deps {sdist}")
    assert other.toolchain("--version").startswith("toolchain ")
    assert "eresfd" in other.toolchain("shrink --help")


def test_the_main_job_and_a_bundle_run_beside_folders_of_the_same_names(shrunk: Project) -> None:
    made = {path.name for path in (shrunk.folder / "out" / "model").iterdir()}
    assert {"model.onnx", "model.safetensors", "report.html", "certificate.json"} <= made
    # What the board fetches is pinned by its hash, so this alone may ask the package index.
    with_index = "env -u PIP_NO_INDEX -u PIP_EXTRA_INDEX_URL"
    shrunk.bash(f"{with_index} .venv/bin/toolchain bundle out/model --out out/bundle")
    (archive,) = (shrunk.folder / "out" / "bundle").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    assert {"LICENSE", "install.sh", "app/model.onnx"} <= inside


def test_messages_fit_an_environment_of_others(project: Project) -> None:
    done = subprocess.run(
        [project.folder / ".venv/bin/toolchain", *shlex.split(f"shrink {SMALL},tflite")],
        cwd=project.folder, capture_output=True, text=True,
        env={**project.variables, "PYTHONPATH": str(without_packages(project.folder))},
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'edge-toolchain[tflite]'" in done.stderr
    assert "make" not in done.stderr


def without_packages(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides the converter, whether it is installed here or not."""
    place = folder / "hidden"
    info = place / "litert_torch-0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: litert-torch\nVersion: 0.0\n")
    return place


def test_the_templates_gate_runs_as_it_stands(ready: Sysroot, shrunk: Project) -> None:
    *_, gate_once = once()
    shrunk.bash(f".venv/bin/{gate_once}")
    summary = shrunk.folder / "summary.md"
    for line in steps("gate", "summary"):
        shrunk.bash(f"export GITHUB_STEP_SUMMARY={summary}\n{line}")
    suite = ElementTree.parse(shrunk.folder / "out" / "gate" / "gate.xml").getroot()[0]
    assert suite.get("failures") == "0"
    assert "passed" in summary.read_text()


def test_the_fixture_of_pytest_is_there(ready: Sysroot, shrunk: Project) -> None:
    (shrunk.folder / "test_model.py").write_text(
        "def test_it(model_gate):\n"
        "    assert model_gate('out/model', baseline='fixture.json').passed\n"
    )
    shrunk.toolchain("gate out/model --baseline fixture.json --update --out out/first")
    words = ".venv/bin/python -m pytest -q -p no:cacheprovider -p no:anyio test_model.py"
    assert "1 skipped" in shrunk.bash(words).stdout
    assert "1 passed" in shrunk.bash(f"{words} --toolchain-gate").stdout


def test_the_doctor_sees_the_environment(project: Project) -> None:
    found = json.loads(project.toolchain("doctor --json"))
    assert found["can_do_main_job"]
    assert found["cache"] == ".cache"
