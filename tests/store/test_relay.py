"""Site mode: one account fetches, another writes, and neither believes the other."""

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcbox import packets
from hpcbox.errors import DigestMismatch, HpcboxError, NodeSetupFailed, RegistryUnreachable
from hpcbox.image import relay
from hpcbox.image.manifest import Descriptor
from hpcbox.image.reference import parse
from hpcbox.image.source import ByteStream, ImageSource, Resolved
from hpcbox.rootfs.sources import source_of
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store import images, writer
from hpcbox.store.pull import pull
from tests.rootfs.unpacking import Bytes, listing
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.registry import Registry
from tests.services.small_images import (
    compressed,
    config_body,
    digest,
    file,
    folder,
    push_image,
    tar,
    whiteout,
)
from tests.store import pulling
from tests.store.pulling import LIMITS, pull_here, settings, visible

Ends = tuple[packets.Socket, packets.Socket]

SERVICE, ALICE, BOB = 65533, 65532, 65531
LAYER = tar(folder("bin", 0o555), file("bin/tool", os.urandom(50_000), 0o4755), whiteout("gone"))


@pytest.fixture
def site_store(open_folder: Path) -> Path:
    """A store that belongs to the service account, reachable by it."""
    store = open_folder / "store"
    store.mkdir(mode=0o700)
    os.chown(store, SERVICE, SERVICE)
    return store


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The fetcher's and the writer's end of a connection."""
    fetcher_end, writer_end = packets.pair()
    yield fetcher_end, writer_end
    fetcher_end.close()
    writer_end.close()


def pull_as(user: int, image: str, store: Path, stall: float = 30) -> dict[str, object]:
    return pulling.pull_as(user, SERVICE, image, store, stall)


def blob_answers(registry: Registry, repository: str) -> list[str]:
    return [
        line.rpartition(" ")[2]
        for line in registry.requests()
        if line.startswith(f"GET /v2/{repository}/blobs/")
    ]


def test_two_accounts_bring_an_image_into_the_store(registry: Registry, site_store: Path) -> None:
    pushed = push_image(registry, "site/image:1", LAYER)

    said = pull_as(ALICE, f"{registry.address}/site/image:1", site_store)

    assert (said["digest"], said["error"]) == (pushed, None)
    record = images.read_record(str(site_store), pushed)
    assert record is not None
    root = site_store / "layers" / record.layers[0] / "fs"
    assert listing(root)["gone"] == "whiteout"
    assert listing(root)["bin"] == "folder 555"
    assert {path.lstat().st_uid for path in site_store.rglob("*")} == {SERVICE}
    assert images.access_is_fresh(str(site_store), ALICE, pushed, 60)
    assert not images.access_is_fresh(str(site_store), BOB, pushed, 60)


def test_progress_reaches_the_fetcher(registry: Registry, site_store: Path) -> None:
    push_image(registry, "site/progress:1", LAYER)

    said = pull_as(ALICE, f"{registry.address}/site/progress:1", site_store)

    assert said["error"] is None
    assert isinstance(said["progress"], list)
    assert said["progress"][0] == "resolving"
    assert said["progress"][-1].startswith("ready ")


def test_a_second_user_proves_access_by_pieces_instead_of_blobs(
    registry: Registry, site_store: Path
) -> None:
    pushed = push_image(registry, "site/shared:1", LAYER)
    pull_as(ALICE, f"{registry.address}/site/shared:1", site_store)
    before = blob_answers(registry, "site/shared")

    pull_as(BOB, f"{registry.address}/site/shared:1", site_store)

    assert before == ["200", "200"]
    # The config whole: it is small, and its content is part of what is asked for.
    assert sorted(blob_answers(registry, "site/shared")[2:]) == ["200", "206", "206", "206"]
    assert images.access_is_fresh(str(site_store), BOB, pushed, 60)


def test_three_users_at_once_bring_each_layer_once(registry: Registry, site_store: Path) -> None:
    big = tar(*[file(f"f{number}", os.urandom(20_000)) for number in range(200)])
    pushed = push_image(registry, "site/three:1", big, LAYER)
    image = f"{registry.address}/site/three:1"
    users = (ALICE, BOB, BOB - 1)

    with ThreadPoolExecutor(len(users)) as pool:
        ends = list(pool.map(lambda user: pull_as(user, image, site_store), users))

    assert [(end["digest"], end["error"]) for end in ends] == [(pushed, None)] * 3
    answers = blob_answers(registry, "site/three")
    # Two layers once, and the config for each; the others prove by pieces.
    assert (answers.count("200"), answers.count("206")) == (5, 12)
    assert all(images.access_is_fresh(str(site_store), user, pushed, 60) for user in users)


def test_a_copy_on_this_machine_proves_access_too(
    registry: Registry, site_store: Path, open_folder: Path
) -> None:
    pushed = push_image(registry, "site/copied:1", LAYER)
    image = f"{registry.address}/site/copied:1"
    words = ["skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"]
    subprocess.run([*words, f"docker://{image}", f"oci:{open_folder}/copy:1"], check=True)
    pull_as(ALICE, image, site_store)
    layer = open_folder / "copy/blobs/sha256" / digest(compressed(LAYER, "gzip"))[7:]

    before = pull_as(BOB, f"oci:{open_folder}/copy", site_store)
    layer.write_bytes(bytes(layer.stat().st_size))
    after = pull_as(BOB, f"oci:{open_folder}/copy", site_store)

    assert (before["digest"], before["error"]) == (pushed, None)
    assert images.access_is_fresh(str(site_store), BOB, pushed, 60)
    assert after["digest"] is None
    assert "is not what was asked for" in str(after["error"])


def test_a_layer_known_from_another_blob_is_fetched_again(
    registry: Registry, site_store: Path
) -> None:
    push_image(registry, "site/gzip:1", LAYER)
    push_image(registry, "site/zstd:1", LAYER, how="zstd")
    pull_as(ALICE, f"{registry.address}/site/gzip:1", site_store)

    said = pull_as(BOB, f"{registry.address}/site/zstd:1", site_store)

    assert said["error"] is None
    assert blob_answers(registry, "site/zstd") == ["200", "200"]


def test_the_registry_s_reason_reaches_the_user(registry: Registry, site_store: Path) -> None:
    said = pull_as(ALICE, f"{registry.address}/site/nothing:1", site_store)

    assert said["digest"] is None
    assert "has no image" in str(said["error"])
    assert visible(site_store) == set()


def test_a_registry_that_stalls_in_a_blob_is_named(
    bad_registry: BadRegistry, site_store: Path
) -> None:
    push_image(bad_registry, "site/slow:1", LAYER, how="none")
    bad_registry.spoil(rf"/blobs/{digest(LAYER)}", Fault(stall_after=1000))

    said = pull_as(ALICE, f"{bad_registry.address}/site/slow:1", site_store, stall=0.3)

    assert "sent nothing for 0.3 seconds" in str(said["error"])
    assert visible(site_store) == set()
    assert os.listdir(site_store / "tmp") == []


def test_a_blob_that_is_cut_goes_on_while_the_writer_notices_nothing(
    bad_registry: BadRegistry, site_store: Path
) -> None:
    push_image(bad_registry, "site/cut:1", LAYER, how="none")
    bad_registry.spoil(rf"/blobs/{digest(LAYER)}", Fault(cut_after=1000, times=2))

    said = pull_as(ALICE, f"{bad_registry.address}/site/cut:1", site_store)

    assert said["error"] is None
    assert said["digest"]


def test_a_blob_that_was_altered_once_is_asked_for_anew_through_the_relay(
    bad_registry: BadRegistry, site_store: Path
) -> None:
    push_image(bad_registry, "site/altered:1", LAYER, how="none")
    for blob in (LAYER, config_body([digest(LAYER)])):
        altered = Fault(alter=lambda body: body[:-1] + b"x", times=1)
        bad_registry.spoil(digest(blob), altered)

    said = pull_as(ALICE, f"{bad_registry.address}/site/altered:1", site_store)

    assert said["error"] is None
    assert len(bad_registry.paths()) == 5


class Lying:
    """A source that knows the digests of an image but not its bytes."""

    def __init__(self, true: ImageSource) -> None:
        self._true = true
        self.asked_for: list[str] = []

    def resolve(self) -> Resolved:
        """Tell the truth: manifests leak."""
        return self._true.resolve()

    def open_blob(self, descriptor: Descriptor) -> ByteStream:
        """Give the config, and for the layer bytes of the right size."""
        self.asked_for.append(str(descriptor.digest))
        if "config" in descriptor.media_type:
            return self._true.open_blob(descriptor)
        return Bytes(bytes(descriptor.size_bytes))

    def read_windows(
        self, _descriptor: Descriptor, windows: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Guess."""
        return [bytes(length) for _, length in windows]


def relayed(
    source: ImageSource, store: Path, user: int, ends: Ends
) -> tuple[str | None, HpcboxError | None]:
    """Run both sides in this process; return the writer's digest or its error."""
    fetcher_end, writer_end = ends
    failures: list[HpcboxError] = []

    def serve() -> None:
        try:
            relay.serve(fetcher_end, source, lambda _progress: None)
        except HpcboxError as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    written = None
    try:
        written = writer.write(writer_end, str(store), user, DirectorySink(), LIMITS)
    except HpcboxError as error:
        raised: HpcboxError | None = error
    else:
        raised = None
    thread.join(20)
    assert not thread.is_alive()
    assert [type(error) for error in failures] == ([type(raised)] if raised else [])
    return written, raised


def test_who_knows_the_digests_but_not_the_bytes_gets_no_access(
    registry: Registry, store: Path, ends: Ends
) -> None:
    pushed = push_image(registry, "site/private:1", LAYER)
    image = f"{registry.address}/site/private:1"
    true = source_of(parse(image), settings(store))
    pull(true, str(store), DirectorySink(), LIMITS, lambda _progress: None, grant_to=ALICE)
    lying = Lying(true)

    written, error = relayed(lying, store, BOB, ends)

    assert written is None
    assert isinstance(error, DigestMismatch)
    assert len(lying.asked_for) == 2
    assert not images.access_is_fresh(str(store), BOB, pushed, 60)
    assert images.read_record(str(store), pushed) is not None


def test_a_writer_whose_fetcher_dies_says_so(store: Path, ends: Ends) -> None:
    fetcher_end, writer_end = ends
    threading.Timer(0.1, fetcher_end.close).start()

    with pytest.raises(RegistryUnreachable, match="fetches the image died"):
        writer.write(writer_end, str(store), ALICE, DirectorySink(), LIMITS)


def test_a_fetcher_whose_writer_dies_says_so(registry: Registry, store: Path, ends: Ends) -> None:
    fetcher_end, writer_end = ends
    writer_end.close()
    source = source_of(parse(f"{registry.address}/a:1"), settings(store))

    with pytest.raises(NodeSetupFailed, match="died"):
        relay.serve(fetcher_end, source, lambda _progress: None)


@pytest.mark.parametrize(
    "answer",
    [b"no json", b"[]", b'{"id":1}', b'{"id":1,"media_type":3}', b'{"id":"1"}', b"{" * 60000],
)
def test_a_fetcher_that_talks_nonsense_ends_the_pull(
    store: Path, ends: Ends, answer: bytes
) -> None:
    fetcher_end, writer_end = ends

    def talk() -> None:
        packets.receive(fetcher_end)
        packets.send(fetcher_end, b"R", answer)
        fetcher_end.close()

    threading.Thread(target=talk).start()

    with pytest.raises(HpcboxError):
        writer.write(writer_end, str(store), ALICE, DirectorySink(), LIMITS)
    assert visible(store) == set()


def test_in_a_store_of_one_user_nothing_has_to_be_proven(registry: Registry, store: Path) -> None:
    push_image(registry, "own/image:1", LAYER)
    pull_here(f"{registry.address}/own/image:1", store)
    before = blob_answers(registry, "own/image")

    pull_here(f"{registry.address}/own/image:1", store)

    assert blob_answers(registry, "own/image") == before
