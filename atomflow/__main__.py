"""``python -m atomflow``: the command line without an installed script."""

from atomflow.cli import main

if __name__ == "__main__":
    main()
