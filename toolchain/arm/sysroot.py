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
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

from toolchain.arm.targets import Target
from toolchain.errors import InputError
from toolchain.system.fetching import download_wheels, run_program
from toolchain.system.files import made_beside
from toolchain.system.installation import how_to_get

HOST_PACKAGES = ("qemu-user", "libcapstone4", "liburing2", "libglib2.0-0", "libpcre2-8-0")
ARM_PACKAGES = (
    "libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0",
    "liblzma5", "libuuid1", "libsqlite3-0", "libgomp1", "python3.11-minimal",
    "libpython3.11-minimal", "libpython3.11-stdlib",
)  # fmt: skip
LITERT = "2.3.0"
"""An extra here, so it may not be installed; the version is that of ``pyproject.toml``."""
NCNN = "1.0.20261020"
"""The same; the version is that of ``constraints.txt``."""


@dataclass(frozen=True)
class System:
    """What boards of one architecture get, beside the core's own packages."""

    debian: str
    """What Debian calls the architecture."""
    packages: tuple[str, ...]
    """Debian's packages."""
    wheels: Mapping[str, str | None]
    """Packages of Python with their versions; None is the version that is installed here."""
    platforms: tuple[str, ...]
    """Tags of wheels that fit."""
    megabytes: int
    """That the wheels take on the way."""
    libraries: tuple[str, ...] = ()
    """Folders whose files installing a package, in place of unpacking it, links one level up."""


SYSTEMS = {
    "aarch64": System(
        "arm64",
        ARM_PACKAGES,
        {"numpy": None, "onnxruntime": None, "opencv-python-headless": None}
        | {"ai-edge-litert": LITERT, "ncnn": NCNN},
        tuple(f"manylinux{tag}_aarch64" for tag in ("2014", "_2_17", "_2_27", "_2_28", "_2_34")),
        92,
    ),
    # No other runtime has wheels for 32 bits; numpy 1.24 is Debian's, as on Raspberry Pi OS.
    "armv7l": System(
        "armhf",
        (*ARM_PACKAGES, "python3-numpy", "libblas3", "liblapack3", "libgfortran5"),
        {"tflite-runtime": "2.14.0"},
        ("manylinux_2_34_armv7l",),
        2,
        ("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack"),
    ),
}
TOOLS = {"apt-get": "apt", "dpkg": "dpkg", "gcc": "gcc"}
"""Programs that are needed, and Debian's package of each."""


@dataclass(frozen=True)
class Sysroot:
    """All that an emulated run needs."""

    host: Path
    root: Path
    site: Path
    plugin: Path
    emulator: Path
    """QEMU's user mode for the architecture."""

    @property
    def has_opencv(self) -> bool:
        """True if ``detect.py`` itself can run there."""
        return (self.site / "cv2").is_dir()

    @property
    def python(self) -> Path:
        """The board's Python."""
        return self.root / "usr/bin/python3.11"


def runtime_of(suffix: str, target: Target) -> str:
    """Return what runs a file with the suffix on the board, with its version."""
    package = target.runtimes[suffix]
    return f"{package} {pinned_version(package, target.architecture)}"


def pinned_version(package: str, architecture: str) -> str:
    """Return the version that boards of an architecture get."""
    return SYSTEMS[architecture].wheels[package] or _version(package)


def prepare(target: Target, cache: Path, on_stage: Callable[[str], None]) -> Sysroot:
    """Return what is there, after fetching what is not; raise :class:`InputError` if that fails."""
    if target.python != "3.11":
        raise InputError(f"{target.key}: its Python is {target.python}; 3.11 alone is emulated")
    system = SYSTEMS[target.architecture]
    cache = cache.absolute()
    versions = [f"{name}=={version or _version(name)}" for name, version in system.wheels.items()]
    packages = [f"{name}:{system.debian}" for name in system.packages]
    source = resources.files("toolchain.arm").joinpath("count.c").read_text(encoding="utf-8")
    host = cache / f"host-{_hash(HOST_PACKAGES)}"
    paths = Sysroot(
        host,
        cache / f"root-{_hash((*packages, *system.libraries))}",
        cache / f"site-{_hash((*versions, *system.platforms))}",
        cache / f"count-{_hash((source,))}.so",
        host / "usr/bin" / {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}[target.architecture],
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
            with _apt(cache, system.debian) as download:
                _unpacked(paths.host, download, HOST_PACKAGES)
                _unpacked(paths.root, download, packages, system.libraries)
        if paths.site in todo:
            on_stage(f"fetch the board's wheels (about {system.megabytes} MB)")
            _wheels(paths.site, versions, system.platforms)
        if paths.plugin in todo:
            _compile(paths.plugin, source)
    except OSError as error:
        raise InputError(f"{cache}: cannot be written ({error.strerror or error})") from error
    return paths


def prepare_wheel(
    package: str, target: Target, cache: Path, on_stage: Callable[[str], None]
) -> Path:
    """Return the folder of a wheel that a board gets only when it is asked for, as installed here.

    Raises :class:`InputError` where it is not installed here, or cannot be fetched.
    """
    system = SYSTEMS[target.architecture]
    requirement = f"{package}=={_version(package)}"
    site = cache.absolute() / f"site-{_hash((requirement, *system.platforms))}"
    if not site.exists():
        on_stage(f"fetch {requirement} for {target.name}")
        site.parent.mkdir(parents=True, exist_ok=True)
        _wheels(site, [requirement], system.platforms)
    return site


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise InputError(f"{package} is not installed here; run {how_to_get()}") from error


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
def _apt(cache: Path, architecture: str) -> Iterator[Callable[[Sequence[str], Path], None]]:
    """Give what downloads packages, by an apt that leaves the system's alone."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".apt.") as folder:
        state = Path(folder)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (state / name).mkdir(parents=True)
        (state / "state/status").touch()
        settings = state / "apt.conf"
        settings.write_text(
            f'APT::Architectures {{ "amd64"; "{architecture}"; }};\nAcquire::Retries "3";\n'
            f'Dir::State "{state}/state";\nDir::State::status "{state}/state/status";\n'
            f'Dir::Cache "{state}/cache";\nAcquire::Languages "none";\n'
            'APT::Sandbox::User "root";\nAPT::Update::Post-Invoke-Success "";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C.UTF-8"}

        def run(words: Sequence[str], problem: str, place: Path) -> None:
            run_program(["apt-get", "-q", *words], problem, place, environment)

        trouble: InputError | None = None
        try:
            run(["update"], "apt cannot read its lists", state)
        except InputError as error:  # some list is out of reach: others may have all that is needed
            trouble = error

        def download(packages: Sequence[str], into: Path) -> None:
            try:
                run(["download", *packages], "apt cannot fetch the packages", into)
            except InputError as error:
                raise trouble or error from error

        yield download


def _unpacked(
    target: Path,
    download: Callable[[Sequence[str], Path], None],
    packages: Sequence[str],
    libraries: Sequence[str] = (),
) -> None:
    if target.exists():
        return
    with made_beside(target) as folder, tempfile.TemporaryDirectory(dir=target.parent) as debs:
        download(packages, Path(debs))
        for package in sorted(Path(debs).glob("*.deb")):
            run_program(
                ["dpkg", "-x", str(package), str(folder)], f"{package.name} cannot be unpacked"
            )
        for library in (file for place in libraries for file in sorted((folder / place).iterdir())):
            library.parent.with_name(library.name).symlink_to(
                Path(library.parent.name) / library.name
            )


def _wheels(target: Path, versions: Sequence[str], platforms: Sequence[str]) -> None:
    with made_beside(target) as folder, tempfile.TemporaryDirectory(dir=target.parent) as wheels:
        download_wheels(Path(wheels), versions, "3.11", platforms)
        for wheel in sorted(Path(wheels).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)


def _compile(target: Path, source: str) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, made = Path(folder) / "count.c", Path(folder) / "count.so"
        code.write_text(source)
        options = ["-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"]
        run_program(["gcc", *options, "-o", str(made), str(code)], "the plugin cannot be compiled")
        made.replace(target)
