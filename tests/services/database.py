"""MariaDB and slurmdbd on the controller, for labs with accounting."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.services.commands import listens, run, wait_until

DATA = Path("/var/lib/mysql-lab")
SOCKET = Path("/run/mysqld/mysqld.sock")
SLURMDBD_PORT = 6819
START_SECONDS = 30
# Small files and no fsync: the data lives as long as the lab.
SIZES = ["--innodb-log-file-size=4M", "--innodb-data-file-path=ibdata1:4M:autoextend"]
LOGIN_OF_SLURM = (
    "create database if not exists slurm_acct_db;"
    " create user if not exists slurm@localhost identified via unix_socket;"
    " grant all on slurm_acct_db.* to slurm@localhost;"
)


def start() -> None:
    """Start MariaDB with an empty database and slurmdbd on it; both answer on return.

    Raises:
        LabError: one of them doesn't start.
    """
    for folder in (DATA, SOCKET.parent):
        folder.mkdir(mode=0o755)
        shutil.chown(folder, "mysql", "mysql")
    run(["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={DATA}",
         "--skip-test-db", *SIZES])  # fmt: skip
    with open("/var/log/mariadb.log", "ab") as log:
        subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={DATA}",
             f"--socket={SOCKET}", "--pid-file=/run/mysqld/mysqld.pid", "--skip-networking",
             "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", *SIZES],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    wait_until(SOCKET.exists, timeout_seconds=START_SECONDS, what="MariaDB answers")
    run(["mariadb", "-S", os.fspath(SOCKET), "-e", LOGIN_OF_SLURM])
    run(["slurmdbd"])
    wait_until(
        lambda: listens("127.0.0.1", SLURMDBD_PORT),
        timeout_seconds=START_SECONDS,
        what="slurmdbd answers",
    )
