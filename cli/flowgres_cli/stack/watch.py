"""Notices that a part of the stack has ended by itself, whatever else is being waited for."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from flowgres_cli.stack.errors import ProcessFailedError
from flowgres_cli.stack.process import ManagedProcess

LOOK_SECONDS = 0.25


class PartsWatch:
    """Looks at processes, and interrupts the main thread when one of them is gone.

    A request can wait for half a minute for a database that no longer exists; nobody should have to find out from its
    timeout what a look at the process tells at once.
    """

    def __init__(self) -> None:
        self._processes: list[ManagedProcess] = []
        self._over = threading.Event()
        self._ended: ManagedProcess | None = None

    def add(self, process: ManagedProcess) -> None:
        """Look at one more, which runs."""
        self._processes.append(process)

    def close(self) -> None:
        """Look no more: from here on they are stopped."""
        self._over.set()

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Interrupt the block, as Ctrl-C would, when a process ends; it raises ProcessFailedError with the log's end.

        For the main thread, where SIGTERM has to raise KeyboardInterrupt (`signals_as_interrupt`).
        """
        looking = threading.Thread(target=self._look, daemon=True)
        looking.start()
        try:
            yield
        except KeyboardInterrupt:
            if self._ended is not None:
                raise self._failure(self._ended) from None
            raise
        finally:
            self.close()
            looking.join()

    def _look(self) -> None:
        main = threading.main_thread().ident
        while not self._over.wait(LOOK_SECONDS):
            self._ended = next((process for process in self._processes if not process.is_running), None)
            if self._ended is not None and main is not None:
                # A signal and no flag: it ends a system call that waits.
                signal.pthread_kill(main, signal.SIGTERM)
                return

    @staticmethod
    def _failure(process: ManagedProcess) -> ProcessFailedError:
        return ProcessFailedError(
            "process_ended",
            f"{process.name} {process.ending()}; without it nothing can go on.\n{process.log_tail()}".rstrip(),
            hint=f"Its log: {process.log_path}",
        )
