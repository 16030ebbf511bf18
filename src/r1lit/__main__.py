"""``r1lit`` and ``python -m r1lit``: chooses the threads, then loads the command line and with it torch."""

import sys
from collections.abc import Sequence

from r1lit.overview import asked
from r1lit.threads import choose_threads

_BROKEN = "operator torchvision::"
"""What torch says of a torchvision that was built for another torch; torchmetrics imports it where it is installed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; see ``r1lit.cli.main``."""
    words = list(sys.argv[1:] if argv is None else argv)
    if (answer := asked(words)) is not None:  # without loading torch
        print(answer, end="")
        return 0
    choose_threads(words)
    try:
        from r1lit import cli
    except RuntimeError as error:
        if _BROKEN not in str(error):
            raise
        print(
            "r1lit: the installed torchvision does not fit the installed torch, and r1lit needs none: "
            "pip uninstall torchvision, or install the one that fits",
            file=sys.stderr,
        )
        return 2
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main())
