"""The pages in a FastAPI application."""

from typing import Any

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI

from bytelyst_sync.dashboard import ops_app
from tests.dashboard.serve import PREFIX, authorize, fleet_commands, new_engine, serve_asgi

if __name__ == "__main__":
    app = FastAPI()
    pages = ops_app(new_engine(), authorize=authorize, fleet_commands=fleet_commands())
    application: Any = WSGIMiddleware(pages)
    app.mount(PREFIX, application)
    serve_asgi(app)
