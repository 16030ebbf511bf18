"""``r1lit`` and ``python -m r1lit``: chooses the threads, then loads the command line and with it torch."""

import sys
from collections.abc import Sequence

from r1lit.threads import choose_threads


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; see ``r1lit.cli.main``."""
    words = list(sys.argv[1:] if argv is None else argv)
    choose_threads(words)
    from r1lit import cli

    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main())
