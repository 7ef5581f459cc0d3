"""The variables by which a rank knows its place; pure.

Slurm's names in every way of launching; in `env` mode those of torchrun and its followers too.
Loaded on nodes: standard library only.
"""

import zlib

# Below the ports that Linux gives out by itself (32768 and up) and above most services.
_FIRST_PORT, _PORTS = 15000, 17000

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hpcbox.ranks.order import Order


def master_port(job: str, step: str) -> int:
    """Return a port that all ranks of a step derive alike; it is probably free."""
    return _FIRST_PORT + zlib.crc32(f"{job}.{step}".encode()) % _PORTS


def node_variables(order: "Order") -> dict[str, str]:
    """Return what all ranks of a node share."""
    variables = {
        "SLURM_JOB_ID": order.job,
        "SLURM_STEP_ID": order.step,
        "SLURM_STEPID": order.step,
        "SLURM_NTASKS": str(order.tasks),
        "SLURM_NPROCS": str(order.tasks),
        "SLURM_STEP_NUM_TASKS": str(order.tasks),
        "SLURM_NNODES": str(len(order.nodes)),
        "SLURM_STEP_NUM_NODES": str(len(order.nodes)),
        "SLURM_NODEID": str(order.node_index),
        "SLURMD_NODENAME": order.node,
        "SLURM_CPUS_PER_TASK": str(order.cpus_per_task),
        "SLURM_TASKS_PER_NODE": tasks_per_node(order.counts),
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node(order.counts),
    }
    if order.cluster:
        variables["SLURM_CLUSTER_NAME"] = order.cluster
    if order.image:
        variables["HPCBOX_IMAGE"] = order.image
        variables["HPCBOX_IMAGE_DIGEST"] = order.digest
    if order.mpi == "env":
        variables |= {
            "WORLD_SIZE": str(order.tasks),
            "LOCAL_WORLD_SIZE": str(order.count),
            "GROUP_RANK": str(order.node_index),
            "NODE_RANK": str(order.node_index),
            "MASTER_ADDR": order.master,
            "MASTER_PORT": str(master_port(order.job, order.step)),
        }
    return variables


def rank_variables(order: "Order", rank: int) -> dict[str, str]:
    """Return what a rank has for itself."""
    local = str(rank - order.first_rank)
    variables = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": local}
    if order.mpi == "env":
        variables |= {"RANK": str(rank), "LOCAL_RANK": local}
    return variables


def tasks_per_node(counts: list[int]) -> str:
    """Return the ranks of each node as Slurm writes them: `4(x3),2`."""
    groups: list[list[int]] = []
    for count in counts:
        if groups and groups[-1][0] == count:
            groups[-1][1] += 1
        else:
            groups.append([count, 1])
    return ",".join(f"{count}(x{times})" if times > 1 else f"{count}" for count, times in groups)
