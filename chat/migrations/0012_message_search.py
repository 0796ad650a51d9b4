from django.db import migrations, models

from chat.migrations._operations import AddIndexBesideWriters


# Not in the model: SQLite has no such index. The owner of a database may create this extension.
TRIGRAMS = [
    'CREATE EXTENSION IF NOT EXISTS pg_trgm',
    'DROP INDEX CONCURRENTLY IF EXISTS chat_message_search',
    # New entries are put into the index 64 kB at a time. With 4 MB, the default, that held up a send for 0.4 s now and
    # then; without a list each send took 2 ms longer.
    'CREATE INDEX CONCURRENTLY chat_message_search ON chat_message USING gin (search_text gin_trgm_ops) '
    'WITH (gin_pending_list_limit = 64)',
    # Rows lie in the order of their times: one entry for 32 pages finds those of a day.
    'DROP INDEX CONCURRENTLY IF EXISTS chat_message_times',
    'CREATE INDEX CONCURRENTLY chat_message_times ON chat_message USING brin (timestamp) WITH (pages_per_range = 32)',
]


def only_on_postgresql(*statements):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == 'postgresql':
            for statement in statements:
                schema_editor.execute(statement, None)

    return run


class Migration(migrations.Migration):

    atomic = False  # an index built concurrently is built in no transaction; each step may be repeated

    dependencies = [
        ('chat', '0011_audit_and_reports'),
    ]

    operations = [
        migrations.RunPython(
            only_on_postgresql(*TRIGRAMS),
            only_on_postgresql(
                'DROP INDEX CONCURRENTLY IF EXISTS chat_message_times',
                'DROP INDEX CONCURRENTLY IF EXISTS chat_message_search',
            ),
        ),
        AddIndexBesideWriters(
            model_name='message',
            index=models.Index(condition=models.Q(('search_text', None)), fields=['id'], name='chat_message_unfolded'),
        ),
    ]
