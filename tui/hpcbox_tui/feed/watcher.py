"""A thread that looks at something until it is closed."""

import threading
from collections.abc import Callable

from textual.message import Message

Post = Callable[[Message], bool]

# How long leaving a screen waits for its thread; one that waits for squeue or a dead file server
# ends by itself, and is a daemon for the case that it never does.
_CLOSE_SECONDS = 0.5


class Watcher:
    """Calls `look` in a thread of its own; everything that may block belongs there."""

    def __init__(self, name: str, post: Post) -> None:
        """Describe it; nothing happens before `start`.

        Args:
            name: of the thread, for traces.
            post: how a screen is told (Widget.post_message, which any thread may call).
        """
        self._post = post
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # What subclasses say.

    def look(self) -> float:
        """Look once, tell what is new; return the seconds until the next look."""
        raise NotImplementedError

    def finish(self) -> None:
        """Close what is open; called once, at the thread's end."""

    # What screens call.

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def wake(self) -> None:
        """Look again now."""
        self._woken.set()

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._woken.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_SECONDS)

    # What the thread does.

    @property
    def is_closed(self) -> bool:
        """Whether to stop; long looks ask."""
        return self._closed.is_set()

    def tell(self, message: Message) -> None:
        """Hand a message to the screen; one that has gone needs none."""
        if self.is_closed:
            return
        try:
            self._post(message)
        except RuntimeError:
            # The application's event loop has ended between two looks.
            self._closed.set()

    def _run(self) -> None:
        try:
            while not self.is_closed:
                # Before the look: a wake that comes during it makes another one.
                self._woken.clear()
                seconds = self.look()
                if not self.is_closed:
                    self._woken.wait(seconds)
        finally:
            self.finish()
