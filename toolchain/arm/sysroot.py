"""What emulation needs, fetched once without root rights: QEMU, an ARM system, ARM wheels.

CACHE/host-HASH       QEMU's user mode and its libraries, unpacked from Debian's packages
CACHE/root-HASH       C library, Python and what they need, unpacked from arm64 packages
CACHE/site-HASH       the wheels that a board gets
CACHE/count-HASH.so   the counting plugin, compiled here

Every folder is made beside and renamed; its hash is over all that it is made of, but the packages'
own versions, which are those of the day it was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

from toolchain.arm.targets import Target
from toolchain.errors import InputError

HOST_PACKAGES = ("qemu-user", "libcapstone4", "liburing2", "libglib2.0-0", "libpcre2-8-0")
ARM_PACKAGES = (
    "libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0",
    "liblzma5", "libuuid1", "libsqlite3-0", "libgomp1", "python3.11-minimal",
    "libpython3.11-minimal", "libpython3.11-stdlib",
)  # fmt: skip
WHEELS = ("numpy", "onnxruntime", "ai-edge-litert", "opencv-python-headless")
"""Of the versions that are installed here."""
PLATFORMS = tuple(f"manylinux{tag}_aarch64" for tag in ("2014", "_2_17", "_2_27", "_2_28", "_2_34"))
TOOLS = {"apt-get": "apt", "dpkg": "dpkg", "gcc": "gcc"}
"""Programs that are needed, and Debian's package of each."""


@dataclass(frozen=True)
class Sysroot:
    """All that an emulated run needs."""

    host: Path
    root: Path
    site: Path
    plugin: Path

    @property
    def emulator(self) -> Path:
        """QEMU's user mode for AArch64."""
        return self.host / "usr/bin/qemu-aarch64"

    @property
    def python(self) -> Path:
        """The board's Python."""
        return self.root / "usr/bin/python3.11"


def prepare(target: Target, cache: Path, on_stage: Callable[[str], None]) -> Sysroot:
    """Return what is there, after fetching what is not; raise :class:`InputError` if that fails."""
    if target.python != "3.11":
        raise InputError(f"{target.key}: its Python is {target.python}; 3.11 alone is emulated")
    cache = cache.absolute()
    versions = [f"{name}=={_version(name)}" for name in WHEELS]
    source = resources.files("toolchain.arm").joinpath("count.c").read_text(encoding="utf-8")
    paths = Sysroot(
        cache / f"host-{_hash(HOST_PACKAGES)}",
        cache / f"root-{_hash(ARM_PACKAGES)}",
        cache / f"site-{_hash((*versions, *PLATFORMS))}",
        cache / f"count-{_hash((source,))}.so",
    )
    todo = [
        path for path in (paths.host, paths.root, paths.site, paths.plugin) if not path.exists()
    ]
    if not todo:
        return paths
    _check_tools()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if paths.host in todo or paths.root in todo:
            on_stage("fetch QEMU and an ARM system (about 23 MB)")
            with _apt(cache) as download:
                _unpacked(paths.host, download, HOST_PACKAGES)
                _unpacked(paths.root, download, [f"{name}:arm64" for name in ARM_PACKAGES])
        if paths.site in todo:
            on_stage("fetch the board's wheels (about 88 MB)")
            _wheels(paths.site, versions)
        if paths.plugin in todo:
            _compile(paths.plugin, source)
    except OSError as error:
        raise InputError(f"{cache}: cannot be written ({error.strerror or error})") from error
    return paths


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise InputError(f"{package} is not installed here; run make setup") from error


def _hash(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _check_tools() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError(
            f"ARM boards are emulated on Linux for x86-64 (this is {platform.system()} on "
            f"{platform.machine()})"
        )
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise InputError(
            f"the emulation of ARM boards needs {', '.join(missing)} (Debian 12: apt install "
            f"{' '.join(missing)})"
        )


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a folder that takes the target's place when the block succeeds."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)
        with contextlib.suppress(FileExistsError, OSError):  # another run was faster
            folder.rename(target)
        if not target.exists():
            raise OSError(f"{target} was not made")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _apt(cache: Path) -> Iterator[Callable[[Sequence[str], Path], None]]:
    """Give what downloads packages, by an apt that leaves the system's alone."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".apt.") as folder:
        state = Path(folder)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (state / name).mkdir(parents=True)
        (state / "state/status").touch()
        settings = state / "apt.conf"
        settings.write_text(
            'APT::Architectures { "amd64"; "arm64"; };\n'
            f'Dir::State "{state}/state";\nDir::State::status "{state}/state/status";\n'
            f'Dir::Cache "{state}/cache";\nAcquire::Languages "none";\n'
            'APT::Sandbox::User "root";\nAPT::Update::Post-Invoke-Success "";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C.UTF-8"}

        def download(packages: Sequence[str], into: Path) -> None:
            command = ["apt-get", "-q", "download", *packages]
            _run(command, "apt cannot fetch the packages", into, environment)

        _run(["apt-get", "-q", "update"], "apt cannot read its lists", state, environment)
        yield download


def _unpacked(
    target: Path, download: Callable[[Sequence[str], Path], None], packages: Sequence[str]
) -> None:
    if target.exists():
        return
    with _beside(target) as folder, tempfile.TemporaryDirectory(dir=target.parent) as debs:
        download(packages, Path(debs))
        for package in sorted(Path(debs).glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder)], f"{package.name} cannot be unpacked")


def _wheels(target: Path, versions: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version", "3.11"]
    command += ["--implementation", "cp", "--abi", "cp311", "--abi", "abi3"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    with _beside(target) as folder, tempfile.TemporaryDirectory(dir=target.parent) as wheels:
        _run([*command, "-d", wheels, *versions], "pip cannot fetch the board's wheels")
        for wheel in sorted(Path(wheels).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)


def _compile(target: Path, source: str) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, made = Path(folder) / "count.c", Path(folder) / "count.so"
        code.write_text(source)
        options = ["-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"]
        _run(["gcc", *options, "-o", str(made), str(code)], "the plugin cannot be compiled")
        made.replace(target)


def _run(
    command: Sequence[str],
    problem: str,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith(("E:", "ERROR"))), None)
        said = (reason or (lines or ["it says nothing"])[-1])[:300]
        raise InputError(f"{problem}: {said}; is the network there?")
