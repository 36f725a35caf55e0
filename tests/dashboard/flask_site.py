"""The pages in a Flask application."""

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from bytelyst_sync.dashboard import ops_app
from tests.dashboard.serve import PREFIX, authorize, fleet_commands, new_engine, serve_wsgi

if __name__ == "__main__":
    pages = ops_app(new_engine(), authorize=authorize, fleet_commands=fleet_commands())
    serve_wsgi(DispatcherMiddleware(Flask("shop"), {PREFIX: pages}))
