# SPDX-License-Identifier: GPL-2.0-or-later
"""A program as many run side by side: modules, a database, and some data that only this one has.

program.py NUMBER MIB: a byte on standard output says that its memory is as it stays. For each byte
that it is then sent it works on the database, and answers with one.
"""

# Half of these are here for what they put into memory.
import argparse  # noqa: F401
import asyncio  # noqa: F401
import decimal  # noqa: F401
import email.message  # noqa: F401
import gc
import http.client  # noqa: F401
import json  # noqa: F401
import logging  # noqa: F401
import os
import pathlib  # noqa: F401
import random
import sqlite3
import sys
import unittest  # noqa: F401
import xml.dom.minidom  # noqa: F401

ROWS_PER_MIB = 2600
OWN_SHARE = 0.25
QUERIES = 100


def database(rows: int) -> sqlite3.Connection:
    """The same in every process."""
    dice = random.Random(1)
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA cache_size = -100000")
    # Of a page of 4 KiB no two copies would lie alike: pointers stand before it.
    connection.execute("PRAGMA page_size = 32768")
    connection.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, note TEXT, balance INTEGER)")
    connection.executemany(
        "INSERT INTO customer VALUES (?, ?, ?, ?)",
        ((i, f"customer {dice.getrandbits(64):x}", f"{dice.getrandbits(1200):x}", i % 997) for i in range(rows)),
    )
    connection.commit()
    return connection


def main() -> None:
    number, mib = int(sys.argv[1]), int(sys.argv[2])
    rows = int(mib * ROWS_PER_MIB * (1 - OWN_SHARE))
    connection = database(rows)
    dice = random.Random(1000 + number)
    own = [dice.randbytes(64 * 1024) for _ in range(int(mib * OWN_SHARE * 16))]
    gc.collect()
    gc.freeze()
    os.write(1, b"r")
    while os.read(0, 1):
        for _ in range(QUERIES):
            connection.execute("SELECT * FROM customer WHERE id = ?", (dice.randrange(rows),)).fetchone()
            connection.execute("UPDATE customer SET balance = balance + 1 WHERE id = ?", (dice.randrange(rows),))
        connection.commit()
        os.write(1, b"a")
    del own


main()
