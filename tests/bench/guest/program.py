# SPDX-License-Identifier: GPL-2.0-or-later
"""A program as many run side by side: modules, a database, and some data that only this one has.

program.py NUMBER MIB [--once]: a byte on standard output says that its memory is as it stays. Then it
serves the database by HTTP on port 8000 + NUMBER: GET /ID changes a row and answers with it. With
--once it ends instead.
"""

# Half of these are here for what they put into memory.
import argparse  # noqa: F401
import asyncio  # noqa: F401
import decimal  # noqa: F401
import email.message  # noqa: F401
import gc
import http.client  # noqa: F401
import http.server
import json
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
PORT = 8000


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


def service(connection: sqlite3.Connection, rows: int) -> type[http.server.BaseHTTPRequestHandler]:
    class Service(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:  # noqa: N802 (the library's name)
            key = int(self.path[1:]) % rows
            connection.execute("UPDATE customer SET balance = balance + 1 WHERE id = ?", (key,))
            connection.commit()
            row = connection.execute("SELECT * FROM customer WHERE id = ?", (key,)).fetchone()
            body = json.dumps(row).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    return Service


def main() -> None:
    number, mib = int(sys.argv[1]), int(sys.argv[2])
    rows = max(1, int(mib * ROWS_PER_MIB * (1 - OWN_SHARE)))
    connection = database(rows)
    dice = random.Random(1000 + number)
    own = [dice.randbytes(64 * 1024) for _ in range(int(mib * OWN_SHARE * 16))]
    gc.collect()
    gc.freeze()
    with http.server.HTTPServer(("127.0.0.1", PORT + number), service(connection, rows)) as server:
        if "--once" not in sys.argv:
            os.write(1, b"r")
            server.serve_forever()
    del own


main()
