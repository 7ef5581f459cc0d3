"""The design's tables of mounts and variables, as pure functions."""

import pytest

from hpcbox.container import environment
from hpcbox.container.mounts import folder_mounts
from hpcbox.request.wire import ContainerRequest


def request(**fields: str) -> ContainerRequest:
    names = ("image", "digest", "mounts", "workdir", "env", "cwd", "submit_dir", "script")
    return ContainerRequest({name: fields.get(name, "") for name in names})


def targets(wanted: ContainerRequest, *site: str) -> list[str]:
    return [mount.target for mount in folder_mounts(wanted, site)]


def test_the_working_directory_is_mounted() -> None:
    assert targets(request(cwd="/scratch/run")) == ["/tmp", "/scratch/run"]


def test_a_working_directory_below_a_site_mount_is_not_mounted_twice() -> None:
    assert targets(request(cwd="/home/alice/run"), "/home") == ["/tmp", "/home"]


@pytest.mark.parametrize("cwd", ["", "/", "/usr/share", "/etc", "/opt", "/lib64", "/tmp/x"])
def test_a_working_directory_that_would_hide_the_image_is_left_out(cwd: str) -> None:
    assert targets(request(cwd=cwd)) == ["/tmp"]


def test_a_batch_script_that_runs_inside_is_mounted() -> None:
    script = "/var/spool/slurmd/job00007/slurm_script"

    assert targets(request(script=script)) == ["/tmp", "/var/spool/slurmd/job00007"]
    assert targets(request(script=script), "/var/spool/slurmd") == ["/tmp", "/var/spool/slurmd"]


def test_the_users_own_mounts_come_last() -> None:
    assert targets(request(cwd="/scratch", mounts="/a:/tmp"), "/home") == [
        "/tmp",
        "/home",
        "/scratch",
        "/tmp",
    ]


def test_the_images_variables_are_set_in_order() -> None:
    assert environment.image_variables(("PATH=/image/bin", "A=1", "A=2"), ()) == [
        "PATH=/image/bin",
        "A=2",
    ]


def test_names_of_container_env_keep_the_hosts_value() -> None:
    assert environment.image_variables(("A=image", "B=image"), ("A",)) == ["B=image"]


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "PMI_FD", "PMIX_RANK", "HPCBOX_X", "SPANK_X"])
def test_an_image_cannot_set_what_belongs_to_slurm_or_a_process_manager(name: str) -> None:
    assert environment.image_variables((f"{name}=x",), ()) == []


@pytest.mark.parametrize("entry", ["NOEQUALS", "=x", "", "A=b\0c"])
def test_an_entry_that_is_no_variable_is_left_out(entry: str) -> None:
    assert environment.image_variables((entry,), ()) == []
