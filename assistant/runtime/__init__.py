"""What every part stands on: messages, mailboxes, threads, child processes, files and the terminal. Imports no other
room.
"""
