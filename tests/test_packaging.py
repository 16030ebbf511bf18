"""What is installed: every package, the embedded model and the configurations, from a wheel as from an sdist."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from r1lit.freshness import find_config, shipped_configs

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml"))


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [".".join(path.parent.relative_to(ROOT / "src").parts) for path in (ROOT / "src").rglob("__init__.py")]
    assert sorted(listed) == sorted([*found, "r1lit.configs"])


def built(kind, source, folder):
    code = f"from setuptools.build_meta import *\nprint(build_{kind}({str(folder)!r}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder / run.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """A source distribution, made from a copy, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    source.mkdir()
    names = ["pyproject.toml", "README.md", "LICENSE", "configs", "src"]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(source)], check=True)
    return built("sdist", source, folder)


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """A wheel made from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return built("wheel", source, folder)


def test_a_wheel_from_the_sdist_has_all(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"r1lit/{config}" for config in CONFIGS} <= names
    assert "r1lit/assets/tiny/base/model.safetensors" in names
    assert {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")} <= names


def test_an_installed_package_finds_its_configurations(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "from r1lit.freshness import find_config\nprint(find_config('tiny/zero'))"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    )
    found = Path(run.stdout.strip())
    assert found.parts[-4:] == ("r1lit", "configs", "tiny", "zero.yaml")
    assert found.read_bytes() == (ROOT / "configs/tiny/zero.yaml").read_bytes()


def test_a_checkout_finds_them_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_configs() == ROOT / "configs"
    assert find_config("eval/gsm8k") == find_config("eval/gsm8k.yaml") == ROOT / "configs/eval/gsm8k.yaml"
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/zero").write_text("own: 1")
    assert find_config("tiny/zero") == Path("tiny/zero")  # a file of that name wins
