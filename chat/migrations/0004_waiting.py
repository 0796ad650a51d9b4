from django.db import migrations, models
from django.db.models import CASCADE


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("chat", "0003_database_clock"),
    ]

    operations = [
        migrations.AddField(
            "conversation",
            "answered_seq",
            models.PositiveBigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            "conversation",
            "waiting_since",
            models.DateTimeField(editable=False, null=True, verbose_name="waiting since"),
        ),
        migrations.CreateModel(
            "Answer",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "conversation_id",
                        "waited_from",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        "chat.conversation",
                        CASCADE,
                        related_name="answers",
                        db_constraint=False,
                        db_index=False,
                        verbose_name="conversation",
                    ),
                ),
                ("waited_from", models.DateTimeField(verbose_name="waited from")),
                (
                    "mentor",
                    models.ForeignKey(
                        "accounts.userprofile",
                        CASCADE,
                        related_name="+",
                        db_constraint=False,
                        db_index=False,
                        verbose_name="mentor",
                    ),
                ),
                ("answered_at", models.DateTimeField(verbose_name="answered at")),
            ],
            options={
                "verbose_name": "answer",
                "verbose_name_plural": "answers",
                "indexes": [models.Index(fields=["mentor", "answered_at"], name="chat_answer_mentor")],
            },
        ),
        migrations.CreateModel(
            "Mentor",
            [],
            options={
                "verbose_name": "mentor",
                "verbose_name_plural": "mentors",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("accounts.userprofile",),
        ),
    ]
