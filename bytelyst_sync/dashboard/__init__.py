"""Operations pages: the queue of an engine, its failed items and conflicts, and actions on them.

``ops_app(engine, authorize=...)`` is a WSGI application; ``bytelyst-sync ops`` serves the same
pages for a store on this machine. Needs the extra ``ops``. ``bytelyst_sync.dashboard.components``
has the components.
"""

try:
    import jinja2 as _jinja2  # noqa: F401 - an optional extra: said here, before anything needs it
except ImportError as error:
    raise ImportError(
        'the operations pages need the extra "ops": pip install "bytelyst-sync[ops]"'
    ) from error

from bytelyst_sync.dashboard.access import Actor, Authorize, FormToken, Right
from bytelyst_sync.dashboard.app import OpsApp, ops_app
from bytelyst_sync.dashboard.redaction import redact_secrets

__all__ = ["Actor", "Authorize", "FormToken", "OpsApp", "Right", "ops_app", "redact_secrets"]
