"""Removes a torchvision that cannot be imported; leaves a working one, or none, alone.

litdata asks for torchvision, which it does not need. Beside a CPU build of torch, pip installs the package index's
torchvision, which is made for CUDA: importing it fails, and with it transformers and Lightning. Run it with the Python
of the environment to mend::

    .venv/bin/python tools/fix_torchvision.py

Standard library only. Exits with 0 where torch and, if there, torchvision can be imported.
"""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version


def failure(module: str) -> str | None:
    """Imports a module in a process of its own; returns the last line of its error, or None."""
    run = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    if run.returncode == 0:
        return None
    return (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]


def main() -> int:
    """Mends the environment that runs this script."""
    try:
        release = version("torchvision")
    except PackageNotFoundError:
        return 0
    # Where torch itself is broken, torchvision's failure says nothing about torchvision.
    if (error := failure("torch")) is not None:
        print(f"torch cannot be imported: {error}", file=sys.stderr)
        return 1
    if (error := failure("torchvision")) is None:
        return 0
    print(f"Removing torchvision {release}, which does not fit the installed torch ({error})", flush=True)
    return subprocess.run([sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"]).returncode


if __name__ == "__main__":
    sys.exit(main())
