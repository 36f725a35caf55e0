"""Gunicorn loads the site once and forks: engines and connections are made in each child."""

bind = "127.0.0.1:0"
workers = 3
preload_app = True
