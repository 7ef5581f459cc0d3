"""Images that only benchmarks need (./lab images --large): minutes to build, gigabytes to keep.

small, medium and ml are what the budgets of a pull are measured on; zeros shrinks 1000:1.
"""

from __future__ import annotations

from tests.services.made_layers import CASES, REMOVED_FILES, SHADOWED
from tests.services.recipes import Recipe

# PyTorch's own index has wheels without CUDA; pip must have been told where (its settings).
TORCH = "torch==2.13.0+cpu"
TORCH_NEEDS = (
    "numpy==2.4.6",
    "filelock==3.20.0",
    "typing_extensions==4.15.0",
    "sympy==1.14.0",
    "mpmath==1.3.0",
    "networkx==3.5",
    "jinja2==3.1.6",
    "markupsafe==3.0.3",
    "fsspec==2025.9.0",
    "scipy==1.17.1",
)
# What makes images for machine learning large; nothing here runs it.
CUDA = ("nvidia-cublas-cu12==12.9.1.4", "nvidia-cudnn-cu12==9.19.0.56")
MANY_FILES = ("golang-1.19-src", "libboost1.74-dev", "oxygen-icon-theme")

LARGE_RECIPES = (
    Recipe(
        name="small",
        debian=True,
        packages=(),
        programs=(),
        workdir="",
        command=("bash",),
        docker=True,
        included=("python3", "git"),
    ),
    Recipe(
        name="medium",
        debian=True,
        packages=(
            "build-essential",
            "cmake",
            "gfortran",
            "libhdf5-dev",
            "libopenmpi-dev",
            "llvm-14-dev",
            "python3-matplotlib",
            "python3-numpy",
            "python3-pandas",
            "python3-scipy",
        ),
        programs=(),
        workdir="",
        command=("bash",),
        docker=True,
        unpacked=MANY_FILES,
        made=(CASES,),
        removed=(
            *REMOVED_FILES,
            f"{SHADOWED}/",
            "usr/share/doc/",
        ),
    ),
    Recipe(
        name="ml",
        debian=True,
        packages=("python3",),
        programs=(),
        workdir="",
        command=("python3",),
        docker=True,
        wheels=(TORCH, *TORCH_NEEDS),
        libraries=CUDA,
    ),
    Recipe(
        name="zeros",
        debian=False,
        packages=(),
        programs=(),
        workdir="/",
        command=("/none",),
        docker=False,
        made=("zeros",),
    ),
)
