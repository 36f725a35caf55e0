"""FastAPI, SQLModel and fastapi-pagination, with cursor tokens and soft deletes:
``fastapi_app.py PORT DATABASE``.
"""

import sys
from datetime import datetime, timezone
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi_pagination import add_pagination
from fastapi_pagination.cursor import CursorPage
from fastapi_pagination.ext.sqlmodel import paginate
from sqlmodel import Field, Session, SQLModel, create_engine, select

PORT, DATABASE = sys.argv[1:]
engine = create_engine(f"sqlite:///{DATABASE}", connect_args={"check_same_thread": False})
app = FastAPI()


def now() -> datetime:
    return datetime.now(timezone.utc)


class Given(SQLModel):
    """What a client may write; anything else is refused."""

    model_config = {"extra": "forbid"}
    title: str | None = None
    project_id: str | None = None
    deleted_at: datetime | None = None


class Created(Given):
    id: str
    title: str


class Stored(SQLModel):
    id: str = Field(primary_key=True)
    title: str
    project_id: str | None = None
    deleted_at: datetime | None = None
    updated_at: datetime = Field(default_factory=now)


class Projects(Stored, table=True):
    pass


class Tasks(Stored, table=True):
    pass


def serve(name: str, row: Any, rows: Any) -> None:
    @app.get(f"/{name}", response_model=rows)
    def listed(updated_after: datetime | None = None) -> Any:
        query = select(row).order_by(row.updated_at, row.id)
        if updated_after is not None:
            query = query.where(row.updated_at >= updated_after)
        with Session(engine) as session:
            return paginate(session, query)

    @app.post(f"/{name}", status_code=201, response_model=row)
    def create(given: Created) -> Any:
        with Session(engine) as session:
            if session.get(row, given.id) is not None:
                raise HTTPException(409, "there is one of this id")
            stored = row(**given.model_dump(exclude_unset=True))
            session.add(stored)
            session.commit()
            session.refresh(stored)
            return stored

    @app.get(f"/{name}/{{key}}", response_model=row)
    def read(key: str) -> Any:
        with Session(engine) as session:
            found = session.get(row, key)
            if found is None:
                raise HTTPException(404, "no such record")
            return found

    @app.patch(f"/{name}/{{key}}", response_model=row)
    def change(key: str, given: Given) -> Any:
        with Session(engine) as session:
            found = session.get(row, key)
            if found is None:
                raise HTTPException(404, "no such record")
            found.sqlmodel_update(given.model_dump(exclude_unset=True))
            found.updated_at = now()
            session.add(found)
            session.commit()
            session.refresh(found)
            return found


serve("projects", Projects, CursorPage[Projects])
serve("tasks", Tasks, CursorPage[Tasks])
add_pagination(app)
SQLModel.metadata.create_all(engine)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="warning")
