"""The guide for contributors is true: its map is that of the imports test, and its examples run."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"## (A new \w+)\n.*?```python\n(.*?)```", GUIDE, re.DOTALL))


def test_the_map_lists_the_rooms_in_the_order_of_imports():
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "tests" / "test_imports.py")
    imports = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imports)
    assert re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE) == imports.ORDER
    rooms = {
        path.stem for path in imports.PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert rooms - {"__init__", "assets"} == set(imports.ORDER)


def test_there_is_an_example_of_each():
    assert list(EXAMPLES) == [f"A new {what}" for what in ("loss", "reward", "engine", "task", "measure")]


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_run(title):
    code = EXAMPLES[title]
    assert len(code.splitlines()) < 60
    exec(compile(code, f"CONTRIBUTING.md: {title}", "exec"), {"__name__": "example"})
