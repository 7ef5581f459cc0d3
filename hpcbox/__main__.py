"""`python -m hpcbox`, as the plugin starts it."""

import sys

from hpcbox.cli.main import main

sys.exit(main())
