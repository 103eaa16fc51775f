"""The schedules of a scheduler: how they are declared and drafted, put into the store, asked about and run.

`recurrence` has the arithmetic and the decisions; here is what the two faces make of them.
"""
