"""`python -m tinyopt` is `tinyopt`."""

import sys

from tinyopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
