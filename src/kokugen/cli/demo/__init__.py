"""`kokugen demo`: real reminders into a SQLite file, a worker that is killed twice, and the count at the end."""
