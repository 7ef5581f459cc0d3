"""Images behind a password, on a real cluster: credentials reach the node, and only the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.services.odd_registry import PASSWORD
from tests.whole.asking import check_refused, srun

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

INSIDE = ["/bin/busybox", "cat", "/all/shown"]


@pytest.mark.parametrize("variable", [None, "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"])
def test_a_login_counts_on_the_nodes_until_the_logout(
    cluster: Cluster, odd_registry: str, variable: str | None
) -> None:
    image = f"--container={odd_registry}/private/app:1"
    env = {variable: "/home/alice/keys"} if variable else {}
    login = ["hpcbox", "login", odd_registry, "-u", "alice", "--password-stdin"]
    for node in cluster.node_names:
        cluster.run(["hpcbox", "rm", "--all"], user="root", node=node)

    before = check_refused(srun(cluster, "-N2", image, *INSIDE, env=env), "wants credentials")
    logged_in = cluster.run(login, input=PASSWORD + "\n", env=env)
    done = srun(cluster, "-N2", image, *INSIDE, env=env)
    logged_out = cluster.run(["hpcbox", "logout", odd_registry], env=env)
    cluster.run(["rm", "-rf", "/home/alice/keys", "/home/alice/.docker"])

    assert f"run 'hpcbox login {odd_registry}'" in before
    assert (logged_in.returncode, logged_in.stderr) == (0, "")
    assert (done.returncode, done.stdout) == (0, "x\nx\n"), done.stderr
    assert logged_out.stdout == f"logged out of {odd_registry}\n"
    assert PASSWORD not in logged_in.stdout + done.stderr + logged_out.stdout
