"""The shape of the tree: who may import whom, what the package exports, what importing it costs, what gets packed."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest

import replay

REPO = Path(__file__).parents[2]
TOP = ("replay", "adapters", "strategies")
KERNEL_MAY_USE = ("replay.kernel", "replay.events", "replay.units", "replay.instruments", "replay.errors")
"""The vocabulary of kernels; errors only for what user code raises there, instruments for texts made outside."""

PUBLIC = [
    "Band", "BpsSlippage", "CompileError", "ConfigError", "ConstantLatency", "Context", "DataError", "FeedLatency",
    "FeesIn", "FlatFees", "Instrument", "KernelError", "LogNormalLatency", "LogProbQueue", "MakerTaker", "Margin",
    "NoSlippage", "OptimisticQueue", "PerContractFees", "PowerProbQueue", "QualityReport", "Replay", "ReplayError",
    "Result", "RiskAverseQueue", "SpreadSlippage", "SquareRootImpact", "Strategy", "StrategyError", "Sweep",
    "TableLatency", "TieredFees", "TransportError", "UserFees", "UserQueue", "UserSlippage", "Window", "__version__",
]  # fmt: skip


def modules(top: str) -> list[Path]:
    """All Python files of one top-level package."""
    return sorted((REPO / top).rglob("*.py"))


def imported(path: Path, at_import: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, also inside functions (not when `at_import`)."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize(
    ("top", "forbidden"),
    [
        ("replay", ("adapters", "strategies", "tests", "benchmarks")),
        ("adapters", ("strategies", "tests", "benchmarks")),
        ("strategies", ("adapters", "tests", "benchmarks")),
    ],
)
def test_imports_point_one_way(top: str, forbidden: tuple[str, ...]) -> None:
    assert modules(top)
    wrong = [
        f"{path.relative_to(REPO)}:{line}: {name}"
        for path in modules(top)
        for line, name in imported(path)
        if within(name, forbidden)
    ]
    assert wrong == []


def test_kernels_know_only_the_vocabulary() -> None:
    wrong = [
        f"{path.relative_to(REPO)}:{line}: {name}"
        for path in modules("replay/kernel")
        for line, name in imported(path)
        if within(name, ("replay",)) and not within(name, KERNEL_MAY_USE)
    ]
    assert wrong == []


def test_numba_is_used_in_kernels_only() -> None:
    """Everything else can be imported without a compiler (a function may still ask which Numba there is)."""
    wrong = [
        f"{path.relative_to(REPO)}:{line}: {name}"
        for top in TOP
        for path in modules(top)
        if path.parent.name != "kernel"
        for line, name in imported(path, at_import=True)
        if within(name, ("numba", "llvmlite"))
    ]
    assert wrong == []


def test_public_names() -> None:
    assert sorted(replay.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(replay, name) is not None
    with pytest.raises(AttributeError, match="Replai"):
        _ = replay.Replai


def test_importing_replay_is_cheap() -> None:
    code = "import sys, replay; sys.exit(int(bool({'numba', 'numpy', 'orjson', 'pyarrow'} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, cwd=REPO).returncode == 0


def test_version_stands_in_one_place() -> None:
    written = replay.__version__
    assert installed_version("tickreplay") == written, "installed metadata is old: run make again"
    files = [REPO / "setup.cfg", REPO / "pyproject.toml", *(path for top in TOP for path in modules(top))]
    holders = [path.relative_to(REPO).as_posix() for path in files if f'"{written}"' in path.read_text()]
    assert holders == ["replay/_version.py"]


def setup_cfg() -> configparser.ConfigParser:
    """The project's metadata."""
    config = configparser.ConfigParser()
    config.read(REPO / "setup.cfg")
    return config


def packages_on_disk() -> list[str]:
    """Dotted names of all folders that hold an `__init__.py`."""
    return sorted(
        path.parent.relative_to(REPO).as_posix().replace("/", ".")
        for top in TOP
        for path in modules(top)
        if path.name == "__init__.py"
    )


def test_every_package_is_listed() -> None:
    listed = setup_cfg()["options"]["packages"].split()
    assert sorted(listed) == packages_on_disk()
    with_code = {path.parent for top in TOP for path in modules(top)}
    assert all((folder / "__init__.py").exists() for folder in with_code)


def test_entry_points_exist() -> None:
    points = setup_cfg()["options.entry_points"]
    for group in points.values():
        for line in group.strip().splitlines():
            module, _, attribute = line.split("=")[1].strip().partition(":")
            path = REPO / (module.replace(".", "/") + ".py")
            assert path.exists(), line
            defined = {
                target.id
                for node in ast.parse(path.read_text()).body
                for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
                if isinstance(target, ast.Name)
            } | {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
            assert attribute in defined, line


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built offline from a copy of the tree."""
    if int(installed_version("setuptools").split(".")[0]) < 77:
        pytest.skip("building needs setuptools >= 77 (an extra of dev: run make to install it)")
    tree = tmp_path_factory.mktemp("tree") / "tickreplay"
    tree.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, tree)
    for top in TOP:
        shutil.copytree(REPO / top, tree / top, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return tree / "dist"


def test_sdist_and_wheel_hold_every_module(archives: Path) -> None:
    needed = {path.relative_to(REPO).as_posix() for top in TOP for path in modules(top)}
    needed |= {"replay/py.typed", *(f"replay/report/{name}" for name in ("page.html", "report.css", "report.js"))}
    (wheel,) = archives.glob("tickreplay-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert needed <= inside
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/"))]
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    (sdist,) = archives.glob("tickreplay-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert needed | {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= names
