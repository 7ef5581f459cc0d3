"""The two ways into a container, asked alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from subprocess import CompletedProcess

    from tests.services.slurm import Cluster

REG = "10.77.0.1:5000"
IMAGE = f"{REG}/debian:1"


class Way:
    """Runs commands in containers on node n1 as alice: by srun, or by `hpcbox run`."""

    def __init__(self, cluster: Cluster, *, site: bool) -> None:
        self.cluster = cluster
        self.site = site

    def run(
        self,
        *words: str,
        options: tuple[str, ...] = (),
        image: str = IMAGE,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: str | None = None,
    ) -> CompletedProcess[str]:
        """Run a command in an image, with --container-* options."""
        if self.site:
            line = ["srun", "--quiet", f"--container={image}", *options, *words]
        else:
            line = ["hpcbox", "run", f"--image={image}", *options, "--", *words]
        node = "ctl" if self.site else "n1"
        return self.cluster.run(line, node=node, env=env, cwd=cwd, input=stdin, timeout_seconds=120)

    def sh(self, script: str, *options: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Run a shell script, which must succeed; return the lines that it prints."""
        done = self.run("sh", "-c", script, options=options, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def refused(self, *words: str, options: tuple[str, ...] = (), code: int = 125) -> str:
        """Run what must be refused in one line of hpcbox; return the line."""
        done = self.run(*words, options=options)
        lines = [line for line in done.stderr.splitlines() if line.startswith("hpcbox: ")]
        assert (done.returncode, len(lines)) == (code, 1), done.stderr
        assert "Traceback" not in done.stderr
        return lines[0]
