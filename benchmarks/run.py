"""What ``make bench`` runs: rollout by the native engine against ``generate``; see ``rollout.py`` for its options."""

from rollout import main

if __name__ == "__main__":
    main()
