"""The console command ``propeller-proxy``: the same program as the native binary."""

import signal
import sys

from propeller_proxy import _core


def main() -> int:
    """Run the command line of this process and return its exit status."""
    # The interpreter's own handler sets a flag that is not read while native code runs.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _core.main(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
