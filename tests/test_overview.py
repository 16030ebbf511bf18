"""What the command line says of itself, and of flags that it does not have."""

import subprocess
import sys
import time

import pytest

from r1lit import __version__, cli
from r1lit.__main__ import main
from r1lit.overview import COMMANDS


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_in_a_line(words, capsys):
    assert main(words) == 0
    told = capsys.readouterr().out
    assert set(COMMANDS) == {*cli.SUBCOMMANDS, *cli.COMMANDS}
    for name, line in COMMANDS.items():
        assert [row for row in told.splitlines() if row.split()[:1] == [name] and row.endswith(line)], name
    assert max(map(len, told.splitlines())) <= 100


def test_version_names_what_is_installed(capsys):
    assert main(["--version"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"r1lit {__version__} (torch ")
    assert "transformers" in told


def test_help_does_not_wait_for_torch():
    code = "import sys\nfrom r1lit.__main__ import main\nmain(['--help'])\nassert 'torch' not in sys.modules"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--stage.step", "3"], "there is no flag --stage.step; did you mean --stage.steps"),
        (["--stage.directory", "x"], "there is no flag --stage.directory; did you mean --stage.dir"),
        (["--nothing.of.that", "x"], "there is no flag --nothing.of.that; see --help"),
    ],
)
def test_a_flag_that_there_is_not_is_refused_with_the_nearest(words, told, capsys):
    assert cli.main(["fit", "-c", "tiny/zero", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_hash_in_a_value_is_no_comment(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "1 + 1?", "answer": "so it is 2 #### 2"}\n' * 12, encoding="utf-8")
    words = ["fit", "-c", "zero", "--model.init_from", "package:r1lit/assets/tiny/base", "--data.path", str(rows)]
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--data.train.answer_pattern", "#### (.+)$", "--print_config"])
    assert end.value.code in (0, None)
    assert "#### (.+)$" in capsys.readouterr().out
