"""The site for gunicorn: ``gunicorn -c gunicorn_conf.py site_wsgi``."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
application = StaticFilesHandler(get_wsgi_application())
