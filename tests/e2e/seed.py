"""Make pairs of people who are signed in, and print them: `python -m tests.e2e.seed 20`."""

import json
import os
import secrets
import sys
from typing import Any

import django

PASSWORD = "qader-demo-2026"


def seed(pairs: int) -> list[dict[str, Any]]:
    from django.contrib.auth.hashers import make_password

    from accounts.models import RoleChoices
    from chat.models import Conversation

    word, password = secrets.token_hex(3), make_password(PASSWORD)
    teachers = make_profiles([f"teacher-{word}-{n}" for n in range(pairs)], password, RoleChoices.TEACHER)
    students = make_profiles([f"student-{word}-{n}" for n in range(pairs)], password, RoleChoices.STUDENT)
    made = []
    for student, teacher in zip(students, teachers, strict=True):
        student.assigned_mentor = teacher
        student.save()
        conversation, _ = Conversation.get_or_create_conversation(student_profile=student, teacher_profile=teacher)
        made.append(
            {
                "student": person(student, "my-conversation/"),
                "teacher": person(teacher, f"conversations/{conversation.pk}/"),
                "conversation_id": conversation.pk,
            }
        )
    return made


def make_profiles(names: list[str], password: str, role: str) -> list[Any]:
    from accounts.models import User, UserProfile

    users = User.objects.bulk_create(
        [User(username=name, email=f"{name}@example.com", password=password) for name in names]
    )
    return UserProfile.objects.bulk_create([UserProfile(user=u, full_name=u.username, role=role) for u in users])


def person(profile: Any, path: str) -> dict[str, Any]:
    from tests.people import session_cookie

    user = profile.user
    return {"user_id": user.pk, "username": user.username, "session_key": session_cookie(user), "path": path}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
    django.setup()
    sys.stdout.write(json.dumps(seed(int(sys.argv[1]))))
