"""Start Sluice: explorer, REST and the sync worker, on this machine only.

python app.py [--project models] [--var var] [--host 127.0.0.1] [--port 8501]
SLUICE_PROJECT=models SLUICE_VAR=var streamlit run app.py
"""

import argparse
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from reverse_etl.api import routes as sync_routes
from reverse_etl.log_marts import refresh_log
from reverse_etl.permissions import only_stewards
from reverse_etl.ui.crm import local_sandbox, sandbox_answers
from reverse_etl.ui.pages import SYNC_PAGES, sync_notices
from serving import Project, api, open_project
from serving.children import Child, ChildState
from serving.errors import SluiceError
from serving.local import LocalOnly, address_problem
from serving.ui.explorer import Explorer, open_explorer
from serving.ui.pages import serving_pages

HERE = Path(__file__).resolve().parent


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve the explorer, REST and the sync worker.")
    parser.add_argument("--project", default=os.environ.get("SLUICE_PROJECT", "models"))
    parser.add_argument("--var", default=os.environ.get("SLUICE_VAR", "var"))
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address [default: 127.0.0.1]")
    parser.add_argument("--port", type=int, default=8501)
    started_directly = __name__ == "__main__"
    return parser.parse_args(sys.argv[1:] if started_directly else [])


def _refuse(reason: str) -> None:
    print(reason, file=sys.stderr, flush=True)
    sys.exit(1)


def _report(mart: str, status: str, rows: int) -> None:
    if status == "built":
        print(f"  {mart}, {rows:,} rows", flush=True)


def _port_problem(host: str, port: int) -> str:
    """Why the address is not free; empty when it is."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"port {port} cannot be used: {error.strerror}\n  hint: try --port {port + 1}"
    return ""


def _open(options: argparse.Namespace) -> Project:
    """The project, built where nothing is published yet; ends the process where content is wrong."""
    try:
        project = open_project(options.project, var=options.var, refresh_log=refresh_log)
        if project.current_version() is None:
            print("Nothing is published yet: building the marts first", flush=True)
            project.build(report=_report)
    except SluiceError as failure:
        _refuse(str(failure))
    return project


def _children(project: Project, options: argparse.Namespace) -> list[Child]:
    logs = Path(options.var) / "logs"
    where = ["--project", str(options.project), "--var", str(options.var)]
    port = local_sandbox(project)
    if port is None:
        return [Child("sync worker", "reverse_etl", ["worker", *where], logs / "worker.log")]
    arguments = ["--port", str(port), "--var", str(options.var)]
    return [
        Child("sandbox CRM", "connectors.sandbox", arguments, logs / "sandbox.log"),
        Child(
            "sync worker",
            "reverse_etl",
            ["worker", *where],
            logs / "worker.log",
            lambda: sandbox_answers(project),
        ),
    ]


OPTIONS = _options()
if problem := address_problem(OPTIONS.host if __name__ == "__main__" else st.get_option("server.address")):
    _refuse(problem)
if __name__ == "__main__" and (problem := _port_problem(OPTIONS.host, OPTIONS.port)):
    _refuse(problem)
PROJECT = _open(OPTIONS)
CHILDREN = _children(PROJECT, OPTIONS)


def _states() -> tuple[ChildState, ...]:
    return tuple(child.state() for child in CHILDREN)


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    for child in CHILDREN:
        child.start()
    PROJECT.warm()
    port = st.get_option("server.port")
    print(f"\n  {PROJECT.content.project.name}: http://127.0.0.1:{port}\n  Ctrl-C stops it\n", flush=True)
    try:
        yield
    finally:
        for child in reversed(CHILDREN):
            child.end()
        PROJECT.close()


open_explorer(Explorer(PROJECT, (*serving_pages(sync_notices), *SYNC_PAGES), _states))
app = st.App(
    HERE / "serving" / "ui" / "script.py",
    lifespan=_lifespan,
    routes=api.routes(PROJECT, only_stewards(PROJECT, sync_routes(PROJECT))),
    middleware=[Middleware(LocalOnly)],
)

if __name__ == "__main__":
    app.run(config={"server.address": OPTIONS.host, "server.port": OPTIONS.port})
