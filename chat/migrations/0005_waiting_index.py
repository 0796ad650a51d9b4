from django.db import migrations, models

from chat.migrations._operations import AddIndexBesideWriters


class Migration(migrations.Migration):
    atomic = False  # built concurrently; alone, so that it can be interrupted and run again

    dependencies = [("chat", "0004_waiting")]

    operations = [
        AddIndexBesideWriters(
            "conversation",
            models.Index(
                fields=["teacher", "waiting_since"],
                condition=models.Q(waiting_since__isnull=False),
                name="chat_conversation_waiting",
            ),
        ),
    ]
