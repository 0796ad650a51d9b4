"""Demo accounts and conversations, to look at the chat before there are real ones."""
