from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0007_waiting_index")]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name=name,
            field=models.DateTimeField(editable=False, null=True),
        )
        for name in ("student_notify_at", "teacher_notify_at")
    ]
