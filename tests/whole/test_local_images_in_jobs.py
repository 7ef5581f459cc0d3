"""Images that lie in alice's home, in jobs of hers, by every form of reference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.services.spec import REGISTRY
from tests.whole.asking import check_refused, errors_of_hpcbox, srun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

IMAGE = f"{REGISTRY}/static:1"
FORMS = {
    "oci:images/layout:1": "oci:/home/alice/images/layout:1",
    "oci-archive:images/oci.tar": "oci-archive:/home/alice/images/oci.tar",
    "docker-archive:./images/docker.tar": "docker-archive:/home/alice/images/docker.tar",
    "dir:~/images/root": "dir:/home/alice/images/root",
    "./images/x.sqsh": "/home/alice/images/x.sqsh",
    "images/ä b.erofs": "/home/alice/images/ä b.erofs",
}


@pytest.fixture(scope="module")
def images(running_cluster: Cluster) -> Iterator[None]:
    """The same image in alice's home, in each form; nobody else may read it."""
    copy = f"skopeo copy -q --insecure-policy --src-tls-verify=false docker://{IMAGE}"
    script = f"""
        mkdir -m 700 images && cd images
        {copy} oci:layout:1 && {copy} oci-archive:oci.tar && {copy} docker-archive:docker.tar
        hpcbox unpack --quiet {IMAGE} root && mksquashfs root x.sqsh -quiet -no-progress
        mkfs.erofs --quiet "ä b.erofs" root
        mkdir locked && touch locked/file && chmod 0 locked/file
    """
    running_cluster.run(["sh", "-e", "-c", script], check=True)
    yield
    running_cluster.run(["rm", "-rf", "images"], check=True)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("typed", "whole"), FORMS.items())
def test_a_step_runs_in_an_image_of_the_user_s_home(
    cluster: Cluster, typed: str, whole: str
) -> None:
    for node in ("n1", "n2"):
        cluster.run(["hpcbox", "rm", "--all"], user="root", node=node, check=True)

    done = srun(cluster, "-w", "n1,n2", f"--container={typed}", "/static")

    assert done.returncode == 0, done.stderr
    assert errors_of_hpcbox(done.stderr) == []
    assert len(done.stdout.splitlines()) == 2
    listed = cluster.run(["hpcbox", "images", "--json"], user="root", node="n1").stdout
    assert [whole] in [record["references"] for record in json.loads(listed)]


@pytest.mark.usefixtures("images")
def test_a_job_s_steps_find_the_image_from_any_folder(cluster: Cluster) -> None:
    cluster.run(["tee", "images/job.sh"], input="#!/bin/sh\ncd ..\nsrun /static\n", check=True)

    cluster.run(
        ["sbatch", "--wait", "--output=job.out", "--container=./x.sqsh", "-N2", "job.sh"],
        cwd="/home/alice/images", check=True, timeout_seconds=60,
    )  # fmt: skip

    output = cluster.run(["cat", "images/job.out"]).stdout
    assert output.count("rank ") == 2, output


@pytest.mark.usefixtures("images")
def test_the_submitting_side_says_what_is_wrong_with_a_path(cluster: Cluster) -> None:
    for typed, reason in {
        "oci:images/nothing": "there is no /home/alice/images/nothing",
        "oci:images/layout:2": "it has 1",
        "./images/root": "'dir:./images/root' may be meant",
        "dir:images/locked": "cannot read /home/alice/images/locked/file: Permission denied",
        "docker-archive:images/oci.tar": "write oci-archive:FILE",
    }.items():
        done = srun(cluster, f"--container={typed}", "/static")
        line = check_refused(done, reason, code=done.returncode)
        assert done.returncode != 0
        assert not line.startswith("hpcbox: n")


@pytest.mark.usefixtures("images")
def test_another_user_s_image_can_be_read_by_nobody_but_them(cluster: Cluster) -> None:
    for typed in ("oci:/home/alice/images/layout:1", "/home/alice/images/x.sqsh"):
        done = srun(cluster, f"--container={typed}", "/static", user="bob")
        assert done.returncode != 0
        assert "Permission denied" in done.stderr


@pytest.fixture
def own_stores(cluster: Cluster) -> Iterator[None]:
    """Alice's own stores go when the test ends."""
    yield
    for node in cluster.node_names:
        cluster.run(["rm", "-rf", "/tmp/hpcbox-2001"], user="root", node=node)


@pytest.mark.usefixtures("images", "own_stores")
def test_user_mode_takes_the_same_references(cluster: Cluster) -> None:
    for typed in FORMS:
        done = cluster.run(["hpcbox", "run", "--image", typed, "--", "/static"], node="n1")

        assert done.returncode == 0, done.stderr
        assert "rank 0" in done.stdout


@pytest.mark.usefixtures("images", "own_stores")
def test_ranks_over_ssh_take_the_same_references(cluster: Cluster) -> None:
    words = ["hpcbox", "srun", "--launcher=ssh", "-N2", "--container=./images/x.sqsh", "/static"]
    done = cluster.run(["salloc", "-N2", *words], timeout_seconds=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rank ") == 2
