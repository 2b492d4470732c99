"""`python -m pellucid` is the command line, and so is the command `pellucid`."""

import sys


def run() -> None:
    """Ends as `cli.main` does; Ctrl-C while modules are still being loaded, too, ends with a line and 130."""
    try:
        from pellucid.cli import main

        main()
    except KeyboardInterrupt:
        print("pellucid: Stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
