"""An index by which a queue's inbox is read in order, and how PostgreSQL stores the tables.

Rows of a queue are changed a few times and deleted soon. So pages keep room for new versions of
their rows, and vacuum and analyze run after a small share of the rows has changed.
"""

from typing import Any

from django.db import migrations

import bytelyst_sync.contrib.django.fields

CHANGED = ("items", "receipts", "records", "keys", "meta", "queues", "leases")
"""The tables whose rows are changed in place."""
TURNED_OVER = ("inbox", "links")
"""Those whose rows are only added and deleted."""
VACUUM = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
}
SETTINGS = {
    **{table: {"fillfactor": "70", **VACUUM} for table in CHANGED},
    **dict.fromkeys(TURNED_OVER, VACUUM),
}


def set_storage(_apps: Any, schema_editor: Any) -> None:
    """Sets the parameters, on PostgreSQL. It waits for no reader and no writer."""
    if schema_editor.connection.vendor == "postgresql":
        for table, settings in SETTINGS.items():
            given = ", ".join(f"{name} = {value}" for name, value in settings.items())
            schema_editor.execute(f"ALTER TABLE bytelyst_sync_{table} SET ({given})")


def reset_storage(_apps: Any, schema_editor: Any) -> None:
    """Sets them back to the server's defaults."""
    if schema_editor.connection.vendor == "postgresql":
        for table, settings in SETTINGS.items():
            schema_editor.execute(
                f"ALTER TABLE bytelyst_sync_{table} RESET ({', '.join(settings)})"
            )


class Migration(migrations.Migration):
    dependencies = [
        ("bytelyst_sync", "0003_item_claim"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="inbox",
            index=bytelyst_sync.contrib.django.fields.SparseIndex(
                fields=["queue", "number"], name="bs_inbox_queue"
            ),
        ),
        migrations.RunPython(set_storage, reset_storage),
    ]
