from django.db import migrations, models

from chat.migrations._operations import AddIndexBesideWriters


class Migration(migrations.Migration):
    atomic = False  # built concurrently; alone, so that it can be interrupted and run again

    dependencies = [("chat", "0009_student_notify_at")]

    operations = [
        AddIndexBesideWriters(
            "conversation",
            models.Index(
                fields=["teacher_notify_at"],
                condition=models.Q(teacher_notify_at__isnull=False),
                name="chat_teacher_notify_at",
            ),
        ),
    ]
