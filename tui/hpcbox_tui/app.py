"""The application. Today it says what is to come: the queue, the job and its ranks."""

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Middle
from textual.widgets import Footer, Header, Static

TEXT = """\
Here you will see the queue, your allocations with each node's image pull,
and what every rank prints.

Until then:

  sbatch --container=IMAGE job.sh     srun in the script starts ranks in the image
  srun --container=IMAGE COMMAND      one step in the image
  hpcbox pull IMAGE                   fetch an image now
  squeue, scontrol show job ID        what runs
"""


class HpcboxApp(App[int]):
    """The screen before there are screens."""

    TITLE = "hpcbox"
    SUB_TITLE = "container jobs on Slurm"
    CSS = """
    Middle { align: center middle; }
    #text { width: auto; padding: 1 3; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit")]

    def compose(self) -> ComposeResult:
        """Lay out the one text."""
        yield Header()
        with Middle():
            yield Static(TEXT, id="text")
        yield Footer()


def run() -> int:
    """Show the screen until it is left; return the exit code."""
    return HpcboxApp().run() or 0
