"""A command run as a child whose signals and exit code pass through, as of a shell's `exec`."""

import os
import signal
from collections.abc import Callable, Mapping

FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
_FROM_TERMINAL = 0x80
"""si_code SI_KERNEL: the terminal sent it to its whole foreground group, the child included. Source: sigaction(2)."""


def run_child(command: list[str], environment: Mapping[str, str], started: Callable[[], object]) -> int:
    """Run a command and give its exit code, 128 + signal where one ended it.

    `started` is called once it runs; threads it starts leave signals to this one. Raises OSError where the command
    cannot be run.
    """
    waited = FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        child = os.posix_spawnp(command[0], command, environment, setsigmask=before)
        started()
        return _await(child, waited)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _await(child: int, waited: frozenset[signal.Signals]) -> int:
    while True:
        told = signal.sigwaitinfo(waited)
        if told.si_signo != signal.SIGCHLD:
            if told.si_code != _FROM_TERMINAL:
                os.kill(child, told.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
