"""Settings: files, origins, and the compiled form for nodes."""

from pathlib import Path

import pytest

from hpcbox import settings
from hpcbox.errors import SettingsError
from hpcbox.registries import Registry


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hpcbox.toml"
    path.write_text(text)
    return str(path)


def test_a_compiled_site_file_reads_back_equal(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        'store = "/srv/store"\nmounts = ["/home"]\n[registries."r:5000"]\nplain_http = true\n',
    )
    compiled = tmp_path / "settings.json"
    compiled.write_text(settings.compile_site(source))

    read = settings.load_compiled(str(compiled))

    assert read == settings.Settings(
        store="/srv/store",
        service_user="hpcbox",
        store_high_percent=90,
        store_low_percent=80,
        mounts=("/home",),
        registries={"r:5000": Registry(plain_http=True)},
    )


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    source = written(tmp_path, 'stroe = "/srv"\n')

    with pytest.raises(SettingsError, match=r"unknown setting 'stroe' — did you mean 'store'"):
        settings.read_file(source)


@pytest.mark.parametrize(
    "line",
    [
        'store = "relative"',
        'output = "perhaps"',
        "store = 3",
        "access_seconds = -1",
        "access_seconds = true",
        "store_high_percent = 0",
        "store_low_percent = 101",
        "timeout_seconds = 0",
        'mounts = "x"',
        'registries = "x"',
        "[registries.r]\nhttp = true",
        "store =",
    ],
)
def test_a_wrong_value_is_refused_with_the_file_named(tmp_path: Path, line: str) -> None:
    source = written(tmp_path, line + "\n")

    with pytest.raises(SettingsError, match=r"hpcbox\.toml"):
        settings.compile_site(source)


def test_a_file_compiled_by_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"version": 99}')

    with pytest.raises(SettingsError, match="another version"):
        settings.load_compiled(str(path))
