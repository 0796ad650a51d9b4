"""Make the people and conversations of the page's tests, and print them: `python -m tests.e2e.page_data`."""

import json
import os
import sys
from datetime import timedelta
from typing import Any

import django

HISTORY = 5_000  # messages
DAYS = 90  # that they were said in
# Students of one mentor, and how many hours ago each message was said; negative: by the mentor.
STUDENTS: dict[str, list[float]] = {
    "سارة العتيبي": [30, -29, 5],
    "Omar Haddad": [2.5, 2],
    "ليان القحطاني": [-50, 49],  # has been waiting the longest
    "Maya Lindgren": [10, -3],
    "يوسف منصور": [-4],
    "Noah Weber": [0.5],
    "نورة الشمري": [-100, 70, -69],
    "Ada Byron": [8, 7, 6, -1.5],
    "خالد الحربي": [],
    "Ines Costa": [0.25, -0.2],
}

MISSED: list[float] = [-300, *range(150, 0, -1)]  # the same, of a student whose mentor was away for long


def page_data() -> dict[str, Any]:
    from django.contrib.auth.hashers import make_password

    from accounts.models import RoleChoices
    from tests.e2e.seed import PASSWORD, make_profiles, person

    password = make_password(PASSWORD)
    mentor, busy, successor, patient, absent, mobile = make_profiles(
        ["mona", "huda", "daniel", "patient", "absent", "mobile"], password, RoleChoices.TEACHER
    )
    names = [f"pupil{number}" for number in range(2 * len(STUDENTS) + 8)]
    *own, reader, former, alone, first, second, eager, third, fourth = make_profiles(
        names, password, RoleChoices.STUDENT
    )
    admin, staff = make_profiles(["principal", "operator"], password, RoleChoices.ADMIN)
    staff.user.is_staff = True
    staff.user.save()
    talk(first, patient, [3], full_name="First")
    talk(second, patient, [2], full_name="Second")
    talk(third, mobile, [3], full_name="Third")
    talk(fourth, mobile, [2], full_name="Fourth")
    talk(eager, absent, MISSED, full_name="Eager")
    for student, (name, hours) in zip(own[len(STUDENTS) :], STUDENTS.items(), strict=True):
        talk(student, mentor, hours, full_name=name)
    ids = {}
    for student, (name, hours) in zip(own[: len(STUDENTS)], STUDENTS.items(), strict=True):
        ids[name] = talk(student, busy, hours, full_name=name).pk
    long = talk(reader, successor, []).pk
    fill(long, reader.user_id, successor.user_id)
    closed = talk(former, mentor, [300, -299], full_name="Former Student")
    former.assigned_mentor = successor
    former.save()
    made = {
        "mentor": (mentor, "inbox/"),  # with ten students
        "busy mentor": (busy, "inbox/"),  # with ten others, who are the same otherwise
        "student": (own[0], "my-conversation/"),
        "third mentor": (successor, "inbox/"),
        "reader": (reader, "my-conversation/"),
        "alone": (alone, "my-conversation/"),
        "admin": (admin, "inbox/"),
        "staff": (staff, "inbox/"),
        "patient mentor": (patient, "inbox/"),  # of two students who wait
        "mobile mentor": (mobile, "inbox/"),  # of two others
        "third": (third, "my-conversation/"),
        "missed": (absent, "inbox/"),  # of a student who has written more than a page
        "first": (first, "my-conversation/"),
        "former": (former, "my-conversation/"),
    }
    people = {name: person(profile, path) for name, (profile, path) in made.items()}
    return {"people": people, "ids": ids, "closed": closed.pk, "history": long}


def talk(student: Any, mentor: Any, hours: list[float], full_name: str = "") -> Any:
    """Let a student and their mentor have said something; what was said last by the student is unread."""
    from django.utils import timezone

    from chat.models import Conversation, Message

    student.full_name, student.assigned_mentor = full_name or student.full_name, mentor
    student.save()
    conversation, _ = Conversation.get_or_create_conversation(student_profile=student, teacher_profile=mentor)
    begin = timezone.now() - timedelta(hours=max(map(abs, hours), default=0))
    Conversation.objects.filter(pk=conversation.pk).update(created_at=begin, updated_at=begin)
    last_of_mentor = max((index for index, at in enumerate(hours) if at < 0), default=-1)
    for index, at in enumerate(hours):
        Message.objects.create(
            conversation=conversation,
            sender=(student if at > 0 else mentor).user,
            content=f"{full_name}: {at}",
            timestamp=timezone.now() - timedelta(hours=abs(at)),
            is_read=index <= last_of_mentor and index != len(hours) - 1,
        )
    return conversation


def fill(conversation_id: int, student_id: int, mentor_id: int) -> None:
    """A history of many messages, of one line to five."""
    from django.utils import timezone

    from chat.models import Conversation, Message

    begin, step = timezone.now() - timedelta(days=DAYS), timedelta(days=DAYS) / (HISTORY + 1)
    rows = [
        Message(
            conversation_id=conversation_id,
            sender_id=student_id if seq % 3 else mentor_id,
            content=f"{seq} " + "كلمة word " * (seq * 7 % 40),
            timestamp=begin + step * seq,
            is_read=True,
            seq=seq,
        )
        for seq in range(1, HISTORY + 1)
    ]
    Message.objects.bulk_create(rows, batch_size=1000)
    read = {"student_read_seq": HISTORY, "teacher_read_seq": HISTORY}
    Conversation.objects.filter(pk=conversation_id).update(last_seq=HISTORY, updated_at=rows[-1].timestamp, **read)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
    django.setup()
    sys.stdout.write(json.dumps(page_data()))
