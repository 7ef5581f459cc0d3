"""The recording: a queue that changes, a node that pulls, ranks that print; no Slurm anywhere."""

import json
import os
import threading
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

from hpcbox.cluster.fake import FakeClient
from hpcbox.views import Job, JobDetail, Step, StepFolder
from hpcbox_tui.demo.step import DemoStep

_STEP_SECONDS = 0.1


class DemoCluster:
    """Plays the recording into a folder; `client` and `find_steps` are what the screens take.

    Attributes:
        client: answers as Slurm would.
        user: whose screen it is.
    """

    def __init__(self, folder: str, clock: Callable[[], float] = time.time) -> None:
        """Begin at the recording's time 0, which is now.

        Args:
            folder: for the step's output, empty.
            clock: seconds since 1970.
        """
        path = resources.files("hpcbox_tui.demo").joinpath("cluster.json")
        script: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self._script = script
        self._clock = clock
        self._epoch = clock()
        self.user: str = script["user"]
        self.client = FakeClient(name=script["cluster"], clock=clock)
        table = script["step"]
        name = f"hpcbox-{table['job']}.{table['step']}"
        self._step = DemoStep(os.path.join(folder, name), table, self._epoch)
        self._folder = StepFolder(table["job"], table["step"], self._step.folder)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpcbox-demo", daemon=True)

    def find_steps(self, detail: JobDetail) -> tuple[StepFolder, ...]:
        """Return the one step that has output, for its job."""
        return (self._folder,) if str(detail.number) == self._folder.job else ()

    def advance(self) -> None:
        """Bring queue and output to the clock's time."""
        now = self._clock() - self._epoch
        lines = {}
        for row in self._script["jobs"]:
            job = self._job(row, now)
            earlier = self.client.lines.get(job.key)
            # What somebody has cancelled stays cancelled.
            is_cancelled = earlier is not None and earlier.state == "CANCELLED"
            lines[job.key] = earlier if earlier is not None and is_cancelled else job
        self.client.lines = lines
        self._add_detail(now)
        if lines[self._folder.job].state != "CANCELLED":
            self._step.advance(now)

    def _job(self, row: dict[str, Any], now: float) -> Job:
        runs, ended = row["begin"] <= now < row["end"], now >= row["end"]
        state = row["outcome"] if ended else "RUNNING" if runs else "PENDING"
        return Job(
            key=row["key"],
            job_id=int(row["key"].partition("_")[0]),
            name=row["name"],
            user=row["user"],
            account=row["account"],
            partition=row["partition"],
            qos=row["qos"],
            state=state,
            reason="" if runs or ended else row["reason"],
            elapsed_seconds=max(0, int(min(now, row["end"]) - row["begin"])),
            limit_seconds=row["limit"],
            nodes=row["nodes"],
            cpus=row["cpus"],
            tasks=row["tasks"],
            node_list=row["node_list"] if runs or ended else "",
            submitted=int(self._epoch + row["queued"]),
            started=int(self._epoch + row["begin"]) if runs or ended else None,
            container=row["image"],
        )

    def _add_detail(self, now: float) -> None:
        table = self._script["step"]
        key = table["job"]
        job, facts = self.client.lines[key], self._script["detail"][key]
        elapsed = max(0, int(now - table["begin"]))
        nodes = f"n[001-{len(table['nodes']):03}]"
        tasks = len(table["nodes"]) * table["ranks_per_node"]
        step = Step(f"{key}.0", table["command"][0], job.state, tasks, 4, nodes, elapsed, "")
        batch = Step(f"{key}.batch", "batch", job.state, 1, 1, "n001", job.elapsed_seconds, "")
        self.client.details[key] = JobDetail(
            job=job,
            number=int(key),
            work_dir=facts["work_dir"],
            stdout=facts["stdout"],
            stderr=facts["stdout"],
            container=table["image"],
            command=facts["command"],
            asked=tuple((name, value) for name, value in facts["asked"]),
            used=tuple((name, value) for name, value in facts["used"]),
            steps=(step, batch),
        )

    # Playing along with the clock.

    def start(self) -> None:
        """Go on with the clock until `close`."""
        self.advance()
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(1)

    def _run(self) -> None:
        while not self._closed.wait(_STEP_SECONDS):
            self.advance()
