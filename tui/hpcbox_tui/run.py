"""Starts the screens, on a real cluster or on the recorded one."""

import gc
import getpass
import os
import sys
import tempfile
import time

from hpcbox.errors import RequestError


def check_terminal() -> None:
    """Refuse what can't show screens, and say what works there.

    Raises:
        RequestError: no terminal, or one that can't move its cursor.
    """
    hint = "'hpcbox ps' and 'hpcbox logs' print the same as plain lines"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RequestError("the screens need a terminal", hint=hint)
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        name = os.environ.get("TERM", "")
        raise RequestError(f"a terminal of type '{name}' shows no screens", hint=hint)


def run(*, everybody: bool = False, demo: bool = False) -> int:
    """Show the screens until they are left; return the exit code.

    Args:
        everybody: begin with everybody's jobs instead of the user's.
        demo: play the recorded cluster; Slurm isn't asked for anything.

    Raises:
        RequestError: there is no terminal for screens.
    """
    check_terminal()
    # Read by Textual when it is loaded: nothing moves here, and over ssh every frame costs.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    # A tenth of start-up would go into looking for garbage among modules; the application enables
    # it again after its first paint.
    gc.disable()
    if demo:
        return _run_demo()
    from hpcbox import views  # noqa: PLC0415 - after the terminal's check
    from hpcbox_tui.app import HpcboxApp  # noqa: PLC0415 - Textual loads here only
    from hpcbox_tui.feed.snapshot import Snapshot, default_path  # noqa: PLC0415 - as above

    app = HpcboxApp(
        views.slurm(),
        user=getpass.getuser(),
        everybody=everybody,
        snapshot=Snapshot(default_path()),
    )
    app.run()
    # 1 after a defect, whose trace has been printed.
    return app.return_code or 0


def _run_demo() -> int:
    from hpcbox_tui.app import HpcboxApp  # noqa: PLC0415 - Textual loads here only
    from hpcbox_tui.demo.cluster import DemoCluster  # noqa: PLC0415 - for demonstrations only

    with tempfile.TemporaryDirectory(prefix="hpcbox-demo-") as folder:
        cluster = DemoCluster(folder, time.time)
        cluster.start()
        app = HpcboxApp(
            cluster.client, find_steps=cluster.find_steps, user=cluster.user, everybody=True
        )
        try:
            app.run()
            return app.return_code or 0
        finally:
            cluster.close()
