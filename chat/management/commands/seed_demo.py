"""Adds demo accounts and conversations, to try the chat before there are real ones."""

from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message

PASSWORD = "qader-demo-2026"  # noqa: S105 - the public password of the demo accounts


@dataclass(frozen=True)
class Person:
    """A demo account. Without a role, it is the administrator, who has no profile."""

    username: str
    full_name: str
    role: RoleChoices | None = None
    mentor: str | None = None

    @property
    def email(self) -> str:
        """An address in a domain that is reserved for examples."""
        return f"{self.username}@example.com"


PEOPLE = (
    Person("admin", ""),
    Person("teacher1", "منى الخطيب", RoleChoices.TEACHER),
    Person("trainer1", "Daniel Reed", RoleChoices.TRAINER),
    Person("student1", "سارة العتيبي", RoleChoices.STUDENT, "teacher1"),
    Person("student2", "Omar Haddad", RoleChoices.STUDENT, "teacher1"),
    Person("student3", "ليان القحطاني", RoleChoices.STUDENT, "teacher1"),
    Person("student4", "Maya Lindgren", RoleChoices.STUDENT, "teacher1"),
    Person("student5", "يوسف منصور", RoleChoices.STUDENT, "trainer1"),
    Person("student6", "Noah Weber", RoleChoices.STUDENT),
)


@dataclass(frozen=True)
class DemoConversation:
    """The conversation of a student and their mentor. The last `unread` messages, all of one sender, are unread.

    `ended` is how long ago the last message was sent.
    """

    student: str
    mentor: str
    ended: timedelta
    unread: int
    lines: tuple[tuple[str, str], ...]


S, M = "student", "mentor"

CONVERSATIONS = (
    DemoConversation(
        "student4",
        "teacher1",
        timedelta(days=3),
        0,
        (
            (M, "Hi Maya, welcome! Which part of the exam worries you most?"),
            (S, "Reading comprehension. I run out of time on the last passage every single time."),
            (M, "Very common. Read the questions first, then the text: you will know what to look for."),
            (S, "I will try that on tonight's practice paper, thank you!"),
            (M, "Good. Note the minute at which you finish each passage, and we look at it together on Tuesday."),
        ),
    ),
    DemoConversation(
        "student3",
        "teacher1",
        timedelta(days=1, hours=2),
        0,
        (
            (S, "أستاذة منى، هل يمكن تأجيل حصة الغد إلى الخميس؟"),
            (M, "بالتأكيد يا ليان. الخميس الساعة الخامسة مناسب لك؟"),
            (S, "مناسب جدًا، شكرًا."),
            (M, "أحضري معك حلول الفصل الرابع (تمارين 12–18)."),
        ),
    ),
    DemoConversation(
        "student2",
        "teacher1",
        timedelta(hours=3),
        1,
        (
            (S, "Good morning! My score in mock exam 3 was 71, last week it was 64."),
            (M, "That is a real step, Omar. Where did you lose the most points?"),
            (S, "Geometry again: similar triangles, and one careless mistake in question 27."),
            (M, "Do the ten problems of sheet 6 without a calculator. Send me the two that you like least."),
        ),
    ),
    DemoConversation(
        "student1",
        "teacher1",
        timedelta(minutes=12),
        2,
        (
            (M, "مرحبًا سارة، كيف تسير المراجعة للاختبار؟"),
            (S, "الحمد لله، أنهيت الجزء الكمي وبقي الجزء اللفظي."),
            (M, "ممتاز! ابدئي بالتناظر اللفظي، فهو أسرع ما يرفع الدرجة."),
            (S, "حللت 20 سؤالًا اليوم، أخطأت في 4 منها."),
            (M, "نتيجة جيدة. راجعي الأخطاء واكتبي سبب كل خطأ في سطر واحد."),
            (S, "عندي سؤال عن الاختبار التجريبي يوم السبت: هل يُسمح بالآلة الحاسبة؟"),
            (S, "And should I bring the printed admission ticket, or is the e-mail enough?"),
        ),
    ),
    DemoConversation(
        "student5",
        "trainer1",
        timedelta(hours=20),
        1,
        (
            (M, "Hi Yousef, your speaking practice is on Wednesday at six."),
            (S, "شكرًا أستاذ دانيال. هل الموضوع حر أم محدد؟"),
            (M, "Two minutes about a place that you know well. Record yourself once before."),
            (S, "I recorded it: two minutes and ten seconds. Is that too long?"),
        ),
    ),
)


class Command(BaseCommand):
    """Adds missing demo accounts and conversations; never changes existing ones."""

    help = "Add missing demo accounts and conversations. Refused unless DEBUG or --force."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take `--force`."""
        parser.add_argument("--force", action="store_true", help="run even if DEBUG is off; the passwords are public")

    def handle(self, *, force: bool, **_: Any) -> None:
        """Add everything in one transaction, and print the accounts."""
        if not settings.DEBUG and not force:
            raise CommandError("demo accounts have public passwords: refused unless DEBUG=1, or with --force.")
        with transaction.atomic():
            for person in PEOPLE:
                _add_person(person)
            for demo in CONVERSATIONS:
                _add_conversation(demo)
        self._print_accounts()

    def _print_accounts(self) -> None:
        self.stdout.write(f"\nDemo accounts, all with the password {PASSWORD}\n\n")
        for person in PEOPLE:
            role = person.role.value if person.role else "superuser"
            mentor = f"mentor: {person.mentor}" if person.mentor else ""
            self.stdout.write(f"  {person.username:<10}{role:<11}{mentor or person.full_name}".rstrip())
        self.stdout.write("")


def _add_person(person: Person) -> None:
    user = User.objects.filter(username=person.username).first()
    if person.role is None:
        if user is None:
            User.objects.create_superuser(person.username, person.email, PASSWORD)
        return
    mentor = UserProfile.objects.get(user__username=person.mentor) if person.mentor else None
    defaults = {"full_name": person.full_name, "role": person.role, "assigned_mentor": mentor}
    user = user or User.objects.create_user(person.username, person.email, PASSWORD)
    UserProfile.objects.get_or_create(user=user, defaults=defaults)


def _add_conversation(demo: DemoConversation) -> None:
    """Add the messages, seven minutes apart, unless the conversation has messages already."""
    student = UserProfile.objects.get(user__username=demo.student)
    mentor = UserProfile.objects.get(user__username=demo.mentor)
    conversation, _ = Conversation.get_or_create_conversation(student_profile=student, teacher_profile=mentor)
    if conversation.last_seq:
        return
    begin = timezone.now() - demo.ended - timedelta(minutes=7) * (len(demo.lines) - 1)
    Conversation.objects.filter(pk=conversation.pk).update(created_at=begin, updated_at=begin)
    read_seq = {S: 0, M: 0}
    for number, (side, content) in enumerate(demo.lines):
        is_read = number < len(demo.lines) - demo.unread
        message = Message.objects.create(
            conversation=conversation,
            sender=(student if side == S else mentor).user,
            content=content,
            timestamp=begin + timedelta(minutes=7) * number,
            is_read=is_read,
        )
        if is_read:
            read_seq[M if side == S else S] = message.seq
    Conversation.objects.filter(pk=conversation.pk).update(student_read_seq=read_seq[S], teacher_read_seq=read_seq[M])
