#!/usr/bin/env python3
"""What others make of the same machine, beside `cargo bench-issuer`: logins and reads of oneself.

The peer is fastapi-users on uvicorn with SQLite: the library that a Python service would take for this. It gets the
same argon2id parameters, one process for each processor, and a row for each login, as the issuer has. It is installed
from PyPI into target/bench/peers; the load is sent by wrk (Debian: apt install wrk).

    python3 tests/bench/peers.py [SECONDS]
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "bench" / "peers"
PACKAGES = ["fastapi-users[sqlalchemy]==15.0.5", "aiosqlite==0.22.1", "uvicorn[standard]==0.54.0"]
MEMORY_KIB, PASSES = 19456, 2
EMAIL, PASSWORD = "ada@example.com", "tundra-adagio-velvet-97"
LOGIN_CONNECTIONS, CONNECTIONS = 32, 64

APP = f'''
import os
import uuid

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users.password import PasswordHelper
from fastapi_users_db_sqlalchemy.access_token import (
    SQLAlchemyAccessTokenDatabase, SQLAlchemyBaseAccessTokenTableUUID)
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    pass


engine = create_async_engine("sqlite+aiosqlite:///" + os.environ["PEER_DATABASE"])


@event.listens_for(engine.sync_engine, "connect")
def durable(connection, _):
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        connection.execute("PRAGMA " + pragma)


Session = async_sessionmaker(engine, expire_on_commit=False)
hasher = PasswordHash((Argon2Hasher(time_cost={PASSES}, memory_cost={MEMORY_KIB}, parallelism=1),))


class Users(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    pass


async def session():
    async with Session() as one:
        yield one


async def users(one=Depends(session)):
    yield Users(SQLAlchemyUserDatabase(one, User), PasswordHelper(hasher))


async def tokens(one=Depends(session)):
    yield SQLAlchemyAccessTokenDatabase(one, AccessToken)


def strategy(database=Depends(tokens)):
    return DatabaseStrategy(database, lifetime_seconds=3600)


backend = AuthenticationBackend("db", BearerTransport(tokenUrl="auth/login"), strategy)
fastapi_users = FastAPIUsers[User, uuid.UUID](users, [backend])


class UserRead(schemas.BaseUser[uuid.UUID]):
    pass


class UserCreate(schemas.BaseUserCreate):
    pass


class UserUpdate(schemas.BaseUserUpdate):
    pass


app = FastAPI()
app.include_router(fastapi_users.get_auth_router(backend), prefix="/auth")
app.include_router(fastapi_users.get_register_router(UserRead, UserCreate), prefix="/auth")
app.include_router(fastapi_users.get_users_router(UserRead, UserUpdate), prefix="/users")
'''

PREPARE = "import asyncio, app\nasync def go():\n async with app.engine.begin() as c: await c.run_sync(app.Base.metadata.create_all)\nasyncio.run(go())"

DONE = '''
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\\npeer {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
'''


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if not shutil.which("wrk"):
        sys.exit("error: wrk is not installed: it sends the load (Debian: apt install wrk)")
    python = install()
    for old in HOME.glob("peer.db*"):
        old.unlink()
    (HOME / "app.py").write_text(APP)
    env = {**os.environ, "PEER_DATABASE": str(HOME / "peer.db"), "PYTHONPATH": str(HOME)}
    subprocess.run([python, "-c", PREPARE], env=env, check=True)
    port = free_port()
    serve = [python, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning",
             "--workers", str(os.cpu_count())]
    server = subprocess.Popen(serve, env=env, cwd=HOME, start_new_session=True)
    try:
        figures = measure(f"http://127.0.0.1:{port}", seconds)
    finally:
        # Its workers are its children: all of them hear it.
        os.killpg(server.pid, 15)
        server.wait()
    report = {"fastapi-users": {"packages": PACKAGES, "memory_kib": MEMORY_KIB, "passes": PASSES, **figures}}
    (HOME.parent / "peers.json").write_text(json.dumps(report, indent=2))
    for name, figure in figures.items():
        print(f"fastapi-users {name:<7} {figure['per_second']:>9.1f}/s  p50 {figure['p50_us']} µs  p99 {figure['p99_us']} µs")
    print(HOME.parent / "peers.json")


def install():
    python = HOME / "venv" / "bin" / "python"
    if not python.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", HOME / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    return str(python)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(url, seconds):
    wait_until_ready(url)
    post(url + "/auth/register", json.dumps({"email": EMAIL, "password": PASSWORD}), "application/json")
    form = urllib.parse.urlencode({"username": EMAIL, "password": PASSWORD})
    token = json.loads(post(url + "/auth/login", form, "application/x-www-form-urlencoded"))["access_token"]
    login = f'wrk.method = "POST"\nwrk.body = "{form}"\nwrk.headers["content-type"] = "application/x-www-form-urlencoded"\n'
    me = f'wrk.headers["authorization"] = "Bearer {token}"\n'
    return {
        "logins": load(url + "/auth/login", login, LOGIN_CONNECTIONS, seconds),
        "me": load(url + "/users/me", me, CONNECTIONS, seconds),
    }


def wait_until_ready(url):
    deadline = time.monotonic() + 30
    while True:
        try:
            return urllib.request.urlopen(url + "/openapi.json").read()
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("error: the peer does not answer")
            time.sleep(0.1)


def post(url, body, kind):
    request = urllib.request.Request(url, body.encode(), {"content-type": kind})
    return urllib.request.urlopen(request).read()


def load(url, script, connections, seconds):
    lua = HOME / "load.lua"
    lua.write_text(script + DONE)
    command = ["wrk", "--threads", "1", "--timeout", "30s", "--script", lua, "--connections", str(connections), url]
    subprocess.run([*command, "--duration", "1s"], check=True, capture_output=True)
    said = subprocess.run([*command, "--duration", f"{seconds}s"], check=True, capture_output=True, text=True).stdout
    figure = json.loads(re.search(r"^peer (.*)$", said, re.M).group(1))
    if figure["refused"]:
        sys.exit(f"error: {figure['refused']} of {figure['requests']} requests to {url} were refused")
    return {"per_second": figure["requests"] * 1e6 / figure["duration_us"], **figure}


if __name__ == "__main__":
    main()
