"""What the platform's staff does to conversations and people: mentors and locks. `chat.services` offers it."""
