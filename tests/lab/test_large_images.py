"""The images that only benchmarks need: what can be said of them without building them."""

import io
import tarfile

from tests.services import made_layers
from tests.services.large_recipes import LARGE_RECIPES
from tests.services.recipes import RECIPES


def test_removals_become_whiteouts_and_emptied_folders() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        made_layers.add_removals(tar, ("top", "a/file", "b/folder/"))

    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        assert tar.getnames() == [".wh.top", "a/.wh.file", "b/folder/.wh..wh..opq", "b/folder/new"]


def test_large_images_are_not_among_those_that_every_lab_builds() -> None:
    names = [recipe.name for recipe in (*RECIPES, *LARGE_RECIPES)]

    assert len(set(names)) == len(names)
    assert not {recipe.name for recipe in RECIPES} & {"small", "medium", "ml", "zeros"}


def test_every_layer_that_a_recipe_names_can_be_made() -> None:
    wanted = {name for recipe in LARGE_RECIPES for name in recipe.made}

    assert wanted == set(made_layers.FILLS)
