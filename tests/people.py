"""The users that most tests share, and the objects that the contract shows for them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation, Message

PASSWORD = "qader-demo-2026"


def make_user(name: str, role: RoleChoices | None, *, mentor: User | None = None, **fields: Any) -> User:
    """Return a new user; with a role also their profile."""
    user = User.objects.create_user(name, f"{name}@example.com", PASSWORD, **fields)
    if role is not None:
        mentor_profile = mentor.profile if mentor else None
        UserProfile.objects.create(user=user, full_name=name.title(), role=role, assigned_mentor=mentor_profile)
    return user


@dataclass
class People:
    """Everybody that the tests talk about; `teacher` mentors `student`, `trainer` mentors `other_student`."""

    teacher: User
    trainer: User
    student: User
    other_student: User
    stranger: User  # a student without a mentor
    admin: User  # a superuser without a profile

    @property
    def conversation(self) -> Conversation:
        """The conversation of student and teacher, made at the first use."""
        return conversation_of(self.student, self.teacher)

    @property
    def other_conversation(self) -> Conversation:
        """The conversation of other_student and trainer, made at the first use."""
        return conversation_of(self.other_student, self.trainer)


def conversation_of(student: User, teacher: User) -> Conversation:
    """Return the conversation of these two, made at the first use."""
    pair = {"student_profile": student.profile, "teacher_profile": teacher.profile}
    return Conversation.get_or_create_conversation(**pair)[0]


def say(conversation: Conversation, sender: User, *contents: str) -> list[Message]:
    """Store messages without telling anybody."""
    return [Message.objects.create(conversation=conversation, sender=sender, content=text) for text in contents]


def fill(conversation: Conversation, count: int) -> list[Message]:
    """Store this many messages at once, by the student and the teacher in turn, without telling anybody."""
    people = [conversation.student.user, conversation.teacher.user]
    begin = Conversation.objects.values_list("last_seq", flat=True).get(pk=conversation.pk)
    seqs = range(begin + 1, begin + count + 1)
    messages = [
        Message(conversation=conversation, sender=people[seq % 2 - 1], content=f"message {seq}", seq=seq)
        for seq in seqs
    ]
    Message.objects.bulk_create(messages, batch_size=5000)
    Conversation.objects.filter(pk=conversation.pk).update(last_seq=seqs[-1], updated_at=messages[-1].timestamp)
    return messages


def make_people() -> People:
    """Return new people."""
    teacher = make_user("teacher", RoleChoices.TEACHER)
    trainer = make_user("trainer", RoleChoices.TRAINER)
    return People(
        teacher=teacher,
        trainer=trainer,
        student=make_user("student", RoleChoices.STUDENT, mentor=teacher),
        other_student=make_user("other_student", RoleChoices.STUDENT, mentor=trainer),
        stranger=make_user("stranger", RoleChoices.STUDENT),
        admin=make_user("admin", None, is_staff=True, is_superuser=True),
    )


def profile_object(user: User) -> dict[str, Any]:
    """Return a person as the contract shows them."""
    profile = user.profile
    return {
        "user_id": profile.pk,
        "full_name": profile.full_name,
        "username": user.username,
        "email": user.email,
        "role": profile.role,
    }


def message_object(message: Message, reader: User) -> dict[str, Any]:
    """Return a stored message as the contract shows it to `reader`; asks the database."""
    message = Message.objects.select_related("sender__profile").get(pk=message.pk)
    return {
        "id": message.pk,
        "sender": message.sender_id,
        "sender_profile": profile_object(message.sender),
        "content": message.content,
        "timestamp": iso(message.timestamp),
        "is_read": message.is_read,
        "is_own_message": message.sender_id == reader.pk,
    }


def conversation_object(
    conversation: Conversation, reader: User, *, last: Message | None = None, unread: int = 0, is_active: bool = True
) -> dict[str, Any]:
    """Return a conversation as the contract shows it to `reader`; asks the database."""
    conversation = Conversation.objects.get(pk=conversation.pk)
    return {
        "id": conversation.pk,
        "student_profile": profile_object(conversation.student.user),
        "teacher_profile": profile_object(conversation.teacher.user),
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "last_message": message_object(last, reader) if last else None,
        "unread_message_count_for_user": unread,
        "is_active": is_active,
        "waiting_since": iso(conversation.waiting_since) if is_active and conversation.waiting_since else None,
    }


def iso(moment: datetime) -> str:
    """Return a moment as it is on the wire."""
    return moment.isoformat().replace("+00:00", "Z")


def session_cookie(user: User) -> str:
    """Return the key of a new session of this user."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "accounts.authentication.NameOrEmailBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def client_of(user: User | None) -> Client:
    """Return an HTTP client that this user is signed in with; None: nobody is."""
    client = Client()
    if user is not None:
        client.cookies["sessionid"] = session_cookie(user)
    return client
