"""The command line, as `python -m neoteny`."""

import sys

from neoteny.experiments.main import main

if __name__ == "__main__":
    sys.exit(main())
