"""What the launcher knows while a launch runs."""

import asyncio

import pytest

from hpcbox.errors import AgentFailed
from hpcbox.ranks.delivery import Delivery
from hpcbox.ranks.launch_state import LaunchState
from hpcbox.ranks.placement import place
from hpcbox.ranks.plan import LaunchPlan


def test_agents_that_failed_before_anybody_waited_end_the_launch() -> None:
    plan = LaunchPlan("7", "0", ("n1", "n2"), 2, ("true",), {}, "/")

    async def launch() -> None:
        state = LaunchState(place(plan.nodes, plan.tasks), Delivery(plan))
        for node in state.nodes:
            node.link.ended("it ended with exit code 127")
        await state.until(lambda: False, 5.0)

    with pytest.raises(AgentFailed, match="no agent answered"):
        asyncio.run(launch())
