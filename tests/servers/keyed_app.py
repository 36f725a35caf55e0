"""FastAPI and SQLModel with idempotency keys: ``keyed_app.py PORT DATABASE``.

A write is answered with a text; the new record's id is in ``Location``, its revision in a header. A
stale write is answered 423, and a record that is not there 403, as one that is somebody else's.
Keys are kept for ``KEPT_S``, in the transaction of the write.
"""

import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import PlainTextResponse
from sqlmodel import Field, Session, SQLModel, col, create_engine, delete, func, select

PORT, DATABASE = sys.argv[1:]
KEPT_S = 3600
engine = create_engine(f"sqlite:///{DATABASE}", connect_args={"check_same_thread": False})
app = FastAPI()


class Given(SQLModel):
    title: str
    project: int | None = None


class Changed(SQLModel):
    title: str = ""
    project: int | None = None


class Stored(SQLModel):
    id: int | None = Field(default=None, primary_key=True)
    revision: int = 1
    title: str
    project: int | None = None


class Projects(Stored, table=True):
    __table_args__ = {"sqlite_autoincrement": True}


class Tasks(Stored, table=True):
    __table_args__ = {"sqlite_autoincrement": True}


class Keys(SQLModel, table=True):
    key: str = Field(primary_key=True)
    location: str
    until: float


def found(session: Session, row: Any, key: Any, revision: int | None = None) -> Any:
    record = session.get(row, key)
    if record is None:
        raise HTTPException(403, "not there, or not yours")
    if revision is not None and revision != record.revision:
        raise HTTPException(423, f"the revision is {record.revision}")
    return record


def serve_listing(name: str, row: Any, rows: Any) -> None:
    @app.get(f"/{name}", response_model=rows)
    def listed(response: PlainTextResponse, offset: int = 0, limit: int = 5) -> Any:
        with Session(engine) as session:
            total = session.exec(select(func.count()).select_from(row)).one()
            response.headers["X-Total-Count"] = str(total)
            return session.exec(select(row).order_by(row.id).offset(offset).limit(limit)).all()

    @app.post(f"/{name}")
    def create(given: Given, idempotency_key: str | None = Header(None)) -> PlainTextResponse:
        with Session(engine) as session:
            session.exec(delete(Keys).where(col(Keys.until) < time.time()))
            known = session.get(Keys, idempotency_key or "")
            if known is None:
                stored = row(**given.model_dump())
                session.add(stored)
                session.flush()
                location = f"/{name}/{stored.id}"
                if idempotency_key:
                    until = time.time() + KEPT_S
                    session.add(Keys(key=idempotency_key, location=location, until=until))
            else:
                location = known.location
            session.commit()
            return PlainTextResponse("created", 201, {"Location": location})


def serve_records(name: str, row: Any) -> None:
    @app.get(f"/{name}/{{key}}", response_model=row)
    def read(key: int) -> Any:
        with Session(engine) as session:
            return found(session, row, key)

    @app.patch(f"/{name}/{{key}}")
    def change(
        key: int, given: Changed, x_revision: int | None = Header(None)
    ) -> PlainTextResponse:
        with Session(engine) as session:
            record = found(session, row, key, x_revision)
            record.sqlmodel_update(given.model_dump(exclude_unset=True))
            record.revision += 1
            headers = {"X-Revision": str(record.revision)}
            session.add(record)
            session.commit()
            return PlainTextResponse("saved", headers=headers)

    @app.delete(f"/{name}/{{key}}")
    def remove(key: int, x_revision: int | None = Header(None)) -> PlainTextResponse:
        with Session(engine) as session:
            session.delete(found(session, row, key, x_revision))
            session.commit()
            return PlainTextResponse("deleted")


serve_listing("projects", Projects, list[Projects])
serve_listing("tasks", Tasks, list[Tasks])
serve_records("projects", Projects)
serve_records("tasks", Tasks)
SQLModel.metadata.create_all(engine)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="warning")
