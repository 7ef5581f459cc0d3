"""The configuration files of a machine, made from the templates in conf/."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.services.spec import CONF, CONTROLLER, CONTROLLER_ADDRESS, LabSpec

if TYPE_CHECKING:
    from pathlib import Path

# What hpcbox's plugin is told (spank/): which interpreter, where the package lies, which settings.
PLUGIN_LINE = (
    "required hpcbox.so python=/opt/hpcbox/bin/python3"
    " prefix=/opt/hpcbox/lib/python3.11/site-packages settings=/etc/hpcbox/settings.json\n"
)
PROFILE_WORDS = {
    "exact": {"TASK_PLUGIN": "task/cgroup,task/affinity", "CPUS": "2", "CONSTRAIN_CORES": "yes"},
    "wide": {"TASK_PLUGIN": "task/cgroup", "CPUS": "16", "CONSTRAIN_CORES": "no"},
}


def _fill(template: str, words: dict[str, str]) -> str:
    text = (CONF / template).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def slurm_conf(spec: LabSpec) -> str:
    """slurm.conf of a lab, the same on all its machines."""
    nodes = [f"NodeName={name} NodeAddr={spec.address(name)}" for name in spec.node_names]
    return _fill(
        "slurm.conf.in",
        PROFILE_WORDS[spec.profile]
        | {
            "NAME": spec.name,
            "CONTROLLER": CONTROLLER_ADDRESS,
            "DEFAULT_MEMORY": "200",
            "ACCOUNTING": "accounting_storage/slurmdbd"
            if spec.database
            else "accounting_storage/none",
            "NODES": "\n".join(nodes),
        },
    )


def hosts(spec: LabSpec) -> str:
    """The content of /etc/hosts, with every machine of the lab."""
    lines = [f"{spec.address(machine)} {machine}" for machine in spec.machines]
    return "\n".join(["127.0.0.1 localhost", *lines, ""])


def write(etc: Path, spec: LabSpec, machine: str) -> None:
    """Write Slurm's, hpcbox's and the network's files into a machine's etc."""
    (etc / "hosts").write_text(hosts(spec), encoding="utf-8")
    for name in ("slurm", "hpcbox"):
        shutil.rmtree(etc / name, ignore_errors=True)
        (etc / name).mkdir(mode=0o755)
    (etc / "slurm/slurm.conf").write_text(slurm_conf(spec), encoding="utf-8")
    cgroup_conf = _fill("cgroup.conf.in", PROFILE_WORDS[spec.profile])
    (etc / "slurm/cgroup.conf").write_text(cgroup_conf, encoding="utf-8")
    plugin_line = "" if machine in spec.plugin_missing_on else PLUGIN_LINE
    (etc / "slurm/plugstack.conf").write_text(plugin_line, encoding="utf-8")
    if spec.database and machine == CONTROLLER:
        secret = etc / "slurm/slurmdbd.conf"
        shutil.copyfile(CONF / "slurmdbd.conf", secret)
        secret.chmod(0o600)
        shutil.chown(secret, "slurm", "slurm")
    if machine == CONTROLLER:
        shutil.copyfile(CONF / "registry.yml", etc / "hpcbox-lab-registry.yml")
    shutil.copyfile(CONF / "hpcbox.toml", etc / "hpcbox/hpcbox.toml")
    if spec.settings is not None:
        shutil.copyfile(spec.settings, etc / "hpcbox/settings.json")
