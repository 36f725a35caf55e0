"""Flask-AppBuilder with tokens that expire, and times of the machine's zone without their zone:
``fab_app.py PORT DATABASE``.
"""

import sys
from datetime import datetime, timedelta

import sqlalchemy as sa
import waitress
from flask import Flask
from flask_appbuilder import AppBuilder, Model
from flask_appbuilder.api import ModelRestApi
from flask_appbuilder.models.sqla.interface import SQLAInterface
from flask_appbuilder.utils.legacy import get_sqla_class
from sqlalchemy.orm import Mapped, mapped_column, relationship

PORT, DATABASE = sys.argv[1:]
TOKEN_S = 3600


class Row:
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(200))
    client_ref: Mapped[str | None] = mapped_column(sa.String(100), unique=True)
    # as in its own AuditMixin
    changed_on: Mapped[datetime] = mapped_column(default=datetime.now, onupdate=datetime.now)


class Projects(Row, Model):
    __tablename__ = "projects"


class Tasks(Row, Model):
    __tablename__ = "tasks"
    project_id: Mapped[int | None] = mapped_column(sa.ForeignKey("projects.id"))
    project: Mapped[Projects | None] = relationship("Projects")


def api_of(model: type[Projects] | type[Tasks]) -> type[ModelRestApi]:
    references = ["project"] if model is Tasks else []
    shown = ["id", "title", "changed_on", *(f"{each}.id" for each in references)]
    members = {
        "resource_name": model.__tablename__,
        "datamodel": SQLAInterface(model),
        "list_columns": shown,
        "show_columns": shown,
        "search_columns": ["client_ref", "changed_on"],
        "add_columns": ["title", "client_ref", *references],
        "edit_columns": ["title", *references],
        "max_page_size": 50,
    }
    return type(f"{model.__name__}Api", (ModelRestApi,), members)


app = Flask(__name__)
app.config.update(
    SECRET_KEY="only for tests, and long enough to sign with",
    JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=TOKEN_S),
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{DATABASE}",
    RATELIMIT_ENABLED=False,
    WTF_CSRF_ENABLED=False,
)
with app.app_context():
    database = get_sqla_class()(app)
    builder = AppBuilder(app, database.session)
    Model.metadata.create_all(database.engine)
    for each in (Projects, Tasks):
        builder.add_api(api_of(each))
    if not builder.sm.find_user("ann"):
        admin = builder.sm.find_role("Admin")
        builder.sm.add_user("ann", "Ann", "A", "ann@example.com", admin, "secret")


if __name__ == "__main__":
    waitress.serve(app, host="127.0.0.1", port=int(PORT), threads=4)
