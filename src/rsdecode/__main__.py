"""`python -m rsdecode`: the command `rsd`."""

import sys

from rsdecode.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
