"""The configuration: its keys, where their values come from, and edits while it runs."""
