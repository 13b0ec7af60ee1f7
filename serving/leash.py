"""`python -m serving.leash MODULE ARGUMENT…`: run a module until standard input closes.

The starter holds the other end of the pipe. The system closes it whenever the starter dies, even by
SIGKILL, so that no process is left behind that nobody looks after.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE = 10.0  # seconds a module has to end its work in order


def main() -> None:
    """Become the module, with its own arguments."""
    sys.argv = sys.argv[1:]
    threading.Thread(target=_end_with_starter, daemon=True, name="leash").start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    main()
