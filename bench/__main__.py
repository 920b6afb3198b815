"""`python -m bench`: the benchmark's command line."""

import sys

from bench.run import main

sys.exit(main())
