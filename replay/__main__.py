"""`python -m replay` is the command `replay`."""

import sys

from replay.cli import main

if __name__ == "__main__":
    sys.exit(main())
