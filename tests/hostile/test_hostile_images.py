"""What may not become a folder may not become an image either, for the same reason."""

from pathlib import Path

import pytest

from hpcbox.errors import LayerRejected
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from tests.hostile.test_hostile_layers import REFUSED
from tests.rootfs.images import Unpacks
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import Item, tar

SINKS = [pytest.param(IndexSink(), id="index"), pytest.param(ErofsSink(), id="full")]


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize(("items", "reason"), REFUSED)
def test_a_layer_that_breaks_a_rule_is_refused_as_an_image(
    sink: Unpacks, items: list[Item], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(LayerRejected) as caught:
        sink.unpack(Bytes(tar(*items)), str(tmp_path), budget())

    assert reason in str(caught.value)
    assert len(str(caught.value)) <= 600
    assert "\n" not in str(caught.value)
