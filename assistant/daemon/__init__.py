"""A run without end: its process and supervisor, questions and answers, what is kept going and started again."""
