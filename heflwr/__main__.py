"""`python -m heflwr`: the same as the `heflwr` command."""

import sys

from heflwr.cli import main

if __name__ == "__main__":
    sys.exit(main())
