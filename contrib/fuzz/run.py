"""Fuzz one target for a while and say what came of it.

    contrib/fuzz/run.py tar --seconds 600
    contrib/fuzz/run.py tar --seconds 60 --plant     # proves that a defect would be found

What was found to reach new code is kept in build/fuzz/TARGET and used the next time. The exit code
is 0 when nothing was found, or with --plant when the planted defect was.
"""

import argparse
import contextlib
import dis
import hashlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
TARGETS = ("reference", "manifest", "tar", "erofs", "unpack", "image")
_SLOW_SECONDS = 10
_MEMORY_MEGABYTES = 1024
_COVERAGE_INPUTS = 3000


def main() -> int:
    """Run in the foreground; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--plant", action="store_true", help="put a defect into the code first")
    parser.add_argument("--input", type=Path, help="check this one input only")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY), str(HERE)]
    if arguments.child is not None:
        _fuzz(arguments.target, arguments.child, plant=arguments.plant)
    if arguments.input is not None:
        _load(arguments.target).check(arguments.input.read_bytes())
        return 0
    with _corpus(arguments.target, kept=not arguments.plant) as corpus:
        return _watch(arguments, corpus)


def _load(name: str) -> Any:
    return importlib.import_module(f"fuzz_{name}").TARGET


def _fuzz(name: str, options: list[str], *, plant: bool) -> None:
    """Fuzz in this process, which ends with it."""
    import atheris  # noqa: PLC0415 - of the child alone

    with atheris.instrument_imports(include=["hpcbox"], enable_loader_override=False):
        target = _load(name)
    if plant:
        print(f"planted: {target.plant()}", file=sys.stderr)
    mutator = {} if target.mutate is None else {"custom_mutator": target.mutate}
    atheris.Setup([sys.argv[0], *options], target.check, **mutator)
    atheris.Fuzz()


@contextlib.contextmanager
def _corpus(name: str, *, kept: bool) -> Iterator[Path]:
    with contextlib.ExitStack() as scratch:
        if kept:
            folder = REPOSITORY / "build/fuzz" / name
        else:
            folder = Path(scratch.enter_context(tempfile.TemporaryDirectory())) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed in _load(name).seeds():
            (folder / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
        yield folder


def _watch(arguments: argparse.Namespace, corpus: Path) -> int:
    target = _load(arguments.target)
    found = REPOSITORY / "build/fuzz/found"
    found.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, str(HERE / "run.py"), arguments.target,
        *(["--plant"] if arguments.plant else []), "--child",
        f"-max_total_time={arguments.seconds}", f"-max_len={target.longest_bytes}",
        f"-timeout={_SLOW_SECONDS}", f"-rss_limit_mb={_MEMORY_MEGABYTES}",
        "-print_final_stats=1", f"-artifact_prefix={found}/{arguments.target}-", str(corpus),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=arguments.seconds + 120,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    text = done.stdout
    crashed = done.returncode != 0
    executions = _last(r"stat::number_of_executed_units:\s*(\d+)", text) or _last(r"^#(\d+)", text)
    edges = _last(r"cov: (\d+)", text)
    print(
        f"{arguments.target}: {executions} executions in {arguments.seconds} s at most, "
        f"{edges} edges, {len(list(corpus.iterdir()))} inputs kept"
    )
    if crashed:
        # The Python exception, and where libFuzzer put the input.
        told = text.partition("=== Uncaught Python exception: ===")[2] or text[-4000:]
        print("\n".join(line for line in told.splitlines() if not line.startswith("stat::")))
    if arguments.plant:
        print("the planted defect was found" if crashed else "the planted defect was NOT found")
        return int(not crashed)
    _print_lines(target, corpus)
    print("found a defect" if crashed else "nothing found")
    return int(crashed)


def _last(pattern: str, text: str) -> str:
    return str((re.findall(pattern, text, re.MULTILINE) or ["?"])[-1])


def _print_lines(target: Any, corpus: Path) -> None:
    """Say which share of the modules' lines the kept inputs reach."""
    modules = {name: importlib.import_module(name) for name in target.modules}
    files = {str(module.__file__): name for name, module in modules.items()}
    reached: dict[str, set[int]] = {file: set() for file in files}

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        lines = reached.get(frame.f_code.co_filename)
        if lines is None:
            return None
        if event == "line":
            lines.add(frame.f_lineno)
        return trace

    inputs = sorted(corpus.iterdir())[:_COVERAGE_INPUTS]
    sys.settrace(trace)
    try:
        for path in inputs:
            with contextlib.suppress(Exception):
                target.check(path.read_bytes())
    finally:
        sys.settrace(None)
    for file, name in files.items():
        wanted = _function_lines(compile(Path(file).read_bytes(), file, "exec"))
        missed = sorted(wanted - reached[file])
        share = 100 * (len(wanted) - len(missed)) // max(len(wanted), 1)
        note = f"; not {', '.join(map(str, missed[:12]))}" if missed else ""
        print(f"  {name}: {share} % of {len(wanted)} lines{note}")


def _function_lines(code: CodeType, *, inside: bool = False) -> set[int]:
    """Return the lines in functions; what runs when a module is loaded doesn't count."""
    lines = {line for _, line in dis.findlinestarts(code) if line} if inside else set()
    # The line of `def` itself is the function's beginning, not a step in it.
    lines.discard(code.co_firstlineno)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            is_function = constant.co_flags & 0x2 != 0
            lines |= _function_lines(constant, inside=is_function)
    return lines


if __name__ == "__main__":
    sys.exit(main())
