from django.db import migrations, models

import bytelyst_sync.contrib.django.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ExperimentRows",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                (
                    "kind",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="kind", max_length=50),
                ),
                (
                    "scope",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="scope", max_length=255),
                ),
                (
                    "name",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="name", max_length=255),
                ),
                ("value", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="value")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "kind",
                        "scope",
                        "name",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_experiment_rows",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="IndexEntries",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("number", models.BigIntegerField(db_column="number")),
                (
                    "value",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="value", max_length=255),
                ),
                (
                    "record",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="record", max_length=255
                    ),
                ),
                ("source", models.BigIntegerField(db_column="source")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "number",
                        "value",
                        "record",
                        "source",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_index_entries",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                (
                    "queue",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        max_length=32, primary_key=True, serialize=False
                    ),
                ),
                ("owner", bytelyst_sync.contrib.django.fields.ExactTextField()),
                ("until", models.FloatField(default=0.0)),
                ("seen", models.FloatField(null=True)),
            ],
            options={
                "db_table": "bytelyst_sync_leases",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Meta",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                (
                    "name",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="name", max_length=255),
                ),
                ("value", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="value")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "name",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_meta",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[
                (
                    "name",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        max_length=32, primary_key=True, serialize=False
                    ),
                ),
                ("version", models.BigIntegerField(default=0)),
                ("number", models.BigIntegerField(default=0)),
                ("counts", bytelyst_sync.contrib.django.fields.ExactTextField(default="{}")),
            ],
            options={
                "db_table": "bytelyst_sync_queues",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="SetAside",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("number", models.BigIntegerField(db_column="number")),
                ("source", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="source")),
                ("row", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="row")),
                ("reason", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="reason")),
                ("time", models.FloatField(db_column="time")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_set_aside",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Aliases",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                (
                    "entity",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="entity", max_length=100
                    ),
                ),
                (
                    "local",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="local", max_length=255),
                ),
                (
                    "record",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="record", max_length=255
                    ),
                ),
                ("given", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="given")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "entity",
                        "local",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_aliases",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "record", "local"], name="bs_aliases_record"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Conflicts",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("number", models.BigIntegerField(db_column="number")),
                (
                    "entity",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="entity", max_length=100
                    ),
                ),
                (
                    "record",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="record", max_length=255
                    ),
                ),
                (
                    "operation",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="operation"),
                ),
                (
                    "local",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="local", null=True
                    ),
                ),
                (
                    "remote",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="remote", null=True
                    ),
                ),
                (
                    "base",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="base", null=True),
                ),
                (
                    "version",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="version", null=True
                    ),
                ),
                ("local_time", models.FloatField(db_column="local_time")),
                ("remote_time", models.FloatField(db_column="remote_time", null=True)),
                ("fields", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="fields")),
                ("open", models.BigIntegerField(db_column="open", null=True)),
                ("stage", models.BigIntegerField(db_column="stage")),
                (
                    "resolution",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="resolution", null=True
                    ),
                ),
                ("closed", models.BigIntegerField(db_column="closed", null=True)),
                ("closed_time", models.FloatField(db_column="closed_time", null=True)),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_conflicts",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "open", "number"],
                        name="bs_conflicts_open",
                        sparse=("open",),
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "closed", "number"],
                        name="bs_conflicts_closed",
                        sparse=("closed",),
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "record", "open", "number"],
                        name="bs_conflicts_record",
                        sparse=("open",),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Inbox",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("handle", models.BigIntegerField(db_column="handle")),
                (
                    "entity",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="entity", max_length=100
                    ),
                ),
                ("record", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="record")),
                (
                    "operation",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="operation"),
                ),
                ("data", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="data")),
                ("time", models.FloatField(db_column="time")),
                (
                    "options",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="options"),
                ),
                ("number", models.BigAutoField(primary_key=True, serialize=False)),
            ],
            options={
                "db_table": "bytelyst_sync_inbox",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "number"], name="bs_inbox_entity"
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "handle", "number"], name="bs_inbox_handle"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Items",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("seq", models.BigIntegerField(db_column="seq")),
                ("item_id", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="id")),
                (
                    "entity",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="entity", max_length=100
                    ),
                ),
                (
                    "record",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="record", max_length=255
                    ),
                ),
                (
                    "operation",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="operation"),
                ),
                ("data", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="data")),
                ("time", models.FloatField(db_column="time")),
                ("lane", models.BigIntegerField(db_column="lane")),
                ("position", models.BigIntegerField(db_column="position")),
                ("due", models.FloatField(db_column="due", null=True)),
                ("delay", models.FloatField(db_column="delay", null=True)),
                ("retries", models.BigIntegerField(db_column="retries")),
                (
                    "error",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="error", null=True
                    ),
                ),
                ("frozen", models.BigIntegerField(db_column="frozen")),
                (
                    "version",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="version", null=True
                    ),
                ),
                ("blocker", models.BigIntegerField(db_column="blocker", null=True)),
                (
                    "digest",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="digest", max_length=150, null=True
                    ),
                ),
                ("in_progress_retries", models.BigIntegerField(db_column="in_progress_retries")),
                ("resolve_attempts", models.BigIntegerField(db_column="resolve_attempts")),
                ("lease", models.FloatField(db_column="lease", null=True)),
                ("conflict", models.BigIntegerField(db_column="conflict", null=True)),
                (
                    "key",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="key", null=True),
                ),
                ("expires", models.FloatField(db_column="expires", null=True)),
                ("schema_version", models.BigIntegerField(db_column="schema_version", null=True)),
                ("was_create", models.BigIntegerField(db_column="was_create", null=True)),
                ("expired", models.BigIntegerField(db_column="expired", null=True)),
                (
                    "decimals",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="decimals", null=True
                    ),
                ),
                ("boot", models.BigIntegerField(db_column="boot", null=True)),
                ("booted", models.FloatField(db_column="booted", null=True)),
                ("first_attempt", models.FloatField(db_column="first_attempt", null=True)),
                ("attempted", models.BigIntegerField(db_column="attempted", null=True)),
                ("outage_began", models.FloatField(db_column="outage_began", null=True)),
                ("outage", models.BigIntegerField(db_column="outage")),
                ("unclear", models.BigIntegerField(db_column="unclear", null=True)),
                ("lookup_at", models.FloatField(db_column="lookup_at", null=True)),
                ("lookups", models.BigIntegerField(db_column="lookups")),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "seq",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_items",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "record", "seq"], name="bs_items_record"
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "lane", "entity", "position", "seq"], name="bs_items_lane"
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "due", "seq"], name="bs_items_due", sparse=("due",)
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "blocker", "seq"],
                        name="bs_items_blocker",
                        sparse=("blocker",),
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "digest", "seq"],
                        name="bs_items_digest",
                        sparse=("digest",),
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "expires", "seq"],
                        name="bs_items_expires",
                        sparse=("expires",),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Keys",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                (
                    "key",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="key", max_length=255),
                ),
                ("seq", models.BigIntegerField(db_column="seq")),
                ("entity", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="entity")),
                ("record", bytelyst_sync.contrib.django.fields.ExactTextField(db_column="record")),
                (
                    "content",
                    bytelyst_sync.contrib.django.fields.ExactTextField(db_column="content"),
                ),
                ("time", models.FloatField(db_column="time")),
                ("settled_time", models.FloatField(db_column="settled_time", null=True)),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "key",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_keys",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "settled_time", "key"],
                        name="bs_keys_settled",
                        sparse=("settled_time",),
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Links",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("seq", models.BigIntegerField(db_column="seq")),
                (
                    "field",
                    bytelyst_sync.contrib.django.fields.KeyField(db_column="field", max_length=150),
                ),
                (
                    "entity",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="entity", max_length=100
                    ),
                ),
                (
                    "record",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="record", max_length=255
                    ),
                ),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "seq",
                        "field",
                        "entity",
                        "record",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_links",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "record", "seq", "field"], name="bs_links_parent"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Receipts",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                ("handle", models.BigIntegerField(db_column="handle")),
                ("seq", models.BigIntegerField(db_column="seq")),
                (
                    "state",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="state", null=True
                    ),
                ),
                ("settled_time", models.FloatField(db_column="settled_time", null=True)),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "handle",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_receipts",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "seq", "handle"], name="bs_receipts_seq"
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "settled_time", "handle"],
                        name="bs_receipts_settled",
                        sparse=("settled_time",),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Records",
            fields=[
                ("queue", bytelyst_sync.contrib.django.fields.KeyField(max_length=32)),
                (
                    "entity",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="entity", max_length=100
                    ),
                ),
                (
                    "record",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="record", max_length=255
                    ),
                ),
                (
                    "state",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="state", null=True
                    ),
                ),
                (
                    "version",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="version", null=True
                    ),
                ),
                ("changed_seq", models.BigIntegerField(db_column="changed_seq")),
                ("listed_by", models.BigIntegerField(db_column="listed_by")),
                (
                    "deferred_state",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="deferred_state", null=True
                    ),
                ),
                (
                    "deferred_version",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="deferred_version", null=True
                    ),
                ),
                ("needs_refresh", models.BigIntegerField(db_column="needs_refresh", null=True)),
                (
                    "lost_state",
                    bytelyst_sync.contrib.django.fields.ExactTextField(
                        db_column="lost_state", null=True
                    ),
                ),
                ("lost_seq", models.BigIntegerField(db_column="lost_seq", null=True)),
                (
                    "folded",
                    bytelyst_sync.contrib.django.fields.KeyField(
                        db_column="folded", max_length=255, null=True
                    ),
                ),
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "entity",
                        "record",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
            ],
            options={
                "db_table": "bytelyst_sync_records",
                "default_permissions": (),
                "indexes": [
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "needs_refresh", "record"],
                        name="bs_records_needs_refresh",
                        sparse=("needs_refresh",),
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "lost_seq", "record"],
                        name="bs_records_lost",
                        sparse=("lost_seq",),
                    ),
                    bytelyst_sync.contrib.django.fields.SparseIndex(
                        fields=["queue", "entity", "folded", "record"],
                        name="bs_records_folded",
                        sparse=("folded",),
                    ),
                ],
            },
        ),
    ]
